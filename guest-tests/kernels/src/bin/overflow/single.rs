// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One overflow at a time.

use core::sync::atomic::Ordering::Relaxed;

use rt::apic::{LVT_MASKED, LVTPC, PmiDelivery};
use rt::msr::{read, write};
use rt::pmu::{self, ALL, COUNTER_MASK, COUNTERS, counter, select, set_select};
use rt::random::Random;
use rt::tap::Outcome;
use rt::text::Text;
use rt::trap::vector;
use rt::{apic, check, check_eq, diag, probe, session, time};

use crate::log::*;

pub(crate) fn one_pmi<const HOW: bool>() -> Outcome {
    let log = prepare(delivery::<HOW>());
    let period = 5 * short();
    pmu::set_period(0, period);
    let start = time::tsc();
    set_select(0, select::CYCLES_INT);
    wait_for_pmi(log)?;
    let passed = log.tsc.load(Relaxed) - start;
    check!(
        passed >= period,
        "a PMI {passed} TSC ticks into a period of {period}"
    );
    time::busy(3 * short());
    check_eq!(log.count.load(Relaxed), 1, "PMIs");
    check_eq!(log.status.load(Relaxed), 1, "GLOBAL_STATUS");
    check!(
        log.counter.load(Relaxed) < 1 << 47,
        "counter {:#x}",
        log.counter.load(Relaxed)
    );
    check_eq!(pmu::status(), 0, "GLOBAL_STATUS afterwards");
    check_eq!(
        read(LVTPC),
        delivery::<HOW>().lvtpc() | LVT_MASKED,
        "LVTPC afterwards"
    );
    no_oddities(log)?;
    pmu::reset();
    Ok(())
}

pub(crate) fn each_counter() -> Outcome {
    for n in 0..COUNTERS {
        let log = prepare(PmiDelivery::Nmi);
        pmu::set_period(n, short());
        set_select(n, select::CYCLES_INT);
        wait_for_pmi(log)?;
        time::busy(short());
        check_eq!(log.count.load(Relaxed), 1, "PMIs of counter {n}");
        check_eq!(
            log.status.load(Relaxed),
            1 << n,
            "GLOBAL_STATUS of counter {n}"
        );
        no_oddities(log)?;
    }
    pmu::reset();
    Ok(())
}

pub(crate) fn user_code() -> Outcome {
    const TRIES: u32 = 10;
    for how in [PmiDelivery::Vector, PmiDelivery::Nmi] {
        let mut tries = 0;
        // It may come just before the user code or just after.
        while !interrupted_in_user_code(how)? {
            tries += 1;
            check!(tries < TRIES, "{how:?}: none of {TRIES} PMIs came at CPL 3");
        }
    }
    pmu::reset();
    Ok(())
}

pub(crate) fn interrupted_in_user_code(how: PmiDelivery) -> Result<bool, Text> {
    let log = prepare(how);
    pmu::set_period(0, 5 * short());
    set_select(0, select::CYCLES_INT);
    let mut start = probe::SPIN.start(probe::Cpl::Three);
    start.set_patterns();
    let deadline = time::Deadline::after_ms(5_000);
    while log.count.load(Relaxed) == 0 {
        check!(!deadline.is_over(), "no PMI within 5 s, {how:?}");
        start.r8 = 1_000_000;
        let mut end = session::run(&start);
        check_eq!(
            end.vector(),
            vector::RETURN,
            "vector at the end of the user code"
        );
        check_eq!((end.r8, end.rsp), (0, start.rsp), "R8 and RSP, {how:?}");
        (end.r8, end.rip, end.vector, end.rflags) = (start.r8, start.rip, 0, start.rflags);
        check_eq!(end, start, "the other registers, {how:?}");
    }
    check_eq!(log.count.load(Relaxed), 1, "PMIs, {how:?}");
    no_oddities(log)?;
    Ok(log.in_user_code.load(Relaxed) == 1)
}

pub(crate) fn mask_on_delivery() -> Outcome {
    let log = prepare(PmiDelivery::Vector);
    pmu::set_period(0, short());
    set_select(0, select::CYCLES_INT);
    wait_for_pmi(log)?;
    // The handler left LVTPC masked.
    pmu::set_period(0, short());
    let came = time::wait_ms(5_000, || pmu::status() == 1);
    check!(came, "no second overflow within 5 s");
    time::busy(short());
    check_eq!(log.count.load(Relaxed), 1, "PMIs while masked");
    write(LVTPC, PmiDelivery::Vector.lvtpc());
    time::busy(3 * short());
    check_eq!(
        log.count.load(Relaxed),
        1,
        "PMIs after unmasking: the overflow was before"
    );
    pmu::set_period(0, short());
    let came = time::wait_ms(5_000, || log.count.load(Relaxed) == 2);
    check!(came, "no PMI after unmasking within 5 s");
    pmu::reset();
    Ok(())
}

