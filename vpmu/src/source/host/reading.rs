// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From readings of a count to what was counted since the last.

/// The reading up to which an event was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading(u64);

impl Reading {
    pub(super) const fn new(count: u64) -> Self {
        Self(count)
    }

    /// What was counted until `count` was read. A count below an earlier one is taken for that one.
    pub(super) fn advance(&mut self, count: u64) -> u64 {
        let counted = count.saturating_sub(self.0);
        self.0 += counted;
        counted
    }

    /// The reading when `distance` more events were counted.
    pub(super) const fn after(self, distance: u64) -> u64 {
        self.0.saturating_add(distance)
    }

    /// Whether `count` was reached.
    pub(super) const fn reached(self, count: u64) -> bool {
        self.0 >= count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_a_count_that_goes_back_counts_nothing_and_nothing_twice() {
        let mut reading = Reading::new(100);
        for (count, counted) in [
            (150, 50),
            (120, 0),
            (0, 0),
            (149, 0),
            (151, 1),
            (u64::MAX, u64::MAX - 151),
        ] {
            assert_eq!(reading.advance(count), counted, "read {count}");
        }
    }

    #[test]
    fn an_overflow_ahead_is_reached_when_as_many_were_taken() {
        let mut reading = Reading::new(10);
        let target = reading.after(5);
        for (count, reached) in [(14, false), (15, true), (16, true)] {
            reading.advance(count);
            assert_eq!(reading.reached(target), reached, "read {count}");
        }
    }
}
