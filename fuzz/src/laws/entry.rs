// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What an entry to the guest does: PMIs, and when the next is due.

use vpmu::{CounterState, Entry, Nanos, PmiOutcome, Recheck};

use super::Laws;
use crate::expected::{self, FREEZE_ON_PMI};
use crate::guest::{Pmu, Seen};
use crate::input::Answer;

impl Laws {
    /// The vCPU entered the guest.
    pub(super) fn entered(
        &mut self,
        pmu: &Pmu,
        now: Nanos,
        answer: Answer,
        entry: Result<Entry, ()>,
        asked: u32,
    ) {
        let seen = Seen::of(pmu);
        let works = answer != Answer::Broken;
        assert!(asked <= 1, "P14: one PMI for all");
        assert_eq!(entry.is_err(), asked == 1 && !works, "P17");
        let outcome = entry.ok().and_then(|entry| entry.pmi);
        assert_eq!(outcome.is_some(), asked == 1 && works, "P14");
        if let Some(throttled) = self.throttled {
            let comes = self.due() && now >= throttled;
            assert_eq!(comes, asked == 1, "P14, P19: a PMI that is due");
        }
        match outcome {
            None => assert_eq!(
                seen, self.seen,
                "P14: without a PMI nothing becomes visible"
            ),
            Some(outcome) => self.interrupted(&seen, outcome, now),
        }
        if let Ok(entry) = entry {
            self.recheck(&seen, now, &entry);
        }
        let stats = pmu.stats();
        let all = stats.pmis + stats.masked + stats.undeliverable;
        assert_eq!(
            (stats.pmis, all),
            (self.delivered, self.asked),
            "PMIs in the statistics"
        );
        self.look(pmu, seen);
    }

    /// Whether a PMI is due (P14, P15, P24).
    fn due(&self) -> bool {
        let interrupting = self.interrupting();
        let overflowed = self.seen.counters().any(|counter| {
            let book = &self.books[counter.id.slot()];
            interrupting & expected::bit(counter.id) != 0 && book.truth > book.shown
        });
        overflowed || self.by_hand & interrupting != 0
    }

    fn interrupted(&mut self, seen: &Seen, outcome: PmiOutcome, now: Nanos) {
        self.asked += 1;
        let mut overflowed = 0;
        for (before, after) in self.seen.counters().zip(seen.counters()) {
            if before.shown != after.shown {
                let id = after.id;
                overflowed |= expected::bit(id);
                assert!(self.seen.asked(id).interrupts(), "P14: {id} has no INT");
                assert!(self.counts(id), "P15: {id} does not run");
            }
        }
        let by_hand = self.by_hand & self.interrupting();
        assert!(overflowed | by_hand != 0, "P14: a PMI for nothing");
        self.by_hand &= !by_hand;
        let delivered = outcome.delivered();
        let freezes = delivered && self.seen.debug_control & FREEZE_ON_PMI != 0;
        let streamlined = if freezes { self.freeze_bit() } else { 0 };
        if expected::has_globals(self.model) {
            let status = self.seen.status | overflowed | streamlined;
            assert_eq!(seen.status, status, "P14, P28: the status after a PMI");
        }
        let control = if freezes && streamlined == 0 {
            0
        } else {
            self.seen.control
        };
        assert_eq!(seen.control, control, "P27: the control after a PMI");
        if delivered {
            self.delivered += 1;
            self.throttled = Some(now.saturating_add(self.min_rearm));
        }
    }

    /// P20.
    fn recheck(&self, seen: &Seen, now: Nanos, entry: &Entry) {
        let ahead = seen.counters().filter(|counter| {
            counter.state == CounterState::Counting && seen.asked(counter.id).interrupts()
        });
        let distance = ahead
            .map(|counter| expected::wrap(self.model) - u128::from(counter.value))
            .min();
        match entry.recheck {
            Some(Recheck::At(until)) => {
                assert!(until > now, "P20: in the past");
                assert!(
                    self.throttled.is_none_or(|throttled| throttled == until),
                    "P19: too long"
                );
            }
            Some(Recheck::InCycles(cycles)) => {
                assert_eq!(
                    Some(u128::from(cycles)),
                    distance,
                    "P20: the nearest overflow"
                );
            }
            None => assert_eq!(distance, None, "P20: nobody comes back for an overflow"),
        }
    }
}
