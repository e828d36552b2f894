// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a register does with what it is given.

use rt::check_eq;
use rt::msr::{Gp, read, try_read, try_write};
use rt::tap::Outcome;
use rt::text::Text;

/// The fault of a register that is not there, or of a bit that is not.
pub(crate) const GP: Gp = Gp { error: 0 };

/// A write that is taken, and what the register holds afterwards.
pub(crate) fn keeps(msr: u32, written: u64, want: u64) -> Outcome {
    check_eq!(
        try_write(msr, written),
        Ok(()),
        "WRMSR {msr:#x} of {written:#x}"
    );
    check_eq!(
        read(msr),
        want,
        "MSR {msr:#x} after a write of {written:#x}"
    );
    Ok(())
}

/// A write that takes a #GP and changes nothing.
pub(crate) fn refuses(msr: u32, written: u64) -> Outcome {
    let before = read(msr);
    check_eq!(
        try_write(msr, written),
        Err(GP),
        "WRMSR {msr:#x} of {written:#x}"
    );
    check_eq!(
        read(msr),
        before,
        "MSR {msr:#x} after a refused write of {written:#x}"
    );
    Ok(())
}

/// A register that is not there.
pub(crate) fn absent(msr: u32) -> Outcome {
    check_eq!(try_read(msr), Err(GP), "RDMSR {msr:#x}");
    check_eq!(try_write(msr, 0), Err(GP), "WRMSR {msr:#x}");
    Ok(())
}

/// A reason, with the place in front.
pub(crate) fn at(place: core::fmt::Arguments<'_>, why: Text) -> Text {
    Text::format(format_args!("{place}: {why}"))
}
