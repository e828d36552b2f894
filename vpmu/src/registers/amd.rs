// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! AMD's registers: where they are and which bits they have.

use super::layout::{Freeze, Layout, Register, bit};
use super::slots::Slots;
use crate::msr::{
    K7_PERF_CTR0, K7_PERF_EVT_SEL0, PERF_CNTR_GLOBAL_CTL, PERF_CNTR_GLOBAL_STATUS,
    PERF_CNTR_GLOBAL_STATUS_CLR, PERF_CNTR_GLOBAL_STATUS_SET, PERF_CTL0,
};
use crate::{MsrId, PmuModel, Vendor};

/// What a select keeps (P30): the event in bits 35:32 and 7:0, unit mask, USR, OS, edge, INT, EN,
/// inversion and counter mask, and GuestOnly and HostOnly (41:40).
const SELECT: u64 = 0x030F_FFD7_FFFF;

/// How many counters the numbers of the K7 reach.
const K7_COUNTERS: u32 = 4;

pub(super) fn layout(model: PmuModel) -> Layout {
    let slots = Slots::of(model);
    let counters = slots.fold(0, |bits, slot| bits | bit(slot));
    let status = if model.has_amd_global_registers() {
        counters
    } else {
        0
    };
    Layout {
        vendor: Vendor::Amd,
        slots,
        gp_counters: model.gp_counters(),
        width: model.counter_width(),
        full_width_writes: false,
        select: SELECT,
        fixed_control: 0,
        counters,
        control_reset: counters,
        status,
        status_clear: status,
        status_set: status,
        debug_control: 0,
        freeze: Freeze::Never,
        version: 0,
        amd_core: model.has_amd_core_counters(),
    }
}

pub(super) fn find(layout: &Layout, msr: MsrId) -> Option<Register> {
    let global = |register| (layout.status != 0).then_some(register);
    match msr {
        PERF_CNTR_GLOBAL_STATUS => global(Register::Status),
        PERF_CNTR_GLOBAL_CTL => global(Register::Control),
        PERF_CNTR_GLOBAL_STATUS_CLR => global(Register::StatusClear),
        PERF_CNTR_GLOBAL_STATUS_SET => global(Register::StatusSet),
        _ => core(layout, msr).or_else(|| k7(layout, msr)),
    }
}

/// C001_0200H and above: select and counter in turn.
fn core(layout: &Layout, msr: MsrId) -> Option<Register> {
    let offset = msr.0.wrapping_sub(PERF_CTL0.0);
    let slot = layout.gp_slot(offset / 2).filter(|_| layout.amd_core)?;
    Some(match offset % 2 {
        0 => Register::Select(slot),
        _ => Register::Counter(slot),
    })
}

/// C001_0000H and above: four selects, then four counters (P32).
fn k7(layout: &Layout, msr: MsrId) -> Option<Register> {
    let slot = |first: MsrId| {
        let n = msr.0.wrapping_sub(first.0);
        layout.gp_slot(n).filter(|_| n < K7_COUNTERS)
    };
    slot(K7_PERF_EVT_SEL0)
        .map(Register::Select)
        .or_else(|| slot(K7_PERF_CTR0).map(Register::Counter))
}
