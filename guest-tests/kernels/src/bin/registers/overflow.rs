// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Overflows, and the interrupts they ask for.

use core::sync::atomic::Ordering::Relaxed;

use rt::apic::{LVT_MASKED, LVTPC, PmiDelivery};
use rt::counter::{self, Counter};
use rt::model::model;
use rt::msr::{read, write};
use rt::tap::Outcome;
use rt::{check, check_eq, fail, smp, time};

use crate::log::*;

const BOTH: [PmiDelivery; 2] = [PmiDelivery::Vector, PmiDelivery::Nmi];

/// The counter's bit, where there is a register to show it.
fn bit(counter: Counter) -> u64 {
    model().globals().map_or(0, |_| counter.bit())
}

/// The last of the general-purpose counters.
fn last_gp() -> Counter {
    Counter::Gp(model().counters - 1)
}

fn wait_for_overflow(counter: Counter) -> Outcome {
    let came = time::wait_ms(20_000, || counter.has_wrapped());
    check!(came, "{counter} has no overflow within 20 s");
    Ok(())
}

fn one_pmi(counter: Counter, how: PmiDelivery) -> Outcome {
    let log = prepare(how);
    counter.set_period(short());
    counter.start(true);
    just(log, 1)?;
    check!(counter.has_wrapped(), "{counter} did not wrap");
    check_eq!(
        log.status.load(Relaxed),
        bit(counter),
        "{counter}: the status"
    );
    check_eq!(
        log.lvtpc.load(Relaxed),
        delivered(how),
        "{counter}: LVTPC in the handler"
    );
    check_eq!(read(LVTPC), delivered(how), "{counter}: LVTPC afterwards");
    Ok(())
}

pub(crate) fn each_counter() -> Outcome {
    for (counter, how) in counter::counting().zip(BOTH.into_iter().cycle()) {
        one_pmi(counter, how)?;
    }
    for how in BOTH {
        one_pmi(Counter::Gp(0), how)?;
    }
    counter::reset();
    Ok(())
}

pub(crate) fn on_each_cpu() -> Outcome {
    smp::on_each(|| {
        one_pmi(Counter::Gp(0), PmiDelivery::Nmi)?;
        let last = counter::counting().last().unwrap_or(last_gp());
        one_pmi(last, PmiDelivery::Vector)?;
        counter::reset();
        Ok(())
    })
}

pub(crate) fn without_pmi() -> Outcome {
    for counter in counter::counting() {
        let log = prepare(PmiDelivery::Vector);
        counter.set_period(short());
        counter.start(false);
        wait_for_overflow(counter)?;
        check_eq!(counter::status(), bit(counter), "{counter}: the status");
        counter.stop();
        check_eq!(
            counter::status(),
            bit(counter),
            "{counter}: stopped, the status"
        );
        counter::acknowledge(counter.bit());
        check_eq!(counter::status(), 0, "{counter}: the status when cleared");
        check_eq!(log.count.load(Relaxed), 0, "{counter}: PMIs");
        check_eq!(
            read(LVTPC),
            PmiDelivery::Vector.lvtpc(),
            "{counter}: LVTPC: no delivery, no mask"
        );
    }
    counter::reset();
    Ok(())
}

pub(crate) fn while_masked() -> Outcome {
    for how in BOTH {
        for counter in [Some(Counter::Gp(0)), counter::counting().last()]
            .into_iter()
            .flatten()
        {
            let log = prepare(how);
            write(LVTPC, how.lvtpc() | LVT_MASKED);
            counter.set_period(short());
            counter.start(true);
            wait_for_overflow(counter)?;
            check_eq!(counter::status(), bit(counter), "{counter}: the status");
            write(LVTPC, how.lvtpc());
            time::busy(2 * short());
            check_eq!(
                log.count.load(Relaxed),
                0,
                "{counter}: PMIs after unmasking"
            );
            check_eq!(read(LVTPC), how.lvtpc(), "{counter}: no delivery, no mask");
        }
    }
    counter::reset();
    Ok(())
}

