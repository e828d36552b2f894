// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Intel's registers: where they are and which bits they have.

use super::layout::{Freeze, Layout, Register, bit};
use super::slots::Slots;
use crate::msr::{
    IA32_A_PMC0, IA32_DEBUGCTL, IA32_FIXED_CTR_CTRL, IA32_FIXED_CTR0, IA32_PERF_CAPABILITIES,
    IA32_PERF_GLOBAL_CTRL, IA32_PERF_GLOBAL_INUSE, IA32_PERF_GLOBAL_OVF_CTRL,
    IA32_PERF_GLOBAL_STATUS, IA32_PERF_GLOBAL_STATUS_SET, IA32_PERFEVTSEL0, IA32_PMC0,
};
use crate::{CounterId, EventSelect, MsrId, PmuModel, Vendor};

/// What a select can have: its lower half (P03).
const SELECT: u64 = u32::MAX as u64;

/// IA32_PERF_GLOBAL_STATUS bit 58, LBR_FRZ: there is nothing that it could freeze.
const LBR_FRZ: u64 = 1 << 58;
/// Bit 59, CTR_FRZ: all counters stand still.
pub(super) const CTR_FRZ: u64 = 1 << 59;
/// Bit 61, Ovf_Uncore: there is no uncore.
const OVF_UNCORE: u64 = 1 << 61;
/// Bit 62, OvfDSBuffer: there is no debug store, but the bit can be set by hand.
const OVF_DS_BUFFER: u64 = 1 << 62;
/// Bit 63, CondChgd: the same.
const COND_CHGD: u64 = 1 << 63;

/// IA32_DEBUGCTL bit 12: a PMI freezes the counters.
const FREEZE_PERFMON_ON_PMI: u64 = 1 << 12;
/// IA32_DEBUGCTL bits 0 and 1, LBR and BTF: taken and dropped (P26).
pub(super) const DROPPED_DEBUG_CONTROL: u64 = 0b11;

/// IA32_PERF_CAPABILITIES bit 13, FW_WRITE: all there is to it (P23).
pub(super) const CAPABILITIES: u64 = 1 << 13;

/// A fixed-function counter's four bits of IA32_FIXED_CTR_CTRL.
mod field {
    pub(super) const OS: u64 = 1 << 0;
    pub(super) const USR: u64 = 1 << 1;
    pub(super) const ANY_THREAD: u64 = 1 << 2;
    pub(super) const PMI: u64 = 1 << 3;
    pub(super) const ALL: u64 = OS | USR | ANY_THREAD | PMI;
    pub(super) const BITS: usize = 4;
}

/// The selects of what fixed-function counters 0 to 2 count: instructions, core cycles, reference
/// cycles.
const FIXED_EVENTS: [u64; 3] = [0x00C0, 0x003C, 0x013C];

pub(super) fn layout(model: PmuModel) -> Layout {
    let version = model.kind().version().unwrap_or_default();
    let slots = Slots::of(model);
    let counters = slots.fold(0, |bits, slot| bits | bit(slot));
    let any_thread = matches!(version, 3 | 4);
    let field = if any_thread {
        field::ALL
    } else {
        field::ALL & !field::ANY_THREAD
    };
    let streamlined = version >= 4;
    let global = version >= 2;
    let mut status = counters;
    let mut status_clear = counters | OVF_DS_BUFFER | COND_CHGD;
    if streamlined {
        status |= CTR_FRZ | OVF_DS_BUFFER | COND_CHGD;
        status_clear |= LBR_FRZ | CTR_FRZ | OVF_UNCORE;
    }
    Layout {
        vendor: Vendor::Intel,
        slots,
        gp_counters: model.gp_counters(),
        width: model.counter_width(),
        full_width_writes: model.full_width_writes(),
        select: if any_thread {
            SELECT
        } else {
            SELECT & !EventSelect::ANY_THREAD
        },
        fixed_control: model
            .fixed_counters()
            .fold(0, |bits, n| bits | field << (n * field::BITS)),
        counters,
        control_reset: counters & u64::from(u32::MAX),
        status: if global { status } else { 0 },
        status_clear,
        status_set: status,
        debug_control: if global { FREEZE_PERFMON_ON_PMI } else { 0 },
        freeze: match version {
            ..=1 => Freeze::Never,
            2 | 3 => Freeze::Control,
            4.. => Freeze::Status,
        },
        version,
        amd_core: false,
    }
}

pub(super) fn find(layout: &Layout, msr: MsrId) -> Option<Register> {
    let nth = |first: MsrId| layout.gp_slot(msr.0.wrapping_sub(first.0));
    let from = |version: u8, register| (layout.version >= version).then_some(register);
    match msr {
        IA32_PERF_GLOBAL_STATUS => from(2, Register::Status),
        IA32_PERF_GLOBAL_CTRL => from(2, Register::Control),
        IA32_PERF_GLOBAL_OVF_CTRL => from(2, Register::StatusClear),
        IA32_FIXED_CTR_CTRL => from(2, Register::FixedControl),
        IA32_DEBUGCTL => from(2, Register::DebugControl),
        IA32_PERF_GLOBAL_STATUS_SET => from(4, Register::StatusSet),
        IA32_PERF_GLOBAL_INUSE => from(4, Register::InUse),
        IA32_PERF_CAPABILITIES => layout.full_width_writes.then_some(Register::Capabilities),
        _ => nth(IA32_PMC0)
            .map(Register::Counter)
            .or_else(|| nth(IA32_PERFEVTSEL0).map(Register::Select))
            .or_else(|| {
                fixed_slot(layout, msr.0.wrapping_sub(IA32_FIXED_CTR0.0)).map(Register::Counter)
            })
            .or_else(|| {
                let n = nth(IA32_A_PMC0)?;
                layout.full_width_writes.then_some(Register::FullWidth(n))
            }),
    }
}

pub(super) fn find_pmc(layout: &Layout, index: u32) -> Option<usize> {
    const FIXED: u32 = CounterId::Fixed(0).rdpmc_index();
    if index & FIXED == 0 {
        layout.gp_slot(index)
    } else {
        fixed_slot(layout, index & !FIXED)
    }
}

/// The slot of fixed-function counter `n`, if it is there.
fn fixed_slot(layout: &Layout, n: u32) -> Option<usize> {
    let n = usize::try_from(n)
        .ok()
        .filter(|&n| n < FIXED_EVENTS.len())?;
    let slot = CounterId::Fixed(0).slot() + n;
    layout.slots.contains(slot).then_some(slot)
}

/// The event select that asks for what `control`, the IA32_FIXED_CTR_CTRL, asks of the counter in
/// `slot`.
pub(super) const fn fixed_select(control: u64, slot: usize) -> EventSelect {
    let n = slot - CounterId::Fixed(0).slot();
    let asked = control >> (n * field::BITS);
    let mut select = FIXED_EVENTS[n];
    if asked & (field::OS | field::USR) != 0 {
        select |= EventSelect::EN;
    }
    if asked & field::OS != 0 {
        select |= EventSelect::OS;
    }
    if asked & field::USR != 0 {
        select |= EventSelect::USR;
    }
    if asked & field::ANY_THREAD != 0 {
        select |= EventSelect::ANY_THREAD;
    }
    if asked & field::PMI != 0 {
        select |= EventSelect::INT;
    }
    EventSelect(select)
}