pub(crate) fn masked() -> Outcome {
    for how in [PmiDelivery::Vector, PmiDelivery::Nmi] {
        let log = prepare(how);
        write(LVTPC, how.lvtpc() | LVT_MASKED);
        pmu::set_period(1, short());
        set_select(1, select::CYCLES_INT);
        let came = time::wait_ms(5_000, || pmu::status() != 0);
        check!(came, "no overflow within 5 s");
        check_eq!(pmu::status(), 1 << 1, "GLOBAL_STATUS");
        write(LVTPC, how.lvtpc());
        time::busy(3 * short());
        check_eq!(log.count.load(Relaxed), 0, "PMIs, {how:?}");
        check_eq!(pmu::status(), 1 << 1, "GLOBAL_STATUS afterwards");
        check_eq!(read(LVTPC), how.lvtpc(), "LVTPC: no delivery, no mask");
    }
    pmu::reset();
    Ok(())
}

pub(crate) fn without_int<const HOW: bool>() -> Outcome {
    let log = prepare(delivery::<HOW>());
    pmu::set_period(3, short());
    set_select(3, select::CYCLES);
    let came = time::wait_ms(5_000, || pmu::status() != 0);
    check!(came, "no overflow within 5 s");
    check_eq!(pmu::status(), 1 << 3, "GLOBAL_STATUS");
    time::busy(2 * short());
    check_eq!(log.count.load(Relaxed), 0, "PMIs");
    check_eq!(read(LVTPC), delivery::<HOW>().lvtpc(), "LVTPC");
    pmu::reset();
    Ok(())
}

pub(crate) fn several() -> Outcome {
    for round in 0..10 {
        let log = prepare(PmiDelivery::Nmi);
        pmu::set_global(0);
        for n in 0..COUNTERS {
            pmu::set_period(n, short() + u64::from(n) * round * 1_000);
            set_select(n, select::CYCLES_INT);
        }
        pmu::set_global(ALL);
        // A PMI masks LVTPC. What overflows until it is unmasked sets its status bit alone, so
        // look there too, as a driver does.
        let all_came = time::wait_ms(5_000, || {
            if read(LVTPC) & LVT_MASKED != 0 {
                let pmis = log.count.load(Relaxed);
                write(LVTPC, PmiDelivery::Nmi.lvtpc());
                let status = pmu::status();
                pmu::acknowledge(status);
                let seen = log.status.fetch_or(status, Relaxed);
                // A PMI in between took the same bits.
                let alone = log.count.load(Relaxed) == pmis;
                if alone && seen & status != 0 {
                    log.repeated.fetch_add(1, Relaxed);
                }
            }
            log.status.load(Relaxed) == ALL
        });
        let status = log.status.load(Relaxed);
        check!(all_came, "round {round}: bits {status:#x} after 5 s");
        let pmis = log.count.load(Relaxed);
        check!(
            (1..=4).contains(&pmis),
            "round {round}: {pmis} PMIs for four overflows"
        );
        no_oddities(log)?;
        for n in 0..COUNTERS {
            check!(
                counter(n) < 1 << 47,
                "counter {n} did not wrap: {:#x}",
                counter(n)
            );
        }
    }
    pmu::reset();
    Ok(())
}

pub(crate) fn enabled_again() -> Outcome {
    let mut random = Random::new(time::tsc());
    let mut pending = 0;
    for round in 0..60 {
        let log = prepare(PmiDelivery::Nmi);
        pmu::set_period(0, short());
        set_select(0, select::CYCLES_INT);
        time::spin(short() / 2 + random.below(short()));
        set_select(0, 0);
        let before = log.count.load(Relaxed);
        let at_top = counter(0) == COUNTER_MASK;
        pending += u64::from(at_top);
        check!(
            before == 1 || pmu::status() == 0,
            "round {round}: STATUS set without a PMI"
        );
        time::busy(short() / 4);
        check_eq!(
            log.count.load(Relaxed),
            before,
            "round {round}: PMIs while disabled"
        );
        set_select(0, select::CYCLES_INT);
        wait_for_pmi(log)?;
        time::busy(short() / 2);
        check_eq!(log.count.load(Relaxed), 1, "round {round}: PMIs");
        no_oddities(log)?;
    }
    diag!("{pending} of 60 rounds stopped with the overflow pending");
    pmu::reset();
    Ok(())
}

pub(crate) fn part_time() -> Outcome {
    for how in [PmiDelivery::Vector, PmiDelivery::Nmi] {
        let log = prepare(how);
        pmu::set_period(0, 10 * short());
        set_select(0, select::CYCLES_INT);
        let deadline = time::Deadline::after_ms(10_000);
        while log.count.load(Relaxed) == 0 {
            check!(
                !deadline.is_over(),
                "no PMI within 10 s, counter {:#x}",
                counter(0)
            );
            apic::halt_for(2 * short());
            time::busy(short() / 2);
        }
        time::busy(2 * short());
        check_eq!(log.count.load(Relaxed), 1, "PMIs");
        no_oddities(log)?;
    }
    pmu::reset();
    Ok(())
}
