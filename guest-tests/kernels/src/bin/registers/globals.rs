// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The registers of all counters in one, and what each of their bits does when it is written.

use rt::check_eq;
use rt::counter::{self, CTR_FRZ, Counter};
use rt::fail;
use rt::model::{Globals, model, msr};
use rt::msr::{read, try_write, write};
use rt::tap::Outcome;
use rt::text::Text;

use crate::common::*;

fn globals() -> Result<Globals, Text> {
    match model().globals() {
        Some(globals) => Ok(globals),
        None => fail!("this model has no global registers"),
    }
}

/// A write of each bit alone to a register that reads 0: taken if it is one of `bits`, otherwise a
/// #GP, or ignored.
fn each_bit(msr: u32, bits: u64) -> Outcome {
    for bit in 0..64 {
        let taken = model().is_amd() || bits & 1 << bit != 0;
        let want = if taken { Ok(()) } else { Err(GP) };
        check_eq!(try_write(msr, 1 << bit), want, "WRMSR {msr:#x}, bit {bit}");
        check_eq!(read(msr), 0, "MSR {msr:#x} reads after bit {bit}");
    }
    Ok(())
}

pub(crate) fn control() -> Outcome {
    counter::reset();
    let (control, all) = (globals()?.control, model().all_bits());
    for value in [
        0,
        all,
        1,
        all & 0x5555_5555_5555_5555,
        model().gp_bits(),
        all,
    ] {
        keeps(control, value, value)?;
    }
    for bit in (0..64).filter(|&bit| all & 1 << bit == 0) {
        if model().is_amd() {
            keeps(control, all | 1 << bit, all)?;
        } else {
            refuses(control, all | 1 << bit)?;
        }
    }
    counter::reset();
    Ok(())
}

pub(crate) fn clear() -> Outcome {
    counter::reset();
    // Bits 62 and 63 are there in every version; the freezes (58, 59) and the uncore's (61) came
    // with version 4.
    let mut bits = model().all_bits() | 1 << 62 | 1 << 63;
    if model().version() >= 4 {
        bits |= 1 << 58 | CTR_FRZ | 1 << 61;
    }
    each_bit(globals()?.clear, bits)?;
    counter::reset();
    Ok(())
}

pub(crate) fn set() -> Outcome {
    counter::reset();
    let globals = globals()?;
    let Some(set) = globals.set else {
        fail!("this model has no status set register");
    };
    each_bit(set, model().all_bits() | CTR_FRZ | 1 << 62 | 1 << 63)?;
    // Bit by bit on top of each other, then off again.
    counter::reset();
    write(globals.clear, counter::status());
    let mut want = 0;
    for counter in counter::all() {
        write(set, counter.bit());
        want |= counter.bit();
        check_eq!(
            counter::status(),
            want,
            "the status after {counter} was set"
        );
    }
    for counter in counter::all() {
        write(globals.clear, counter.bit());
        want &= !counter.bit();
        check_eq!(
            counter::status(),
            want,
            "the status after {counter} was cleared"
        );
        check_eq!(counter.get(), 0, "{counter}: its value is another matter");
    }
    counter::reset();
    Ok(())
}

pub(crate) fn fixed_control() -> Outcome {
    counter::reset();
    let fields = match model().version() {
        3 | 4 => 0b1111,
        // AnyThread came with version 3 and went with version 5.
        _ => 0b1011,
    };
    let mut bits = 0;
    for counter in counter::all() {
        if let Counter::Fixed(i) = counter {
            bits |= fields << (4 * i);
        }
    }
    set_control_none()?;
    keeps(msr::FIXED_CTR_CTRL, bits, bits)?;
    for bit in 0..64 {
        if bits & 1 << bit == 0 {
            refuses(msr::FIXED_CTR_CTRL, 1 << bit)?;
        } else {
            keeps(msr::FIXED_CTR_CTRL, 1 << bit, 1 << bit)?;
        }
    }
    counter::reset();
    Ok(())
}

/// No counter is to run while its select is tried out.
fn set_control_none() -> Outcome {
    keeps(globals()?.control, 0, 0)
}

pub(crate) fn in_use() -> Outcome {
    const PMI: u64 = 1 << 63;
    counter::reset();
    set_control_none()?;
    check_eq!(read(msr::GLOBAL_INUSE), 0, "INUSE with nothing selected");
    for n in 0..model().counters {
        let select = model().select(n);
        for (value, want) in [
            (0x3c, 1 << n),
            // The event alone decides; no unit mask, no enable bit.
            (0xff00 | counter::EN, 0),
            (counter::INT, PMI),
            (0x3c | counter::INT, 1 << n | PMI),
        ] {
            write(select, value);
            check_eq!(
                read(msr::GLOBAL_INUSE),
                want,
                "INUSE with select {n} at {value:#x}"
            );
        }
        write(select, 0);
    }
    for counter in counter::all() {
        let Counter::Fixed(i) = counter else { continue };
        for (field, want) in [
            (0b0001, counter.bit()),
            (0b0010, counter.bit()),
            (0b1000, PMI),
            (0b1011, counter.bit() | PMI),
        ] {
            write(msr::FIXED_CTR_CTRL, field << (4 * i));
            let is = read(msr::GLOBAL_INUSE);
            check_eq!(is, want, "INUSE with {counter}'s field at {field:#b}");
        }
        write(msr::FIXED_CTR_CTRL, 0);
    }
    counter::reset();
    Ok(())
}

pub(crate) fn debug_control() -> Outcome {
    const LBR_AND_BTF: u64 = 0b11;
    const FREEZE: u64 = 1 << 12;
    counter::reset();
    keeps(msr::DEBUGCTL, FREEZE, FREEZE)?;
    keeps(msr::DEBUGCTL, FREEZE | LBR_AND_BTF, FREEZE)?;
    keeps(msr::DEBUGCTL, LBR_AND_BTF, 0)?;
    for bit in (0..64).filter(|bit| ![0, 1, 12].contains(bit)) {
        refuses(msr::DEBUGCTL, 1 << bit)?;
    }
    counter::reset();
    Ok(())
}
