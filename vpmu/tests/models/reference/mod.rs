// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A PMU of any model told once more, the simple way. Every counter has a position that only grows,
//! and overflow number k is the moment it reaches k * 2^width. What the guest sees follows from how
//! many of them were shown. Everything is settled at once after every step; nothing is deferred, and
//! nothing is remembered that can be worked out.

mod access;
mod entry;
mod state;

use std::collections::BTreeSet;

use vpmu::{CounterId, PmuModel};

pub(crate) use access::Answered;
pub(crate) use state::supported;

use crate::shapes;

/// One counter since it was last written.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    pub(crate) id: CounterId,
    /// The select of a general-purpose counter.
    pub(crate) select: u64,
    pub(crate) position: u128,
    /// How many overflows of this position were shown.
    pub(crate) shown: u128,
}

/// What the registers hold, and what waits for its moment.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) counters: Vec<Counter>,
    pub(crate) fixed_control: u64,
    pub(crate) control: u64,
    pub(crate) status: u64,
    pub(crate) debugctl: u64,
    /// The status bits whose setting asked for a PMI that is still to come.
    pub(crate) asked: u64,
    /// When the last PMI was delivered.
    pub(crate) last_pmi: Option<u64>,
    /// The overflows that wait for the throttle to end and were counted so, by counter and number.
    pub(crate) noticed: BTreeSet<(CounterId, u128)>,
}

/// Totals since the PMU was made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// Counts and overflows, in the order of the counters.
    pub(crate) counted: Vec<u128>,
    pub(crate) overflows: Vec<u128>,
    pub(crate) skids: Vec<u128>,
    pub(crate) pmis: u64,
    pub(crate) masked: u64,
    pub(crate) undeliverable: u64,
    pub(crate) throttled: u64,
    pub(crate) not_counted: BTreeSet<u64>,
    pub(crate) filtered: BTreeSet<u64>,
}

/// The filters that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sieve {
    Open,
    /// Refuses instructions (C0H) on general-purpose counters, and fixed-function counter 1.
    NoInstructions,
    /// Lets through instructions alone, and fixed-function counters 0 and 1.
    OnlyInstructions,
}

/// No host does anything before this time: longer ago than any throttle lasts, it has booted.
pub(crate) const BOOTED: u64 = 1_000;

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) model: PmuModel,
    pub(crate) state: State,
    pub(crate) totals: Totals,
    pub(crate) sieve: Sieve,
    pub(crate) now: u64,
    pub(crate) min_rearm: u64,
}

impl Reference {
    pub(crate) fn new(model: PmuModel) -> Self {
        let mut new = Self {
            model,
            state: State::reset(&model),
            totals: Totals::default(),
            sieve: Sieve::Open,
            now: BOOTED,
            min_rearm: 100,
        };
        new.forget_totals();
        new
    }

    /// As if the PMU had just been made.
    pub(crate) fn forget_totals(&mut self) {
        let none = vec![0; self.state.counters.len()];
        self.totals = Totals {
            counted: none.clone(),
            overflows: none,
            ..Totals::default()
        };
    }

    /// The throttle is the host's: a guest that resets itself does not get PMIs faster.
    pub(crate) fn reset(&mut self) {
        let last_pmi = self.state.last_pmi;
        self.state = State::reset(&self.model);
        self.state.last_pmi = last_pmi;
    }
}

/// What goes into a snapshot, and for how long the throttle still holds.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    state: State,
    throttled_for: u64,
}

impl Reference {
    pub(crate) fn save(&self) -> Saved {
        Saved {
            state: self.state.clone(),
            throttled_for: self.throttle_end().map_or(0, |end| end - self.now),
        }
    }

    /// Goes back to what was saved; totals stay. The throttle never holds for longer than it does
    /// here.
    pub(crate) fn load(&mut self, saved: &Saved) {
        self.state = saved.state.clone();
        let left = saved.throttled_for.min(self.min_rearm);
        self.state.last_pmi = (left > 0).then(|| self.now + left - self.min_rearm);
    }

    /// Is put up again where it is `now`.
    pub(crate) fn move_to(&mut self, now: u64) {
        let saved = self.save();
        self.now = now;
        self.load(&saved);
        self.forget_totals();
    }
}

impl State {
    fn reset(model: &PmuModel) -> Self {
        let counters = shapes::counters(model);
        let general = counters
            .iter()
            .filter(|id| matches!(id, CounterId::Gp(_)))
            .map(|id| shapes::bit(*id))
            .sum();
        Self {
            counters: counters
                .into_iter()
                .map(|id| Counter {
                    id,
                    select: 0,
                    position: 0,
                    shown: 0,
                })
                .collect(),
            fixed_control: 0,
            control: general,
            status: 0,
            debugctl: 0,
            asked: 0,
            last_pmi: None,
            noticed: BTreeSet::new(),
        }
    }
}
