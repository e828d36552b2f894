// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which registers a model has, and which of their bits.

use super::slots::Slots;
use super::{amd, intel};
use crate::counter::sign_extended;
use crate::{CounterId, EventSelect, MsrId, PmuModel, Vendor};

/// A register that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// The counter of this slot.
    Counter(usize),
    /// The same by its full-width alias.
    FullWidth(usize),
    /// The event select of the general-purpose counter of this slot.
    Select(usize),
    /// The selects of all fixed-function counters.
    FixedControl,
    Status,
    Control,
    /// Clears status bits that are written as one.
    StatusClear,
    /// Sets status bits that are written as one.
    StatusSet,
    InUse,
    Capabilities,
    DebugControl,
}

/// What a delivered PMI does to the counters, if DEBUGCTL says that it freezes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freeze {
    /// Nothing (or there is no DEBUGCTL).
    Never,
    /// It clears the global control register (P27).
    Control,
    /// It sets CTR_FRZ in the status (P28).
    Status,
}

/// The bits that registers may hold and writes may have set. What else is written faults, or is
/// ignored, as the vendor has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) vendor: Vendor,
    /// The counters.
    pub(super) slots: Slots,
    pub(super) gp_counters: usize,
    /// How many bits a counter has.
    pub(super) width: u32,
    pub(super) full_width_writes: bool,
    pub(super) select: u64,
    pub(super) fixed_control: u64,
    /// The bits of all counters, as status and control have them.
    pub(super) counters: u64,
    /// What control starts with; all there is to it where it is not a register.
    pub(super) control_reset: u64,
    /// 0 where there is no status register.
    pub(super) status: u64,
    pub(super) status_clear: u64,
    pub(super) status_set: u64,
    /// What DEBUGCTL keeps; 0 where there is none.
    pub(super) debug_control: u64,
    pub(super) freeze: Freeze,
    /// Intel's version; 0 for AMD's.
    pub(super) version: u8,
    pub(super) amd_core: bool,
}

/// The bit of the counter in `slot` in the status and control registers.
pub(super) const fn bit(slot: usize) -> u64 {
    1 << CounterId::of_slot(slot).status_bit()
}

impl Layout {
    pub(super) fn of(model: PmuModel) -> Self {
        match model.vendor() {
            Vendor::Intel => intel::layout(model),
            Vendor::Amd => amd::layout(model),
        }
    }

    /// What `msr` is.
    pub(super) fn find(&self, msr: MsrId) -> Option<Register> {
        match self.vendor {
            Vendor::Intel => intel::find(self, msr),
            Vendor::Amd => amd::find(self, msr),
        }
    }

    /// The slot of the counter that RDPMC reads with `index` (P07).
    pub(super) fn find_pmc(&self, index: u32) -> Option<usize> {
        match self.vendor {
            Vendor::Intel => intel::find_pmc(self, index),
            Vendor::Amd => self.gp_slot(index),
        }
    }

    /// The slot of general-purpose counter `n`, if it is there.
    pub(super) fn gp_slot(&self, n: u32) -> Option<usize> {
        let n = n as usize;
        (n < self.gp_counters).then_some(n)
    }

    /// What a register whose bits are `defined` takes from a write of `value`; nothing if that
    /// faults.
    pub(super) const fn accept(&self, value: u64, defined: u64) -> Option<u64> {
        match self.vendor {
            Vendor::Intel if value & !defined != 0 => None,
            _ => Some(value & defined),
        }
    }

    /// What a write of `value` to the counter in `slot` by its usual number puts there (P02, P22,
    /// P31); nothing if that faults.
    pub(super) const fn counter_write(&self, slot: usize, value: u64) -> Option<u64> {
        match (self.vendor, CounterId::of_slot(slot)) {
            (Vendor::Intel, CounterId::Gp(_)) => Some(sign_extended(value) & self.highest()),
            _ => self.full_write(value),
        }
    }

    /// What a write of all the bits of a counter puts there (P22, P23, P31).
    pub(super) const fn full_write(&self, value: u64) -> Option<u64> {
        self.accept(value, self.highest())
    }

    /// Whether a counter at `count` has an overflow due.
    pub(super) const fn due(&self, count: u64) -> bool {
        count > self.highest()
    }

    /// The highest value of a counter.
    const fn highest(&self) -> u64 {
        (1 << self.width) - 1
    }

    /// The slots of the fixed-function counters.
    pub(super) fn fixed_slots(&self) -> impl Iterator<Item = usize> + use<> {
        self.slots
            .skip_while(|&slot| slot < CounterId::Fixed(0).slot())
    }

    /// What `control` asks of the fixed-function counter in `slot`, as an event select.
    pub(super) const fn fixed_select(control: u64, slot: usize) -> EventSelect {
        intel::fixed_select(control, slot)
    }
}
