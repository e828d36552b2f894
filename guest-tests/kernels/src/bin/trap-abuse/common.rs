// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What every point stands on.

use rt::cpu::{self, rflags, selector};
use rt::mem::{self};
use rt::pmu::{self, COUNTERS, select, set_counter, set_select};
use rt::probe::{self, BOTH, Cpl};
use rt::tap::Outcome;
use rt::text::Text;
use rt::trap::{TrapFrame, vector};
use rt::{check_eq, session};

pub(crate) const VALUE: u64 = 0x1234_5678;

pub(crate) fn prepare() {
    cpu::allow_user_rdpmc(true);
    pmu::reset();
    set_select(0, select::CYCLES);
    set_select(0, 0);
    (0..COUNTERS).for_each(|n| set_counter(n, VALUE));
}

pub(crate) fn at(place: core::fmt::Arguments<'_>, why: Text) -> Text {
    Text::format(format_args!("{place}: {why}"))
}

/// The code at `frame` is at CPL 3 as user code should be, and no more.
pub(crate) fn unprivileged(frame: &TrapFrame) -> Outcome {
    check_eq!(
        (frame.cs, frame.ss),
        (selector::USER_CODE, selector::USER_DATA),
        "CS and SS"
    );
    check_eq!(frame.rflags & rflags::IOPL, 0, "IOPL");
    Ok(())
}

/// User code runs, is at CPL 3, may not do what the kernel may, and RDPMC works.
pub(crate) fn still_works() -> Outcome {
    prepare();
    let end = session::run(&probe::RETURN.start(Cpl::Three));
    check_eq!(end.vector(), vector::RETURN, "vector of INT 0x80");
    unprivileged(&end)?;
    let end = session::run(&probe::HLT.start(Cpl::Three));
    check_eq!(end.vector(), vector::GENERAL_PROTECTION, "vector of HLT");
    unprivileged(&end)?;
    for cpl in BOTH {
        let end = session::run(&probe::RDPMC.start(cpl));
        check_eq!(
            end.vector(),
            vector::RETURN,
            "vector of RDPMC at CPL {cpl:?}"
        );
        check_eq!(end.rax | end.rdx << 32, VALUE, "RDPMC at CPL {cpl:?}");
    }
    Ok(())
}

/// Where this kernel puts code of its own.
pub(crate) const CODE: u64 = mem::PLAYGROUND;
