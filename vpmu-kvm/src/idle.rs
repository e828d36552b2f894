// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How long to wait before looking at a counter again.

/// The longest wait while a vCPU does not advance, in nanoseconds. It bounds how late the first
/// overflow after a halt can be.
const MAX_IDLE_NS: u64 = 2_000_000;

/// A halted or preempted vCPU's counters stand still, so a timer set for their overflow finds
/// nothing to do: such a vCPU is looked at ever more rarely.
#[derive(Debug, Default)]
pub(crate) struct IdleBackoff {
    /// Host time and in-guest time at the last call.
    then: (u64, u64),
    wait: u64,
}

impl IdleBackoff {
    /// The wait after an exit of the guest's own making: it is awake, so just what is `needed`.
    pub(crate) fn while_active(&mut self, now: u64, in_guest: u64, needed: u64) -> u64 {
        self.then = (now, in_guest);
        self.wait = needed;
        needed
    }

    /// The wait after the timer expired with `needed` still to go: doubled while the guest used
    /// less than a quarter of the time it was given.
    pub(crate) fn after_expiry(&mut self, now: u64, in_guest: u64, needed: u64) -> u64 {
        let (then, in_guest_then) = self.then;
        let waited = now.saturating_sub(then);
        let used = in_guest.saturating_sub(in_guest_then);
        let idle = used < waited / 4;
        let wait = if idle {
            self.wait.saturating_mul(2).min(MAX_IDLE_NS)
        } else {
            0
        };
        self.then = (now, in_guest);
        self.wait = wait.max(needed);
        self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halted_vcpu_is_looked_at_ever_more_rarely_and_at_least_every_two_milliseconds() {
        let mut idle = IdleBackoff::default();
        let mut now = 1_000_000;
        let mut waits = vec![idle.while_active(now, 0, 100_000)];
        for _ in 0..6 {
            now += waits.last().unwrap();
            waits.push(idle.after_expiry(now, 0, 100_000));
        }
        assert_eq!(
            waits,
            [
                100_000, 200_000, 400_000, 800_000, 1_600_000, 2_000_000, 2_000_000
            ]
        );
    }

    #[test]
    fn a_distant_overflow_is_not_looked_at_early() {
        let mut idle = IdleBackoff::default();
        assert_eq!(idle.while_active(0, 0, 50_000_000), 50_000_000);
        assert_eq!(idle.after_expiry(50_000_000, 0, 50_000_000), 50_000_000);
    }

    #[test]
    fn a_busy_vcpu_waits_for_just_what_it_needs() {
        let mut idle = IdleBackoff::default();
        idle.while_active(0, 0, 100_000);
        assert_eq!(idle.after_expiry(100_000, 90_000, 10_000), 10_000);
        assert_eq!(
            idle.after_expiry(110_000, 90_000, 10_000),
            20_000,
            "then it halts"
        );
        assert_eq!(
            idle.while_active(115_000, 91_000, 9_000),
            9_000,
            "and wakes"
        );
    }
}