/// Counters that were started in one go overflow in one go. Where each has to be started alone,
/// there may be a PMI for each.
pub(crate) fn at_once() -> Outcome {
    for round in 0..3 {
        let log = prepare(PmiDelivery::Nmi);
        counter::set_control(0);
        let mut bits = 0;
        let mut most = 0;
        for counter in counter::counting() {
            counter.set_period(4 * short());
            counter.start(true);
            bits |= bit(counter);
            most += 1;
        }
        counter::set_control(model().all_bits());
        if model().globals().is_some() {
            just(log, 1)?;
            check_eq!(log.status.load(Relaxed), bits, "round {round}: the status");
        } else {
            wait_for(log, 1)?;
        }
        counter::counting().try_for_each(wait_for_overflow)?;
        let pmis = log.count.load(Relaxed);
        check!(
            (1..=most).contains(&pmis),
            "round {round}: {pmis} PMIs for {most} overflows"
        );
    }
    counter::reset();
    Ok(())
}

pub(crate) fn moved_close() -> Outcome {
    for counter in counter::counting() {
        let log = prepare(PmiDelivery::Vector);
        counter.start(true);
        let runs = time::wait_ms(20_000, || counter.get() > 0);
        check!(runs, "{counter} stands still");
        // A few counts before its top: no time to stop it first.
        counter.set_period(10);
        just(log, 1)?;
        check!(counter.has_wrapped(), "{counter} did not wrap");
        check_eq!(
            log.status.load(Relaxed),
            bit(counter),
            "{counter}: the status"
        );
    }
    counter::reset();
    Ok(())
}

/// AMD's: nothing masks the LVTPC, so the next PMI needs no unmasking.
pub(crate) fn again_and_again() -> Outcome {
    for how in BOTH {
        let log = prepare(how);
        let counter = last_gp();
        counter.start(true);
        for pmis in 1..=5 {
            counter.set_period(short());
            wait_for(log, pmis)?;
            check_eq!(read(LVTPC), how.lvtpc(), "LVTPC after PMI {pmis}");
        }
        just(log, 5)?;
    }
    counter::reset();
    Ok(())
}

/// Intel's: a delivery masks the LVTPC, and an overflow behind the mask has no PMI.
pub(crate) fn once_until_unmasked() -> Outcome {
    for how in BOTH {
        let log = prepare(how);
        let counter = last_gp();
        counter.set_period(short());
        counter.start(true);
        just(log, 1)?;
        check_eq!(read(LVTPC), how.lvtpc() | LVT_MASKED, "LVTPC");
        counter.set_period(short());
        wait_for_overflow(counter)?;
        time::busy(short());
        check_eq!(log.count.load(Relaxed), 1, "PMIs while masked");
        write(LVTPC, how.lvtpc());
        time::busy(2 * short());
        check_eq!(log.count.load(Relaxed), 1, "PMIs after unmasking");
        counter.set_period(short());
        wait_for(log, 2)?;
    }
    counter::reset();
    Ok(())
}

/// A status bit that is set by hand stands for an overflow, where its counter wants PMIs.
pub(crate) fn set_by_hand() -> Outcome {
    let Some(set) = model().globals().and_then(|globals| globals.set) else {
        fail!("this model has no status set register");
    };
    for (counter, how) in counter::counting().zip(BOTH.into_iter().cycle()) {
        let log = prepare(how);
        counter.start(false);
        write(set, counter.bit());
        time::busy(short());
        let pmis = log.count.load(Relaxed);
        check_eq!(pmis, 0, "{counter}: PMIs without being asked for");
        check_eq!(counter::status(), counter.bit(), "{counter}: the status");
        counter::acknowledge(counter.bit());
        counter.start(true);
        write(set, counter.bit());
        just(log, 1)?;
        let status = log.status.load(Relaxed);
        check_eq!(
            status,
            counter.bit(),
            "{counter}: the status in the handler"
        );
        check!(
            counter.has_wrapped(),
            "{counter} is at {:#x}",
            counter.get()
        );
        check_eq!(read(LVTPC), delivered(how), "{counter}: LVTPC");
    }
    // One for all of them, once they run.
    let log = prepare(PmiDelivery::Nmi);
    counter::set_control(0);
    counter::counting().for_each(|counter| counter.start(true));
    let bits = counter::counting().fold(0, |bits, counter| bits | counter.bit());
    write(set, bits);
    time::busy(short());
    check_eq!(
        log.count.load(Relaxed),
        0,
        "PMIs of counters that stand still"
    );
    counter::set_control(model().all_bits());
    just(log, 1)?;
    check_eq!(log.status.load(Relaxed), bits, "the status");
    counter::reset();
    Ok(())
}
