// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RDPMC: which counters it names, and who may use it.

use rt::counter::{self, Counter};
use rt::model::model;
use rt::probe::{self, BOTH, Cpl};
use rt::tap::Outcome;
use rt::trap::{TrapFrame, vector};
use rt::{check_eq, cpu, session};

/// Stopped counters, each with a value of its own. One ran before: then the host knows that the
/// guest uses its PMU.
fn prepare() {
    cpu::allow_user_rdpmc(true);
    counter::reset();
    Counter::Gp(0).start(false);
    Counter::Gp(0).stop();
    for counter in counter::all() {
        counter.set_period(1 + counter.bit() % 1_000_003);
    }
}

fn run(index: u32, cpl: Cpl) -> TrapFrame {
    let mut start = probe::RDPMC.start(cpl);
    start.rcx = u64::from(index);
    session::run(&start)
}

fn reads(counter: Counter, cpl: Cpl) -> Outcome {
    let want = counter.get();
    let end = run(counter.index(), cpl);
    check_eq!(end.vector(), vector::RETURN, "vector, {counter}, {cpl:?}");
    check_eq!(end.rax | end.rdx << 32, want, "{counter} by RDPMC, {cpl:?}");
    Ok(())
}

fn faults(index: u32, cpl: Cpl) -> Outcome {
    let end = run(index, cpl);
    check_eq!(
        (end.vector(), end.error),
        (vector::GENERAL_PROTECTION, 0),
        "vector and error, index {index:#x}, {cpl:?}"
    );
    Ok(())
}

pub(crate) fn every_counter() -> Outcome {
    prepare();
    counter::all().try_for_each(|counter| BOTH.iter().try_for_each(|&cpl| reads(counter, cpl)))
}

pub(crate) fn no_other() -> Outcome {
    prepare();
    let counters = model().counters;
    let gp = [
        counters,
        counters + 1,
        15,
        0xff,
        1 << 16,
        1 << 29,
        1 << 29 | 1,
    ];
    for index in gp {
        BOTH.iter().try_for_each(|&cpl| faults(index, cpl))?;
    }
    // Fixed counters that are not there, and numbers beyond them.
    for i in (0..5)
        .chain([31, 32, 1 << 29])
        .filter(|&i| !model().has_fixed(i))
    {
        BOTH.iter().try_for_each(|&cpl| faults(1 << 30 | i, cpl))?;
    }
    // The fast reads of another age.
    for index in [1 << 31, 1 << 31 | 1, 0xc000_0000, 0xc000_0001, u32::MAX] {
        BOTH.iter().try_for_each(|&cpl| faults(index, cpl))?;
    }
    Ok(())
}

pub(crate) fn user_refused() -> Outcome {
    prepare();
    cpu::allow_user_rdpmc(false);
    let outcome = counter::all().try_for_each(|counter| {
        faults(counter.index(), Cpl::Three)?;
        reads(counter, Cpl::Zero)
    });
    cpu::allow_user_rdpmc(true);
    outcome
}
