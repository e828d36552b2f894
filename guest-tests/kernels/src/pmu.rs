// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The architectural PMU, version 2 (Intel SDM vol. 3, "Architectural Performance Monitoring"):
//! four counters of 48 bits, no fixed-function ones. For the kernels that are booted with just that;
//! [`crate::counter`] is for those that run on any PMU.

use crate::apic::{LVT_MASKED, LVTPC};
use crate::msr::{read, write};
use crate::tap::Outcome;
use crate::{check, time};

/// General-purpose counters.
pub const COUNTERS: u32 = 4;
/// All bits of a counter.
pub const COUNTER_MASK: u64 = (1 << 48) - 1;
/// The bits of all counters in the global registers.
pub const ALL: u64 = 0xf;

/// IA32_PMC0.
pub const PMC0: u32 = 0xc1;
/// IA32_PERFEVTSEL0.
pub const PERFEVTSEL0: u32 = 0x186;
/// IA32_PERF_GLOBAL_STATUS.
pub const GLOBAL_STATUS: u32 = 0x38e;
/// IA32_PERF_GLOBAL_CTRL.
pub const GLOBAL_CTRL: u32 = 0x38f;
/// IA32_PERF_GLOBAL_OVF_CTRL.
pub const GLOBAL_OVF_CTRL: u32 = 0x390;

/// Bits of an event select.
pub mod select {
    /// Core cycles.
    pub const CORE_CYCLES: u64 = 0x003c;
    /// Reference cycles.
    pub const REF_CYCLES: u64 = 0x013c;
    /// Instructions retired: not offered.
    pub const INSTRUCTIONS: u64 = 0x00c0;
    /// Count at CPL 3.
    pub const USR: u64 = 1 << 16;
    /// Count at CPL 0.
    pub const OS: u64 = 1 << 17;
    /// Count edges.
    pub const EDGE: u64 = 1 << 18;
    /// Interrupt on overflow.
    pub const INT: u64 = 1 << 20;
    /// Enabled.
    pub const EN: u64 = 1 << 22;
    /// Inverted counter mask.
    pub const INV: u64 = 1 << 23;
    /// Counter mask of 1.
    pub const CMASK_1: u64 = 1 << 24;

    /// Counts core cycles, all of them.
    pub const CYCLES: u64 = CORE_CYCLES | USR | OS | EN;
    /// Counts core cycles and interrupts on overflow.
    pub const CYCLES_INT: u64 = CYCLES | INT;
}

/// Reads a counter by RDMSR.
#[must_use]
pub fn counter(n: u32) -> u64 {
    read(PMC0 + n)
}

/// Writes a counter; it takes the low 32 bits, sign extended.
pub fn set_counter(n: u32, value: u64) {
    write(PMC0 + n, value);
}

/// Writes an event select.
pub fn set_select(n: u32, value: u64) {
    write(PERFEVTSEL0 + n, value);
}

/// Sets a counter to overflow after this many counts, at most 2^31.
pub fn set_period(n: u32, period: u64) {
    set_counter(n, period.wrapping_neg());
}

/// GLOBAL_STATUS.
#[must_use]
pub fn status() -> u64 {
    read(GLOBAL_STATUS)
}

/// Clears bits of GLOBAL_STATUS.
pub fn acknowledge(bits: u64) {
    write(GLOBAL_OVF_CTRL, bits);
}

/// Writes GLOBAL_CTRL.
pub fn set_global(bits: u64) {
    write(GLOBAL_CTRL, bits);
}

/// Everything off and zero: no counter selected, all globally enabled, no status, LVTPC masked.
pub fn reset() {
    for n in 0..COUNTERS {
        set_select(n, 0);
        set_counter(n, 0);
    }
    write(LVTPC, LVT_MASKED);
    set_global(ALL);
    acknowledge(ALL);
}

/// The cycles counted while some work ran, and the TSC ticks that passed meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Core cycles.
    pub cycles: u64,
    /// TSC ticks between the two readings of the counter: not all of what was counted.
    pub inside: u64,
    /// TSC ticks around the two readings: all of what was counted, and more.
    pub around: u64,
}

impl Measured {
    /// No cycle may be counted in less than a TSC tick; two per cent are for the host's clocks,
    /// which may not agree better: Linux takes one off by one per cent for right.
    ///
    /// # Errors
    /// The figures.
    pub fn plausible(self) -> Outcome {
        let Self { cycles, around, .. } = self;
        check!(
            cycles <= around + around / 50,
            "{cycles} cycles in {around} TSC ticks"
        );
        Ok(())
    }
}

/// Counts core cycles with counter 0 while `work` runs; resets the PMU before and after.
pub fn measure(work: impl FnOnce()) -> Measured {
    reset();
    set_select(0, select::CYCLES);
    let around = time::tsc();
    let before = counter(0);
    let inside = time::tsc();
    work();
    let inside = time::tsc() - inside;
    let cycles = counter(0) - before;
    let around = time::tsc() - around;
    reset();
    Measured {
        cycles,
        inside,
        around,
    }
}
