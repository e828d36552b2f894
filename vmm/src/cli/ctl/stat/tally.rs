// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From readings to what is shown. Pure.

use crate::control::EventRead;

/// What one event counted, and in how much of its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) count: u64,
    /// Nanoseconds in which it wanted to count.
    pub(super) enabled: u64,
    /// Nanoseconds of these on a counter.
    pub(super) running: u64,
}

impl Reading {
    /// Of an answer; none of an event in error, which counted nothing that anybody knows.
    pub(super) fn of(read: &EventRead) -> Option<Self> {
        Some(Self {
            count: read.count?,
            enabled: read.enabled_ns?,
            running: read.running_ns?,
        })
    }

    /// What came after `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            // Less than before: another client reset it, and this is what came after that.
            count: self.count.checked_sub(before.count).unwrap_or(self.count),
            enabled: self.enabled.saturating_sub(before.enabled),
            running: self.running.saturating_sub(before.running),
        }
    }

    /// The count, extrapolated to all of the time enabled; 0 if it was never on a counter.
    fn scaled(self) -> u64 {
        let scaled = u128::from(self.count) * u128::from(self.enabled);
        let scaled = scaled.checked_div(u128::from(self.running)).unwrap_or(0);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

/// What is shown of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// The source cannot count it.
    NotSupported,
    /// The sum over all vCPUs that it is on.
    Counted(Sum),
}

/// The sum of readings, each extrapolated by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) scaled: u64,
    pub(super) enabled: u64,
    pub(super) running: u64,
}

impl Sum {
    pub(super) fn add(&mut self, reading: Reading) {
        self.scaled = self.scaled.saturating_add(reading.scaled());
        self.enabled = self.enabled.saturating_add(reading.enabled);
        self.running = self.running.saturating_add(reading.running);
    }
}

/// What an event counted on each of its vCPUs, now and when it was last shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// By the order in which they are told.
    of: Vec<(Reading, Reading)>,
}

impl Series {
    /// The event of number `nth` counted this by now.
    pub(super) fn tell(&mut self, nth: usize, reading: Option<Reading>) {
        if self.of.len() <= nth {
            self.of.resize(nth + 1, Default::default());
        }
        // One in error has not lost what it had counted.
        if let Some(reading) = reading {
            self.of[nth].0 = reading;
        }
    }

    /// The sum of it all.
    pub(super) fn total(&self) -> Sum {
        let mut sum = Sum::default();
        for (now, _) in &self.of {
            sum.add(*now);
        }
        sum
    }

    /// The sum of what came since it was last asked for.
    pub(super) fn interval(&mut self) -> Sum {
        let mut sum = Sum::default();
        for (now, shown) in &mut self.of {
            sum.add(now.since(*shown));
            *shown = *now;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(count: u64, enabled: u64, running: u64) -> Option<Reading> {
        Some(Reading {
            count,
            enabled,
            running,
        })
    }

    #[test]
    fn each_vcpu_is_extrapolated_by_itself() {
        let mut series = Series::default();
        series.tell(0, reading(100, 1_000, 500));
        series.tell(1, reading(300, 1_000, 1_000));
        series.tell(2, reading(0, 1_000, 0));
        let sum = Sum {
            scaled: 500,
            enabled: 3_000,
            running: 1_500,
        };
        assert_eq!(series.total(), sum);
    }

    #[test]
    fn an_interval_is_what_came_since_the_one_before() {
        let mut series = Series::default();
        series.tell(0, reading(100, 10, 10));
        assert_eq!(series.interval().scaled, 100);
        series.tell(0, reading(160, 20, 15));
        let second = series.interval();
        // 60 in half of the time.
        let of_it = (second.scaled, second.enabled, second.running);
        assert_eq!(of_it, (120, 10, 5));
        assert_eq!(series.interval(), Sum::default());
        assert_eq!(series.total().running, 15);
    }

    #[test]
    fn one_that_another_client_reset_shows_what_came_after() {
        let mut series = Series::default();
        series.tell(0, reading(100, 10, 10));
        series.interval();
        series.tell(0, reading(7, 20, 20));
        assert_eq!(series.interval().scaled, 7);
    }

    #[test]
    fn one_in_error_keeps_what_it_counted() {
        let mut series = Series::default();
        series.tell(0, reading(100, 10, 10));
        series.tell(0, None);
        assert_eq!(series.total().scaled, 100);
    }

    #[test]
    fn no_number_is_too_large() {
        let mut series = Series::default();
        series.tell(0, reading(u64::MAX, u64::MAX, 1));
        series.tell(1, reading(u64::MAX, u64::MAX, u64::MAX));
        assert_eq!(series.total().scaled, u64::MAX);
    }

    proptest! {
        /// The intervals of one that is always on a counter add up to its total.
        #[test]
        fn intervals_add_up(steps in prop::collection::vec((0..1_u64 << 40, 1..1_u64 << 40), 1..20)) {
            let mut series = Series::default();
            let (mut count, mut time, mut sum) = (0, 0, 0);
            for (more, later) in steps {
                count += more;
                time += later;
                series.tell(0, reading(count, time, time));
                let interval = series.interval();
                prop_assert_eq!(interval.scaled, more);
                sum += interval.scaled;
            }
            prop_assert_eq!(series.total().scaled, sum);
        }
    }
}
