// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reads among interrupts, and in handlers.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rt::apic::{LVTPC, PmiDelivery};
use rt::msr::{self, rdpmc};
use rt::pmu::{self, select, set_counter, set_select};
use rt::probe::{self, BOTH, Cpl};
use rt::tap::Outcome;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{check, check_eq, session, time};

use crate::common::*;

pub(crate) static PMIS: AtomicU64 = AtomicU64::new(0);

pub(crate) static PERIOD: AtomicU64 = AtomicU64::new(0);

pub(crate) static SAMPLING: AtomicU64 = AtomicU64::new(0);

pub(crate) fn on_sample(_: &mut TrapFrame) -> Verdict {
    PMIS.fetch_add(1, Relaxed);
    pmu::acknowledge(pmu::ALL);
    msr::write(LVTPC, SAMPLING.load(Relaxed));
    pmu::set_period(0, PERIOD.load(Relaxed));
    Verdict::Resume
}

pub(crate) fn under_pmis(how: PmiDelivery, cpl: Cpl) -> Outcome {
    const READS: u64 = 50;
    prepare();
    trap::hook(how.vector(), on_sample);
    PMIS.store(0, Relaxed);
    PERIOD.store(time::ticks_ms(1), Relaxed);
    SAMPLING.store(how.lvtpc(), Relaxed);
    msr::write(LVTPC, how.lvtpc());
    set_counter(3, 0);
    set_select(3, select::CYCLES);
    pmu::set_period(0, time::ticks_ms(1));
    set_select(0, select::CYCLES_INT);
    let deadline = time::Deadline::after_ms(10_000);
    let mut start = probe::RDPMC_LOOP.start(cpl);
    start.rcx = 3;
    while PMIS.load(Relaxed) < 100 {
        start.r8 = READS;
        let end = session::run(&start);
        check_eq!(
            end.vector(),
            vector::RETURN,
            "vector at the end (error {:#x})",
            end.error
        );
        check_eq!(
            (end.r8, end.r10),
            (0, 0),
            "reads left, and reads that went back"
        );
        start.r9 = end.r9;
        check!(
            !deadline.is_over(),
            "only {} PMIs within 10 s",
            PMIS.load(Relaxed)
        );
    }
    pmu::reset();
    Ok(())
}

pub(crate) static FROM_HANDLER: AtomicU64 = AtomicU64::new(0);

pub(crate) static HANDLED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn inside_nmi() -> Outcome {
    prepare();
    FROM_HANDLER.store(0, Relaxed);
    HANDLED.store(0, Relaxed);
    trap::hook(vector::NMI, |_| {
        FROM_HANDLER.store(rdpmc(1), Relaxed);
        pmu::acknowledge(pmu::ALL);
        // A second one, to show that the first left NMIs as they must be.
        if HANDLED.fetch_add(1, Relaxed) == 0 {
            msr::write(LVTPC, PmiDelivery::Nmi.lvtpc());
            pmu::set_period(0, 10_000);
        }
        Verdict::Resume
    });
    msr::write(LVTPC, PmiDelivery::Nmi.lvtpc());
    pmu::set_period(0, 10_000);
    set_select(0, select::CYCLES_INT);
    let came = time::wait_ms(5_000, || HANDLED.load(Relaxed) == 2);
    set_select(0, 0);
    check!(came, "{} NMIs within 5 s, not 2", HANDLED.load(Relaxed));
    check_eq!(FROM_HANDLER.load(Relaxed), VALUES[1], "value");
    Ok(())
}

pub(crate) fn inside_gp() -> Outcome {
    prepare();
    FROM_HANDLER.store(0, Relaxed);
    trap::hook(vector::GENERAL_PROTECTION, |_| {
        FROM_HANDLER.store(rdpmc(1), Relaxed);
        Verdict::Pass
    });
    let outcome = BOTH.iter().try_for_each(|&cpl| {
        let mut start = patterned(probe::LOAD, cpl);
        start.r9 = 1 << 63;
        faults_at(&start, 0)?;
        check_eq!(FROM_HANDLER.swap(0, Relaxed), VALUES[1], "value");
        Ok(())
    });
    trap::unhook(vector::GENERAL_PROTECTION);
    outcome
}
