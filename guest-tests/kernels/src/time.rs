// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Time by the TSC.

use core::arch::asm;

use crate::cpu::cpuid;

/// The time stamp counter.
#[must_use]
pub fn tsc() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: a read without side effects.
    unsafe {
        asm!("lfence", "rdtsc", out("rax") low, out("rdx") high,
            options(nomem, nostack, preserves_flags));
    }
    low | high << 32
}

/// TSC ticks a second, if CPUID says so (leaves 0x15, 0x16, or the hypervisor's 0x40000010).
#[must_use]
pub fn tsc_hz() -> Option<u64> {
    let max = cpuid(0, 0).eax;
    if max >= 0x15 {
        let r = cpuid(0x15, 0);
        if r.eax != 0 && r.ebx != 0 && r.ecx != 0 {
            return Some(u64::from(r.ecx) * u64::from(r.ebx) / u64::from(r.eax));
        }
    }
    let hypervisor = cpuid(1, 0).ecx & 1 << 31 != 0;
    if hypervisor && cpuid(0x4000_0000, 0).eax >= 0x4000_0010 {
        let khz = cpuid(0x4000_0010, 0).eax;
        if khz != 0 {
            return Some(u64::from(khz) * 1000);
        }
    }
    if max >= 0x16 {
        let mhz = cpuid(0x16, 0).eax;
        if mhz != 0 {
            return Some(u64::from(mhz) * 1_000_000);
        }
    }
    None
}

/// TSC ticks in about so many milliseconds: as if the TSC ran at 1 GHz where CPUID does not say.
#[must_use]
pub fn ticks_ms(ms: u64) -> u64 {
    tsc_hz().unwrap_or(1_000_000_000) / 1000 * ms
}

/// For limits where CPUID does not say: more than any TSC ticks, so never too short.
const FAST_TSC: u64 = 5_000_000_000;

/// The end of a bounded wait.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(u64);

impl Deadline {
    /// At least this long from now; longer where the TSC's rate is not known.
    #[must_use]
    pub fn after_ms(ms: u64) -> Self {
        Self(tsc() + tsc_hz().unwrap_or(FAST_TSC) / 1000 * ms)
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(self) -> bool {
        tsc() >= self.0
    }
}

/// Waits until `condition` holds; false if it did not within the time.
#[must_use]
pub fn wait_ms(ms: u64, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Deadline::after_ms(ms);
    loop {
        if condition() {
            return true;
        }
        if deadline.is_over() {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// Spins for this many TSC ticks.
pub fn spin(ticks: u64) {
    let start = tsc();
    while tsc() - start < ticks {
        core::hint::spin_loop();
    }
}

/// Runs `work` in a loop for at least this many TSC ticks, never halting; returns the ticks that
/// really passed.
pub fn busy(ticks: u64) -> u64 {
    let start = tsc();
    loop {
        compute(20_000);
        let passed = tsc() - start;
        if passed >= ticks {
            return passed;
        }
    }
}

/// A fixed amount of pure computing.
#[inline(never)]
pub fn compute(rounds: u64) {
    // SAFETY: registers only.
    unsafe {
        asm!(
            "2:",
            "imul {1}, {1}, 1103515245",
            "add {1}, 12345",
            "ror {1}, 7",
            "xor {1}, {0}",
            "dec {0}",
            "jnz 2b",
            inout(reg) rounds.max(1) => _, inout(reg) 1_u64 => _,
            options(nomem, nostack),
        );
    }
}
