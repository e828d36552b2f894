// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Event selects: what they keep, refuse and ignore.

use rt::counter::{self, EN};
use rt::model::{Kind, model};
use rt::tap::Outcome;

use crate::common::*;

const ANY_THREAD: u64 = 1 << 21;
/// Bits 19 and 21 are reserved, 35:32 are part of the event's number, 41:40 are GuestOnly and
/// HostOnly.
const AMD_BITS: u64 = 0x30f_ffd7_ffff;

/// The bits that an event select of Intel's has.
fn intel_bits() -> u64 {
    match model().kind {
        Kind::Intel(3 | 4) => 0xffff_ffff,
        _ => 0xffff_ffff & !ANY_THREAD,
    }
}

pub(crate) fn keep() -> Outcome {
    counter::reset();
    let bits = if model().is_amd() {
        AMD_BITS
    } else {
        intel_bits()
    };
    for n in 0..model().counters {
        // Not enabled: what a counter would do is not the question here.
        for value in [bits & !EN, 0x1234_5678 & bits & !EN, model().cycles(), 0] {
            keeps(model().select(n), value, value)?;
        }
    }
    for bit in (0..64).filter(|&bit| bits & 1 << bit != 0) {
        keeps(model().select(0), 1 << bit, 1 << bit)?;
    }
    counter::reset();
    Ok(())
}

pub(crate) fn refuse() -> Outcome {
    counter::reset();
    for n in 0..model().counters {
        let select = model().select(n);
        keeps(select, model().cycles(), model().cycles())?;
        let reserved = (0..64).filter(|&bit| intel_bits() & 1 << bit == 0);
        // All of them on one counter, the outermost on the others.
        for bit in reserved.filter(|bit| n == 0 || [21, 32, 63].contains(bit)) {
            refuses(select, model().cycles() | 1 << bit)?;
        }
        refuses(select, u64::MAX)?;
    }
    counter::reset();
    Ok(())
}

pub(crate) fn ignore() -> Outcome {
    counter::reset();
    for n in 0..model().counters {
        let select = model().select(n);
        keeps(select, !EN, AMD_BITS & !EN)?;
        let ignored = (0..64).filter(|&bit| AMD_BITS & 1 << bit == 0);
        for bit in ignored.filter(|bit| n == 0 || [19, 21, 36, 42, 63].contains(bit)) {
            keeps(select, model().cycles() | 1 << bit, model().cycles())?;
        }
    }
    counter::reset();
    Ok(())
}
