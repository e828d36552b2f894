// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Unhalted in-guest time: what the clock source of a vCPU counts.

use vpmu::source::clock::GuestClock;

use crate::timer::thread_cpu_ns;

/// The CPU time of a vCPU's thread inside `KVM_RUN`, in guest TSC cycles.
///
/// Thread CPU time stands still while the vCPU is halted or preempted; taking it only between
/// entry and exit leaves out the VMM's own time. What remains beside the guest's instructions is
/// KVM's own work between two exits to user space.
///
/// The clock is read only while something counts: two reads an exit are not free.
#[derive(Clone, Debug)]
pub struct InGuestTime {
    tsc_khz: u32,
    total_ns: u64,
    entered_at: Option<u64>,
}

impl InGuestTime {
    /// A clock for a guest whose TSC runs at `tsc_khz` kHz.
    #[must_use]
    pub fn new(tsc_khz: u32) -> Self {
        Self {
            tsc_khz: tsc_khz.max(1),
            total_ns: 0,
            entered_at: None,
        }
    }

    /// In-guest time measured so far, in nanoseconds.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.total_ns
    }
}

/// How long `cycles` of a TSC at `tsc_khz` kHz take at the least, in nanoseconds, rounded up.
pub(crate) fn ns_for(cycles: u64, tsc_khz: u32) -> u64 {
    let ns = (u128::from(cycles) * 1_000_000).div_ceil(u128::from(tsc_khz.max(1)));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

impl GuestClock for InGuestTime {
    fn enter_guest(&mut self) {
        self.entered_at = Some(thread_cpu_ns());
    }

    /// Counts time only if [`enter_guest`](GuestClock::enter_guest) was called.
    fn exit_guest(&mut self) {
        if let Some(entered_at) = self.entered_at.take() {
            self.total_ns += thread_cpu_ns().saturating_sub(entered_at);
        }
    }

    fn cycles(&mut self) -> u64 {
        // 2^64 cycles are centuries: the low half is the whole.
        u64::try_from(u128::from(self.total_ns) * u128::from(self.tsc_khz) / 1_000_000)
            .unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_only_between_enter_and_exit() {
        let mut clock = InGuestTime::new(1_000_000);
        clock.exit_guest();
        assert_eq!(clock.total_ns(), 0);
        clock.enter_guest();
        let spun = (0..100_000u64).fold(0, |sum: u64, n| std::hint::black_box(sum ^ n));
        std::hint::black_box(spun);
        clock.exit_guest();
        let once = clock.total_ns();
        assert!(once > 0);
        clock.exit_guest();
        assert_eq!(clock.total_ns(), once);
    }

    #[test]
    fn cycles_and_nanoseconds_convert_at_the_tsc_rate() {
        let mut clock = InGuestTime {
            tsc_khz: 2_600_000,
            total_ns: 1_000,
            entered_at: None,
        };
        assert_eq!(clock.cycles(), 2_600);
        assert_eq!(ns_for(2_600, 2_600_000), 1_000);
        assert_eq!(
            ns_for(2_601, 2_600_000),
            1_001,
            "rounded up: never too early by rounding"
        );
        assert!(ns_for(u64::MAX, 2_600_000) > u64::MAX / 3, "no overflow");
        assert_eq!(ns_for(1, 0), 1_000_000, "a rate of nothing is taken for 1");
    }
}
