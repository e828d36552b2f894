// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What entering the guest does.

use vpmu::{Nanos, PmiOutcome, Recheck};

use super::Reference;
use crate::rig::CTR_FRZ;
use crate::shapes::{bit, version};

/// What an entry says: the sink's answer, and by when to come back.
pub(crate) type Said = (Option<PmiOutcome>, Option<Recheck>);

impl Reference {
    /// The end of the throttle, if it holds now.
    pub(super) fn throttle_end(&self) -> Option<u64> {
        let end = self.state.last_pmi? + self.min_rearm;
        (self.now < end).then_some(end)
    }

    /// Whether a PMI of this counter may come now, if there is a reason for one.
    fn may_interrupt(&self, at: usize) -> bool {
        self.counts(at) && self.interrupts(at)
    }

    /// Whether an overflow of this counter waits for its PMI and may have it.
    fn due(&self, at: usize) -> bool {
        self.may_interrupt(at) && self.hidden(at) > 0
    }

    /// Whether the guest asked for a PMI of this counter and may have it.
    fn asked(&self, at: usize) -> bool {
        self.may_interrupt(at) && self.state.asked & bit(self.state.counters[at].id) != 0
    }

    fn anything_due(&self) -> bool {
        self.all().any(|at| self.due(at) || self.asked(at))
    }

    pub(crate) fn pending_pmi(&self) -> bool {
        self.throttle_end().is_none() && self.anything_due()
    }

    /// Returns what the entry says, or nothing if the sink was asked and failed.
    pub(crate) fn enter(&mut self, answer: Option<PmiOutcome>) -> Option<Said> {
        if !self.anything_due() {
            return Some((None, self.next_overflow()));
        }
        if let Some(end) = self.throttle_end() {
            self.notice();
            return Some((None, Some(Recheck::At(Nanos(end)))));
        }
        let outcome = answer?;
        for at in self.all() {
            if self.asked(at) {
                self.state.asked &= !bit(self.state.counters[at].id);
            }
            if self.due(at) {
                let counter = &self.state.counters[at];
                let skid = counter.position - (counter.shown + 1) * self.wrap();
                self.totals.skids.push(skid);
                self.show(at);
            }
        }
        match outcome {
            PmiOutcome::Masked => self.totals.masked += 1,
            PmiOutcome::Undeliverable => self.totals.undeliverable += 1,
            PmiOutcome::Nmi | PmiOutcome::Fixed(_) => {
                self.totals.pmis += 1;
                self.state.last_pmi = Some(self.now);
                if self.state.debugctl != 0 {
                    self.freeze();
                }
            }
        }
        Some((Some(outcome), self.next_overflow()))
    }

    fn freeze(&mut self) {
        if version(&self.model) >= 4 {
            self.state.status |= CTR_FRZ;
        } else {
            self.state.control = 0;
        }
    }

    /// Each overflow that the throttle holds counts once.
    fn notice(&mut self) {
        for at in self.all() {
            let counter = &self.state.counters[at];
            let overflow = (counter.id, counter.shown);
            if self.due(at) && self.state.noticed.insert(overflow) {
                self.totals.throttled += 1;
            }
        }
    }

    fn next_overflow(&self) -> Option<Recheck> {
        let towards = self.all().filter(|at| self.may_interrupt(*at));
        let distances =
            towards.map(|at| self.wrap() - self.state.counters[at].position % self.wrap());
        let cycles = u64::try_from(distances.min()?).expect("a counter has at most 63 bits");
        Some(Recheck::InCycles(cycles))
    }
}
