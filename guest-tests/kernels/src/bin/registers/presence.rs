// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which registers there are.

use rt::counter;
use rt::model::{Kind, Model, model, msr};
use rt::msr::{try_read, try_write};
use rt::tap::Outcome;
use rt::{check, check_eq, diag};

use crate::common::*;

/// Every MSR that belongs to a PMU, of either vendor and any version: first and how many.
const ALL: [(u32, u32); 15] = [
    (0xc1, 8),         // IA32_PMC0-7
    (0x186, 8),        // IA32_PERFEVTSEL0-7
    (0x1a6, 2),        // MSR_OFFCORE_RSP_0 and _1
    (0x309, 16),       // IA32_FIXED_CTR0-15
    (0x329, 1),        // MSR_PERF_METRICS
    (0x345, 1),        // IA32_PERF_CAPABILITIES
    (0x38d, 6),        // IA32_FIXED_CTR_CTRL, IA32_PERF_GLOBAL_*
    (0x3f1, 2),        // IA32_PEBS_ENABLE, MSR_PEBS_DATA_CFG
    (0x3f4, 4),        // PEBS
    (0x4c1, 8),        // IA32_A_PMC0-7
    (0x600, 1),        // IA32_DS_AREA
    (0x1900, 192),     // version 6
    (0xc000_0300, 4),  // AMD PerfMonV2
    (0xc001_0000, 8),  // AMD K7
    (0xc001_0200, 12), // AMD core
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    None,
    ReadOnly,
    ReadWrite,
}

fn there(condition: bool) -> Access {
    if condition {
        Access::ReadWrite
    } else {
        Access::None
    }
}

/// What the manuals of this model's vendor say.
fn access(model: &Model, msr: u32) -> Access {
    match model.kind {
        Kind::Intel(version) => intel(model, version, msr),
        _ => amd(model, msr),
    }
}

fn intel(model: &Model, version: u32, msr: u32) -> Access {
    let in_row = |first: u32| msr - first < model.counters;
    let global = version >= 2;
    match msr {
        0xc1..=0xc8 => there(in_row(0xc1)),
        0x186..=0x18d => there(in_row(0x186)),
        0x4c1..=0x4c8 => there(model.full_width && in_row(0x4c1)),
        0x309..=0x318 => there(global && model.has_fixed(msr - 0x309)),
        msr::PERF_CAPABILITIES if model.full_width => Access::ReadOnly,
        msr::GLOBAL_STATUS if global => Access::ReadOnly,
        msr::FIXED_CTR_CTRL | msr::GLOBAL_CTRL | msr::GLOBAL_OVF_CTRL => there(global),
        msr::GLOBAL_STATUS_SET => there(version >= 4),
        msr::GLOBAL_INUSE if version >= 4 => Access::ReadOnly,
        _ => Access::None,
    }
}

fn amd(model: &Model, msr: u32) -> Access {
    let v2 = model.kind == Kind::AmdV2;
    match msr {
        0xc001_0000..=0xc001_0003 => there(msr - msr::K7_EVT_SEL0 < model.counters),
        0xc001_0004..=0xc001_0007 => there(msr - msr::K7_CTR0 < model.counters),
        0xc001_0200..=0xc001_020b => {
            there(model.has_core_numbers() && (msr - msr::AMD_CTL0) / 2 < model.counters)
        }
        msr::AMD_GLOBAL_STATUS if v2 => Access::ReadOnly,
        0xc000_0301..=0xc000_0303 => there(v2),
        _ => Access::None,
    }
}

pub(crate) fn every_msr() -> Outcome {
    counter::reset();
    let mut found = 0;
    for msr in ALL.iter().flat_map(|&(first, count)| first..first + count) {
        match access(model(), msr) {
            Access::None => absent(msr)?,
            Access::ReadOnly => {
                let value = try_read(msr);
                check!(value.is_ok(), "RDMSR {msr:#x}: {value:x?}");
                for written in [0, 1, value.unwrap_or(0)] {
                    refuses(msr, written)?;
                }
                found += 1;
            }
            Access::ReadWrite => {
                let value = try_read(msr);
                check!(value.is_ok(), "RDMSR {msr:#x}: {value:x?}");
                let written = try_write(msr, value.unwrap_or(0));
                check_eq!(written, Ok(()), "WRMSR {msr:#x} of what it holds");
                found += 1;
            }
        }
    }
    diag!("{found} MSRs are there");
    Ok(())
}
