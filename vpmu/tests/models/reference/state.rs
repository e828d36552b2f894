// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What follows from what the registers hold: who counts what, and what of it shows.

use vpmu::{CounterId, CounterState, Event, EventConfig, PmuKind, Vendor};

use super::{Reference, Sieve};
use crate::rig::{CTR_FRZ, EN, INT};
use crate::shapes::{bit, has_globals, version};

const PIN_CONTROL: u64 = 1 << 19;
const ANY_THREAD: u64 = 1 << 21;
const EDGE: u64 = 1 << 18;

/// The source can count this.
pub(crate) fn supported(config: &EventConfig) -> bool {
    let event = matches!(
        config.event,
        Event::CoreCycles | Event::Instructions | Event::RefCycles
    );
    event && !config.edge && !config.any_thread
}

impl Reference {
    /// 2 to the width.
    pub(super) fn wrap(&self) -> u128 {
        1 << self.model.counter_width()
    }

    /// The bits of the fixed control that are this counter's, from bit 0.
    fn field(&self, i: u8) -> u64 {
        self.state.fixed_control >> (4 * i) & 0xF
    }

    /// What the counter is asked to count, as a general-purpose select of the same meaning.
    pub(crate) fn select(&self, at: usize) -> u64 {
        match self.state.counters[at].id {
            CounterId::Gp(_) => self.state.counters[at].select,
            CounterId::Fixed(i) => {
                let field = self.field(i);
                let number = [0x00C0, 0x003C, 0x013C][usize::from(i)];
                let en = if field & 0b11 == 0 { 0 } else { EN };
                number
                    | (field & 1) << 17
                    | (field >> 1 & 1) << 16
                    | (field >> 2 & 1) << 21
                    | (field >> 3 & 1) << 20
                    | en
            }
        }
    }

    pub(super) fn interrupts(&self, at: usize) -> bool {
        self.select(at) & INT != 0
    }

    fn enabled(&self, at: usize) -> bool {
        let own = self.select(at) & EN != 0;
        let global = self.state.control & bit(self.state.counters[at].id) != 0;
        let frozen = version(&self.model) >= 4 && self.state.status & CTR_FRZ != 0;
        own && (global || !has_globals(&self.model)) && !frozen
    }

    /// The number of the event, the unit mask put above its 12 bits.
    fn event(&self, at: usize) -> (u64, u64) {
        let select = self.select(at);
        let number = match self.model.vendor() {
            Vendor::Intel => select & 0xFF,
            Vendor::Amd => select & 0xFF | (select >> 32 & 0xF) << 8,
        };
        (number, select >> 8 & 0xFF)
    }

    fn can_be_counted(&self, at: usize) -> bool {
        let event = match self.model.vendor() {
            Vendor::Intel => matches!(self.event(at), (0x3C | 0xC0, 0) | (0x3C, 1)),
            Vendor::Amd => matches!(self.event(at), (0x76 | 0xC0, 0)),
        };
        event && self.select(at) & (EDGE | ANY_THREAD) == 0
    }

    fn refused(&self, at: usize) -> bool {
        let instructions = self.event(at) == (0xC0, 0);
        match (self.sieve, self.state.counters[at].id) {
            (Sieve::Open, _) => false,
            (Sieve::NoInstructions, CounterId::Gp(_)) => instructions,
            (Sieve::NoInstructions, CounterId::Fixed(i)) => i == 1,
            (Sieve::OnlyInstructions, CounterId::Gp(_)) => !instructions,
            (Sieve::OnlyInstructions, CounterId::Fixed(i)) => i > 1,
        }
    }

    pub(crate) fn counter_state(&self, at: usize) -> CounterState {
        if !self.enabled(at) {
            CounterState::Disabled
        } else if self.select(at) & (3 << 16) == 0 {
            CounterState::Idle
        } else if self.refused(at) {
            CounterState::Filtered
        } else if !self.can_be_counted(at) {
            CounterState::NotCounted
        } else {
            CounterState::Counting
        }
    }

    pub(crate) fn counts(&self, at: usize) -> bool {
        self.counter_state(at) == CounterState::Counting
    }

    pub(crate) fn counting(&self) -> bool {
        self.all().any(|at| self.counts(at))
    }

    /// The places of all counters.
    pub(crate) fn all(&self) -> std::ops::Range<usize> {
        0..self.state.counters.len()
    }

    pub(crate) fn place(&self, id: CounterId) -> Option<usize> {
        self.all().find(|at| self.state.counters[*at].id == id)
    }

    /// How many overflows are there that nobody was shown.
    pub(super) fn hidden(&self, at: usize) -> u128 {
        let counter = &self.state.counters[at];
        counter.position / self.wrap() - counter.shown
    }

    pub(crate) fn value(&self, at: usize) -> u64 {
        let value = if self.hidden(at) > 0 {
            self.wrap() - 1
        } else {
            self.state.counters[at].position % self.wrap()
        };
        u64::try_from(value).expect("a counter has at most 63 bits")
    }

    pub(super) fn show(&mut self, at: usize) {
        let hidden = self.hidden(at);
        self.state.counters[at].shown += hidden;
        self.totals.overflows[at] += hidden;
        if hidden > 0 && has_globals(&self.model) {
            self.state.status |= bit(self.state.counters[at].id);
        }
    }

    /// So many events in the slot of one counter.
    pub(crate) fn count(&mut self, at: usize, counts: u64) {
        if self.counts(at) {
            self.state.counters[at].position += u128::from(counts);
            self.totals.counted[at] += u128::from(counts);
        }
    }

    /// Shows what has to show at once, and notes what stands still and why.
    pub(crate) fn settle(&mut self) {
        for at in self.all() {
            if self.counts(at) && !self.interrupts(at) {
                self.show(at);
                self.state.asked &= !bit(self.state.counters[at].id);
            }
            let what = self.select(at) & !(EN | INT | PIN_CONTROL);
            match self.counter_state(at) {
                CounterState::NotCounted => _ = self.totals.not_counted.insert(what),
                CounterState::Filtered => _ = self.totals.filtered.insert(what),
                _ => {}
            }
        }
        // What was shown or forgotten waits no longer.
        let mut noticed = std::mem::take(&mut self.state.noticed);
        noticed.retain(|(id, shown)| {
            let at = self.place(*id).expect("it was noticed");
            self.hidden(at) > 0 && self.state.counters[at].shown == *shown
        });
        self.state.noticed = noticed;
    }

    pub(super) fn has_any_thread(&self) -> bool {
        matches!(self.model.kind(), PmuKind::IntelV3 | PmuKind::IntelV4)
    }
}
