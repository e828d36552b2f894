// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Counters of whatever PMU the machine has: see [`crate::model`].

use core::fmt;

use crate::apic::{LVT_MASKED, LVTPC};
use crate::model::{model, msr};
use crate::msr::{read, write};

/// EN of an event select.
pub const EN: u64 = 1 << 22;
/// INT of an event select.
pub const INT: u64 = 1 << 20;
/// A fixed counter's field that counts at every privilege level.
pub const FIXED_ALL: u64 = 0b0011;
/// The PMI bit of a fixed counter's field.
pub const FIXED_PMI: u64 = 0b1000;
/// CTR_FRZ of IA32_PERF_GLOBAL_STATUS, from version 4 on.
pub const CTR_FRZ: u64 = 1 << 59;

/// A counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    /// A general-purpose one.
    Gp(u32),
    /// A fixed-function one.
    Fixed(u32),
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gp(n) => write!(f, "counter {n}"),
            Self::Fixed(i) => write!(f, "fixed counter {i}"),
        }
    }
}

/// All counters there are.
pub fn all() -> impl Iterator<Item = Counter> {
    let gp = (0..model().counters).map(Counter::Gp);
    let fixed = (0..32).filter(|&i| model().has_fixed(i));
    gp.chain(fixed.map(Counter::Fixed))
}

/// All that can count cycles of one kind or the other.
pub fn counting() -> impl Iterator<Item = Counter> {
    all().filter(|counter| match counter {
        Counter::Gp(_) => true,
        Counter::Fixed(i) => model().counts_fixed(*i),
    })
}

impl Counter {
    /// Its MSR.
    #[must_use]
    pub fn msr(self) -> u32 {
        match self {
            Self::Gp(n) => model().gp_counter(n),
            Self::Fixed(i) => msr::FIXED_CTR0 + i,
        }
    }

    /// Its bit in the global registers.
    #[must_use]
    pub fn bit(self) -> u64 {
        match self {
            Self::Gp(n) => 1 << n,
            Self::Fixed(i) => 1 << (32 + i),
        }
    }

    /// What RDPMC calls it.
    #[must_use]
    pub fn index(self) -> u32 {
        match self {
            Self::Gp(n) => n,
            Self::Fixed(i) => 1 << 30 | i,
        }
    }

    /// Its value.
    #[must_use]
    pub fn get(self) -> u64 {
        read(self.msr())
    }

    /// Gives it a value of the low 31 bits, or one that is such a number below the top.
    pub fn set(self, value: u64) {
        write(self.msr(), value & model().counter_mask());
    }

    /// Lets it overflow after this many counts, at most 2^31.
    pub fn set_period(self, period: u64) {
        self.set(period.wrapping_neg());
    }

    /// Whether it has run past its top, if its value was set by [`Self::set_period`].
    #[must_use]
    pub fn has_wrapped(self) -> bool {
        self.get() >> (model().width - 1) == 0
    }

    /// Lets it count cycles at every privilege level, with a PMI at an overflow or without.
    pub fn start(self, pmi: bool) {
        match self {
            Self::Gp(n) => {
                let int = if pmi { INT } else { 0 };
                write(model().select(n), model().cycles() | EN | int);
            }
            Self::Fixed(_) => {
                let pmi = if pmi { FIXED_PMI } else { 0 };
                self.set_field(FIXED_ALL | pmi);
            }
        }
    }

    /// Stops it.
    pub fn stop(self) {
        match self {
            Self::Gp(n) => write(model().select(n), 0),
            Self::Fixed(_) => self.set_field(0),
        }
    }

    /// Changes a fixed counter's field of IA32_FIXED_CTR_CTRL.
    fn set_field(self, field: u64) {
        if let Self::Fixed(i) = self {
            let others = read(msr::FIXED_CTR_CTRL) & !(0xf << (4 * i));
            write(msr::FIXED_CTR_CTRL, others | field << (4 * i));
        }
    }
}

/// Which counters overflowed, and what else the status says; 0 where there is no such register.
#[must_use]
pub fn status() -> u64 {
    model().globals().map_or(0, |globals| read(globals.status))
}

/// Clears bits of the status, where there is one.
pub fn acknowledge(bits: u64) {
    if let Some(globals) = model().globals() {
        write(globals.clear, bits);
    }
}

/// Enables counters by the global control, where there is one.
pub fn set_control(bits: u64) {
    if let Some(globals) = model().globals() {
        write(globals.control, bits);
    }
}

/// Everything off and zero, all counters globally enabled, no status, LVTPC masked.
pub fn reset() {
    let model = model();
    write(LVTPC, LVT_MASKED);
    for n in 0..model.counters {
        write(model.select(n), 0);
    }
    if model.version() >= 2 {
        write(msr::FIXED_CTR_CTRL, 0);
        write(msr::DEBUGCTL, 0);
    }
    all().for_each(|counter| counter.set(0));
    set_control(model.all_bits());
    let freeze = if model.version() >= 4 { CTR_FRZ } else { 0 };
    acknowledge(model.all_bits() | freeze);
}
