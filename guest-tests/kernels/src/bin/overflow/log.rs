// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The PMI handler and what it saw.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use rt::apic::{LVT_MASKED, LVTPC, PmiDelivery};
use rt::msr::{read, write};
use rt::pmu::{self, counter};
use rt::sync::PerCpu;
use rt::tap::Outcome;
use rt::trap::{TrapFrame, Verdict, vector};
use rt::{MAX_CPUS, check, check_eq, time};

use crate::late::*;

pub(crate) const VECTOR: bool = false;

pub(crate) const NMI: bool = true;

pub(crate) const fn delivery<const HOW: bool>() -> PmiDelivery {
    if HOW == NMI {
        PmiDelivery::Nmi
    } else {
        PmiDelivery::Vector
    }
}

/// What a CPU's PMI handler saw and is to do.
pub(crate) struct Log {
    /// PMIs.
    pub(crate) count: AtomicU64,
    /// All status bits the PMIs found.
    pub(crate) status: AtomicU64,
    /// PMIs that found no status bit.
    pub(crate) empty: AtomicU64,
    /// PMIs that found a bit which an earlier PMI had acknowledged, with no overflow since.
    pub(crate) repeated: AtomicU64,
    /// PMIs by another vector than asked for, or with LVTPC not masked.
    pub(crate) wrong: AtomicU64,
    /// PMIs after the write that forbade them.
    pub(crate) late: AtomicU64,
    /// PMIs at CPL 3.
    pub(crate) in_user_code: AtomicU64,
    /// The value of counter 0 at the last PMI.
    pub(crate) counter: AtomicU64,
    /// The TSC at the last PMI.
    pub(crate) tsc: AtomicU64,
    /// The vector to expect.
    pub(crate) vector: AtomicU64,
    /// PMIs still to come: the handler re-arms counter 0 for each.
    pub(crate) again: AtomicU64,
    pub(crate) period: AtomicU64,
    /// Where the main code is: see `forbid`.
    pub(crate) phase: AtomicU32,
}

pub(crate) static LOG: PerCpu<Log> = PerCpu(
    [const {
        Log {
            count: AtomicU64::new(0),
            status: AtomicU64::new(0),
            empty: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            late: AtomicU64::new(0),
            in_user_code: AtomicU64::new(0),
            counter: AtomicU64::new(0),
            tsc: AtomicU64::new(0),
            vector: AtomicU64::new(0),
            again: AtomicU64::new(0),
            period: AtomicU64::new(0),
            phase: AtomicU32::new(0),
        }
    }; MAX_CPUS],
);

pub(crate) fn on_pmi(frame: &mut TrapFrame) -> Verdict {
    let log: &Log = &LOG;
    log.tsc.store(time::tsc(), Relaxed);
    log.count.fetch_add(1, Relaxed);
    if log.phase.load(Relaxed) == FORBIDDEN || frame.rip == forbid_end as *const () as u64 {
        log.late.fetch_add(1, Relaxed);
    }
    let masked = read(LVTPC) & LVT_MASKED != 0;
    if !masked || frame.vector != log.vector.load(Relaxed) {
        log.wrong.fetch_add(1, Relaxed);
    }
    if frame.is_user() {
        log.in_user_code.fetch_add(1, Relaxed);
    }
    log.counter.store(counter(0), Relaxed);
    let status = pmu::status();
    if status == 0 {
        log.empty.fetch_add(1, Relaxed);
    }
    pmu::acknowledge(status);
    let seen = log.status.fetch_or(status, Relaxed);
    if log.again.load(Relaxed) > 0 {
        log.again.fetch_sub(1, Relaxed);
        let lvtpc = if log.vector.load(Relaxed) == u64::from(vector::NMI) {
            PmiDelivery::Nmi.lvtpc()
        } else {
            PmiDelivery::Vector.lvtpc()
        };
        // In this order: an overflow while LVTPC is masked has no PMI.
        write(LVTPC, lvtpc);
        pmu::set_period(0, log.period.load(Relaxed));
    } else if seen & status != 0 && log.period.load(Relaxed) == 0 {
        log.repeated.fetch_add(1, Relaxed);
    }
    Verdict::Resume
}

/// A clean PMU, log and LVTPC.
pub(crate) fn prepare(how: PmiDelivery) -> &'static Log {
    pmu::reset();
    let log: &Log = &LOG;
    for value in [
        &log.count,
        &log.status,
        &log.empty,
        &log.repeated,
        &log.wrong,
        &log.late,
        &log.in_user_code,
        &log.counter,
        &log.again,
        &log.period,
    ] {
        value.store(0, Relaxed);
    }
    log.phase.store(0, Relaxed);
    log.vector.store(u64::from(how.vector()), Relaxed);
    write(LVTPC, how.lvtpc());
    log
}

/// A period long enough to be seen running, short enough to wait for often.
pub(crate) fn short() -> u64 {
    time::ticks_ms(1)
}

/// Waits for the first PMI.
pub(crate) fn wait_for_pmi(log: &Log) -> Outcome {
    let came = time::wait_ms(5_000, || log.count.load(Relaxed) != 0);
    check!(
        came,
        "no PMI within 5 s: GLOBAL_STATUS {:#x}, LVTPC {:#x}, counter 0 {:#x}",
        pmu::status(),
        read(LVTPC),
        counter(0)
    );
    Ok(())
}

/// Nothing but what every PMI must be.
pub(crate) fn no_oddities(log: &Log) -> Outcome {
    check_eq!(
        log.wrong.load(Relaxed),
        0,
        "PMIs by another vector or with LVTPC not masked"
    );
    check_eq!(log.empty.load(Relaxed), 0, "PMIs without a status bit");
    check_eq!(
        log.repeated.load(Relaxed),
        0,
        "PMIs for an overflow that had its PMI"
    );
    Ok(())
}
