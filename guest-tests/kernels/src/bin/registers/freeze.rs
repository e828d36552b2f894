// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! FREEZE_PERFMON_ON_PMI, before version 4 by the global control, since then by a status bit.

use core::sync::atomic::Ordering::Relaxed;

use rt::apic::{LVT_MASKED, LVTPC, PmiDelivery};
use rt::counter::{self, CTR_FRZ, Counter};
use rt::model::{model, msr};
use rt::msr::{read, write};
use rt::tap::Outcome;
use rt::{check, check_eq, time};

use crate::counting::{moves, stands};
use crate::log::*;

const FREEZE_ON_PMI: u64 = 1 << 12;

/// What a PMI finds.
#[derive(Clone, Copy, Default)]
struct Setting {
    /// IA32_DEBUGCTL.
    debug_control: u64,
    /// The LVTPC's mask bit.
    lvt_mask: u64,
    /// Whether the handler acknowledges the status.
    acknowledge: bool,
}

/// What freezes, and leaves everything as the PMI left it.
const FREEZES: Setting = Setting {
    debug_control: FREEZE_ON_PMI,
    lvt_mask: 0,
    acknowledge: false,
};

/// Lets all counters run; `counter`, which has the PMI, overflows after a short while.
fn start(counter: Counter, how: PmiDelivery, setting: Setting) -> &'static Log {
    let log = prepare(how);
    log.leave_status.store(!setting.acknowledge, Relaxed);
    write(LVTPC, how.lvtpc() | setting.lvt_mask);
    write(msr::DEBUGCTL, setting.debug_control);
    for other in counter::counting().filter(|&other| other != counter) {
        other.start(false);
    }
    counter.set_period(short());
    counter.start(true);
    log
}

/// The first counter and the last, which is a fixed one if there is one.
fn two() -> impl Iterator<Item = (Counter, PmiDelivery)> {
    let last = counter::counting().last().unwrap_or(Counter::Gp(0));
    [
        (Counter::Gp(0), PmiDelivery::Vector),
        (last, PmiDelivery::Nmi),
    ]
    .into_iter()
}

pub(crate) fn by_control() -> Outcome {
    for (counter, how) in two() {
        let log = start(counter, how, FREEZES);
        just(log, 1)?;
        check_eq!(log.control.load(Relaxed), 0, "GLOBAL_CTRL in the handler");
        check_eq!(log.status.load(Relaxed), counter.bit(), "the status");
        check_eq!(read(msr::GLOBAL_CTRL), 0, "GLOBAL_CTRL afterwards");
        counter::counting().try_for_each(stands)?;
        // The status has nothing to do with it.
        counter::acknowledge(counter.bit());
        counter::counting().try_for_each(stands)?;
        counter::set_control(model().all_bits());
        counter::counting().try_for_each(moves)?;
    }
    counter::reset();
    Ok(())
}

pub(crate) fn by_status() -> Outcome {
    for (counter, how) in two() {
        let log = start(counter, how, FREEZES);
        just(log, 1)?;
        let all = model().all_bits();
        let frozen = counter.bit() | CTR_FRZ;
        check_eq!(log.control.load(Relaxed), all, "GLOBAL_CTRL in the handler");
        check_eq!(
            log.status.load(Relaxed),
            frozen,
            "the status in the handler"
        );
        counter::counting().try_for_each(stands)?;
        counter::acknowledge(counter.bit());
        check_eq!(
            counter::status(),
            CTR_FRZ,
            "the status without the counter's bit"
        );
        counter::counting().try_for_each(stands)?;
        counter::acknowledge(CTR_FRZ);
        check_eq!(counter::status(), 0, "the status at last");
        counter::counting().try_for_each(moves)?;
    }
    counter::reset();
    Ok(())
}

/// What the handler acknowledges lets the counters go on, and the next PMI freezes again.
pub(crate) fn thawed_in_the_handler() -> Outcome {
    let counter = Counter::Gp(0);
    let setting = Setting {
        acknowledge: true,
        ..FREEZES
    };
    let log = start(counter, PmiDelivery::Vector, setting);
    for pmis in 1..=3 {
        wait_for(log, pmis)?;
        counter::counting().try_for_each(moves)?;
        let seen = log.status.swap(0, Relaxed);
        check_eq!(seen, counter.bit() | CTR_FRZ, "the status at PMI {pmis}");
        // In this order: an overflow while LVTPC is masked has no PMI.
        write(LVTPC, PmiDelivery::Vector.lvtpc());
        counter.set_period(short());
    }
    counter::reset();
    Ok(())
}

pub(crate) fn not_asked_for() -> Outcome {
    for (counter, how) in two() {
        let log = start(counter, how, Setting::default());
        just(log, 1)?;
        let all = model().all_bits();
        check_eq!(log.control.load(Relaxed), all, "GLOBAL_CTRL in the handler");
        check_eq!(log.status.load(Relaxed), counter.bit(), "the status");
        counter::counting().try_for_each(moves)?;
    }
    counter::reset();
    Ok(())
}

pub(crate) fn not_when_masked() -> Outcome {
    let setting = Setting {
        lvt_mask: LVT_MASKED,
        ..FREEZES
    };
    for (counter, how) in two() {
        let log = start(counter, how, setting);
        let came = time::wait_ms(20_000, || counter::status() != 0);
        check!(came, "{counter} has no overflow within 20 s");
        check_eq!(counter::status(), counter.bit(), "the status");
        check_eq!(read(msr::GLOBAL_CTRL), model().all_bits(), "GLOBAL_CTRL");
        counter::counting().try_for_each(moves)?;
        check_eq!(log.count.load(Relaxed), 0, "PMIs");
    }
    counter::reset();
    Ok(())
}
