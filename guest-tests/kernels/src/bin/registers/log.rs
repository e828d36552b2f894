// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The PMI handler and what it saw.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rt::apic::{LVT_MASKED, LVTPC, PmiDelivery};
use rt::counter;
use rt::model::model;
use rt::msr::{read, write};
use rt::sync::PerCpu;
use rt::tap::Outcome;
use rt::trap::{TrapFrame, Verdict};
use rt::{MAX_CPUS, check, check_eq, time};

/// What a CPU's PMI handler saw and is to do.
pub(crate) struct Log {
    /// PMIs.
    pub(crate) count: AtomicU64,
    /// All status bits the PMIs found.
    pub(crate) status: AtomicU64,
    /// PMIs that found no status bit, where there are such bits.
    pub(crate) empty: AtomicU64,
    /// PMIs by another vector than asked for.
    pub(crate) wrong: AtomicU64,
    /// The LVTPC at the last PMI.
    pub(crate) lvtpc: AtomicU64,
    /// The global control at the last PMI; all ones where there is none.
    pub(crate) control: AtomicU64,
    /// The vector to expect.
    vector: AtomicU64,
    /// Whether the handler leaves the status as it is.
    pub(crate) leave_status: AtomicBool,
}

pub(crate) static LOG: PerCpu<Log> = PerCpu(
    [const {
        Log {
            count: AtomicU64::new(0),
            status: AtomicU64::new(0),
            empty: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            lvtpc: AtomicU64::new(0),
            control: AtomicU64::new(0),
            vector: AtomicU64::new(0),
            leave_status: AtomicBool::new(false),
        }
    }; MAX_CPUS],
);

pub(crate) fn on_pmi(frame: &mut TrapFrame) -> Verdict {
    let log: &Log = &LOG;
    log.lvtpc.store(read(LVTPC), Relaxed);
    if frame.vector != log.vector.load(Relaxed) {
        log.wrong.fetch_add(1, Relaxed);
    }
    let status = counter::status();
    let globals = model().globals();
    if globals.is_some() && status == 0 {
        log.empty.fetch_add(1, Relaxed);
    }
    log.status.fetch_or(status, Relaxed);
    let control = globals.map_or(u64::MAX, |globals| read(globals.control));
    log.control.store(control, Relaxed);
    if !log.leave_status.load(Relaxed) {
        counter::acknowledge(status);
    }
    // Last: who waits for it may look at everything else then.
    log.count.fetch_add(1, Relaxed);
    Verdict::Resume
}

/// A clean PMU, log and LVTPC.
pub(crate) fn prepare(how: PmiDelivery) -> &'static Log {
    counter::reset();
    let log: &Log = &LOG;
    for value in [
        &log.count,
        &log.status,
        &log.empty,
        &log.wrong,
        &log.lvtpc,
        &log.control,
    ] {
        value.store(0, Relaxed);
    }
    log.leave_status.store(false, Relaxed);
    log.vector.store(u64::from(how.vector()), Relaxed);
    write(LVTPC, how.lvtpc());
    log
}

/// A period long enough to be seen running, short enough to wait for often.
pub(crate) fn short() -> u64 {
    time::ticks_ms(1)
}

/// Waits for that many PMIs in all.
pub(crate) fn wait_for(log: &Log, pmis: u64) -> Outcome {
    let came = time::wait_ms(20_000, || log.count.load(Relaxed) >= pmis);
    let count = log.count.load(Relaxed);
    check!(
        came,
        "{count} PMIs within 20 s, not {pmis}: status {:#x}, LVTPC {:#x}",
        counter::status(),
        read(LVTPC)
    );
    Ok(())
}

/// That many PMIs and no more come, each as it was asked for.
pub(crate) fn just(log: &Log, pmis: u64) -> Outcome {
    wait_for(log, pmis)?;
    time::busy(short());
    check_eq!(log.count.load(Relaxed), pmis, "PMIs");
    check_eq!(log.wrong.load(Relaxed), 0, "PMIs by another vector");
    check_eq!(log.empty.load(Relaxed), 0, "PMIs without a status bit");
    Ok(())
}

/// The LVTPC after a delivery: as the model's vendor leaves it.
pub(crate) fn delivered(how: PmiDelivery) -> u64 {
    let mask = if model().masks_lvtpc() { LVT_MASKED } else { 0 };
    how.lvtpc() | mask
}
