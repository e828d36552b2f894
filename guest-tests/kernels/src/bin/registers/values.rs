// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What counters that stand still take and give back.

use rt::check_eq;
use rt::counter::{self, Counter};
use rt::model::{model, msr};
use rt::msr::{read, write};
use rt::tap::Outcome;

use crate::common::*;

/// Values that show a lost half, a wrong sign or a wrong width.
const CASES: [u64; 9] = [
    0,
    1,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1234_5678_0000_0001,
    0x0000_0001_8000_0001,
    0xffff_ffff_7fff_ffff,
    u64::MAX,
];

/// The low 32 bits of `value` as a counter holds them that extends their sign.
fn sign_extended(value: u64) -> u64 {
    let low = value & 0xffff_ffff;
    let sign = if low >> 31 == 0 { 0 } else { !0xffff_ffff };
    (low | sign) & model().counter_mask()
}

pub(crate) fn general_purpose() -> Outcome {
    counter::reset();
    for n in 0..model().counters {
        for written in CASES {
            let want = if model().is_amd() {
                written & model().counter_mask()
            } else {
                sign_extended(written)
            };
            keeps(model().gp_counter(n), written, want)?;
        }
    }
    each_its_own()
}

/// No counter shares its value with another.
fn each_its_own() -> Outcome {
    for counter in counter::all() {
        counter.set(counter.bit() % 1_000_003);
    }
    for counter in counter::all() {
        check_eq!(counter.get(), counter.bit() % 1_000_003, "{counter}");
    }
    counter::reset();
    Ok(())
}

/// Values of just the width, and what is above.
fn in_full(msr: u32, reads: u32) -> Outcome {
    let mask = model().counter_mask();
    for value in [0, 1, 0x8000_0000, 0xffff_ffff, mask >> 1, mask - 1, mask] {
        write(msr, value);
        check_eq!(read(msr), value, "MSR {msr:#x}");
        check_eq!(read(reads), value, "MSR {reads:#x}");
    }
    for bit in model().width..64 {
        refuses(msr, 1 << bit)?;
    }
    refuses(msr, u64::MAX)
}

pub(crate) fn fixed() -> Outcome {
    counter::reset();
    for counter in counter::all().filter(|counter| matches!(counter, Counter::Fixed(_))) {
        in_full(counter.msr(), counter.msr()).map_err(|why| at(format_args!("{counter}"), why))?;
    }
    counter::reset();
    Ok(())
}

pub(crate) fn full_width() -> Outcome {
    counter::reset();
    check_eq!(
        read(msr::PERF_CAPABILITIES),
        1 << 13,
        "PERF_CAPABILITIES: full-width writes, nothing else"
    );
    for n in 0..model().counters {
        in_full(msr::A_PMC0 + n, msr::PMC0 + n)?;
        // The other way round.
        write(msr::PMC0 + n, 0x8000_0000);
        let value = sign_extended(0x8000_0000);
        check_eq!(read(msr::A_PMC0 + n), value, "IA32_A_PMC{n}");
    }
    counter::reset();
    Ok(())
}

pub(crate) fn two_numbers() -> Outcome {
    counter::reset();
    for n in 0..model().counters.min(4) {
        let value = 0x1000 + u64::from(n);
        let select = model().cycles() | u64::from(n) << 24;
        for (counter_to, select_to, counter_from, select_from) in [
            (
                msr::K7_CTR0 + n,
                msr::K7_EVT_SEL0 + n,
                msr::AMD_CTR0 + 2 * n,
                msr::AMD_CTL0 + 2 * n,
            ),
            (
                msr::AMD_CTR0 + 2 * n,
                msr::AMD_CTL0 + 2 * n,
                msr::K7_CTR0 + n,
                msr::K7_EVT_SEL0 + n,
            ),
        ] {
            counter::reset();
            write(counter_to, value);
            write(select_to, select);
            check_eq!(read(counter_from), value, "counter {n} by its other number");
            check_eq!(read(select_from), select, "select {n} by its other number");
        }
    }
    counter::reset();
    Ok(())
}
