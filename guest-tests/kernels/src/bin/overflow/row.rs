// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Many overflows, one after the other.

use core::sync::atomic::Ordering::Relaxed;

use rt::apic::LVTPC;
use rt::msr::read;
use rt::pmu::{self, counter, select, set_select};
use rt::tap::Outcome;
use rt::{check, check_eq, diag, time};

use crate::log::*;

pub(crate) const IN_A_ROW: u64 = 1_000;

pub(crate) fn in_a_row<const HOW: bool>() -> Outcome {
    let log = prepare(delivery::<HOW>());
    let period = short() / 5;
    log.period.store(period, Relaxed);
    log.again.store(IN_A_ROW - 1, Relaxed);
    pmu::set_period(0, period);
    let start = time::tsc();
    set_select(0, select::CYCLES_INT);
    let all_came = time::wait_ms(25_000, || log.count.load(Relaxed) >= IN_A_ROW);
    let passed = time::tsc() - start;
    let count = log.count.load(Relaxed);
    check!(
        all_came,
        "{count} PMIs in 25 s: lost? STATUS {:#x}, LVTPC {:#x}, counter {:#x}",
        pmu::status(),
        read(LVTPC),
        counter(0)
    );
    time::busy(3 * short());
    check_eq!(log.count.load(Relaxed), IN_A_ROW, "PMIs");
    check_eq!(
        log.status.load(Relaxed),
        1,
        "all bits of GLOBAL_STATUS that were seen"
    );
    no_oddities(log)?;
    diag!(
        "{} TSC ticks a PMI, of a period of {period}",
        passed / IN_A_ROW
    );
    pmu::reset();
    Ok(())
}
