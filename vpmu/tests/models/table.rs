// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every register of every model: its number, what it holds after reset, which bits it takes and
//! which it keeps.

use vpmu::{CounterId, MsrId, PmuKind, PmuModel};

use crate::shapes::{bits, counters, gp_bits, has_globals, is_amd, top, version};

/// What writing a register does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// #GP whatever is written.
    Never,
    /// Bits of `accepted` alone, else #GP; of these, `kept` are read back.
    Kept { accepted: u64, kept: u64 },
    /// Bits of `accepted` alone, else #GP; they act on another register, and 0 is read.
    Acts { accepted: u64 },
    /// Anything: bits 31:0 are sign-extended to the counter's width.
    Legacy,
}

/// One register of one model.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    pub(crate) name: String,
    pub(crate) msr: MsrId,
    pub(crate) reset: u64,
    pub(crate) writes: Writes,
}

/// Anything is accepted, and this much kept.
const fn keeps(kept: u64) -> Writes {
    Writes::Kept {
        accepted: u64::MAX,
        kept,
    }
}

/// Anything else than this faults.
const fn takes(bits: u64) -> Writes {
    Writes::Kept {
        accepted: bits,
        kept: bits,
    }
}

const ANY_THREAD: u64 = 1 << 21;

/// What an IA32_PERFEVTSELx takes (P03).
pub(crate) fn select_bits(model: &PmuModel) -> u64 {
    let all = (1 << 32) - 1;
    if has_any_thread(model) {
        all
    } else {
        all & !ANY_THREAD
    }
}

/// What an AMD select keeps (P30): event number, unit mask, counter mask, user, kernel, edge, INT, EN
/// and INV, GuestOnly and HostOnly.
pub(crate) const AMD_SELECT_BITS: u64 = {
    let event_number = 0xF_0000_00FF;
    let masks = 0xFF00_FF00;
    let flags = 1 << 16 | 1 << 17 | 1 << 18 | 1 << 20 | 1 << 22 | 1 << 23;
    event_number | masks | flags | 1 << 40 | 1 << 41
};

pub(crate) fn has_any_thread(model: &PmuModel) -> bool {
    matches!(model.kind(), PmuKind::IntelV3 | PmuKind::IntelV4)
}

/// What IA32_FIXED_CTR_CTRL takes (P22).
fn fixed_control_bits(model: &PmuModel) -> u64 {
    let field = if has_any_thread(model) {
        0b1111
    } else {
        0b1011
    };
    model.fixed_counters().map(|i| field << (4 * i)).sum()
}

/// What clears status bits (P06, P33).
fn clear_bits(model: &PmuModel) -> u64 {
    let both = 1 << 62 | 1 << 63;
    let from_v4 = 1 << 58 | 1 << 59 | 1 << 61;
    bits(model) | both | if version(model) >= 4 { from_v4 } else { 0 }
}

/// What IA32_PERF_GLOBAL_STATUS_SET takes (P24).
fn set_bits(model: &PmuModel) -> u64 {
    bits(model) | 1 << 59 | 1 << 62 | 1 << 63
}

/// Every register that `model` has.
pub(crate) fn registers(model: &PmuModel) -> Vec<Register> {
    if is_amd(model) {
        amd(model)
    } else {
        intel(model)
    }
}

fn register(name: impl Into<String>, msr: u32, reset: u64, writes: Writes) -> Register {
    Register {
        name: name.into(),
        msr: MsrId(msr),
        reset,
        writes,
    }
}

fn intel(model: &PmuModel) -> Vec<Register> {
    let version = version(model);
    let mut all = Vec::new();
    for counter in counters(model) {
        match counter {
            CounterId::Gp(n) => {
                let at = u32::from(n);
                all.push(register(
                    format!("IA32_PMC{n}"),
                    0xC1 + at,
                    0,
                    Writes::Legacy,
                ));
                let select = takes(select_bits(model));
                all.push(register(
                    format!("IA32_PERFEVTSEL{n}"),
                    0x186 + at,
                    0,
                    select,
                ));
                if model.full_width_writes() {
                    let alias = takes(top(model));
                    all.push(register(format!("IA32_A_PMC{n}"), 0x4C1 + at, 0, alias));
                }
            }
            CounterId::Fixed(i) => all.push(register(
                format!("IA32_FIXED_CTR{i}"),
                0x309 + u32::from(i),
                0,
                takes(top(model)),
            )),
        }
    }
    if model.full_width_writes() {
        all.push(register(
            "IA32_PERF_CAPABILITIES",
            0x345,
            1 << 13,
            Writes::Never,
        ));
    }
    if version >= 2 {
        let debugctl = Writes::Kept {
            accepted: 1 << 12 | 0b11,
            kept: 1 << 12,
        };
        let clear = Writes::Acts {
            accepted: clear_bits(model),
        };
        all.extend([
            register("IA32_DEBUGCTL", 0x1D9, 0, debugctl),
            register(
                "IA32_FIXED_CTR_CTRL",
                0x38D,
                0,
                takes(fixed_control_bits(model)),
            ),
            register("IA32_PERF_GLOBAL_STATUS", 0x38E, 0, Writes::Never),
            register(
                "IA32_PERF_GLOBAL_CTRL",
                0x38F,
                gp_bits(model),
                takes(bits(model)),
            ),
            register("IA32_PERF_GLOBAL_OVF_CTRL", 0x390, 0, clear),
        ]);
    }
    if version >= 4 {
        let set = Writes::Acts {
            accepted: set_bits(model),
        };
        all.extend([
            register("IA32_PERF_GLOBAL_STATUS_SET", 0x391, 0, set),
            register("IA32_PERF_GLOBAL_INUSE", 0x392, 0, Writes::Never),
        ]);
    }
    all
}

fn amd(model: &PmuModel) -> Vec<Register> {
    let mut all = Vec::new();
    for n in 0..u32::try_from(model.gp_counters()).expect("few counters") {
        let select = keeps(AMD_SELECT_BITS);
        let counter = keeps((1 << 48) - 1);
        if n < 4 {
            all.push(register(
                format!("PerfEvtSel{n}"),
                0xC001_0000 + n,
                0,
                select,
            ));
            all.push(register(format!("PerfCtr{n}"), 0xC001_0004 + n, 0, counter));
        }
        if model.kind() != PmuKind::AmdK7 {
            all.push(register(
                format!("PERF_CTL{n}"),
                0xC001_0200 + 2 * n,
                0,
                select,
            ));
            all.push(register(
                format!("PERF_CTR{n}"),
                0xC001_0201 + 2 * n,
                0,
                counter,
            ));
        }
    }
    if has_globals(model) {
        let acts = Writes::Acts { accepted: u64::MAX };
        let counters = bits(model);
        all.extend([
            register("PerfCntrGlobalStatus", 0xC000_0300, 0, Writes::Never),
            register("PerfCntrGlobalCtl", 0xC000_0301, counters, keeps(counters)),
            register("PerfCntrGlobalStatusClr", 0xC000_0302, 0, acts),
            register("PerfCntrGlobalStatusSet", 0xC000_0303, 0, acts),
        ]);
    }
    all
}
