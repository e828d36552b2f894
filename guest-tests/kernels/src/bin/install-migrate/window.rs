// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a count has to be, by what the task itself says of its ticks.

use rt::check;
use rt::sched;
use rt::tap::Outcome;

/// The shared word that the task adds one to just before each of its ticks.
pub(crate) const TICKS: usize = 0;

/// The task's own total before and after something was asked for. The last tick of it may still be
/// to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    before: u64,
    after: u64,
}

impl Span {
    /// While `f` asks.
    pub(crate) fn of<T, E>(f: impl FnOnce() -> Result<T, E>) -> Result<(T, Self), E> {
        let before = sched::word(TICKS);
        let done = f()?;
        let after = sched::word(TICKS);
        Ok((done, Self { before, after }))
    }

    pub(crate) fn ends_at(self) -> u64 {
        self.after
    }

    /// Checks a count that was read in the span `read` of an event that was opened in this one.
    pub(crate) fn expect(self, count: u64, read: Self) -> Outcome {
        // From when the event was there for sure until nobody had read it, and the other way round.
        let least = (read.before.saturating_sub(1)).saturating_sub(self.after);
        let most = read.after - self.before.saturating_sub(1);
        check!(
            (least..=most).contains(&count),
            "{count} ticks counted, not {least} to {most}: opened at {} to {}, read at {} to {}",
            self.before,
            self.after,
            read.before,
            read.after
        );
        Ok(())
    }

    /// Checks a count of an event that was opened in this span, when the task stands still.
    pub(crate) fn expect_at_rest(self, count: u64) -> Outcome {
        let all = sched::word(TICKS);
        let (least, most) = (all - self.after, all - self.before.saturating_sub(1));
        check!(
            (least..=most).contains(&count),
            "{count} ticks counted at rest, not {least} to {most}: opened at {} to {} of {all}",
            self.before,
            self.after
        );
        Ok(())
    }
}
