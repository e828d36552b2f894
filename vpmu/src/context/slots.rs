// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The counters of one vCPU, and which event is on which.

use crate::source::MAX_SLOTS;
use crate::{CounterSource, EventConfig, Wake};

/// Whose event is on a slot: the vCPU's or the current task's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Vcpu,
    Task,
}

/// The first so many entries of a vCPU's context are the counters of the guest's own PMU there.
pub(super) const GUESTS: usize = MAX_SLOTS;

/// An event on a slot, by its entry in the context of its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) level: Level,
    pub(super) index: usize,
}

impl User {
    /// Which of the guest's own counters it is, if it is one.
    pub(super) fn counter(self) -> Option<usize> {
        (self.level == Level::Vcpu && self.index < GUESTS).then_some(self.index)
    }
}

/// A source with its slots.
#[derive(Debug)]
pub(super) struct Slots<S> {
    source: S,
    users: [Option<User>; MAX_SLOTS],
    /// How many of them may be used.
    count: usize,
    /// How many of them the host's events use.
    used: usize,
    /// Where each of the guest's own counters is.
    guests: [Option<usize>; GUESTS],
}

impl<S: CounterSource> Slots<S> {
    pub(super) fn new(source: S, count: usize) -> Self {
        Self {
            source,
            users: [None; MAX_SLOTS],
            count: count.min(MAX_SLOTS),
            used: 0,
            guests: [None; GUESTS],
        }
    }

    pub(super) const fn source(&self) -> &S {
        &self.source
    }

    pub(super) const fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// How many of them there are.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Whether nothing counts for the host.
    pub(super) const fn is_idle(&self) -> bool {
        self.used == 0
    }

    /// The slot that one of the guest's own counters is on.
    pub(super) fn of_guest(&self, counter: usize) -> Option<usize> {
        self.guests.get(counter).copied().flatten()
    }

    /// The event on each slot in use.
    pub(super) fn users(&self) -> [Option<User>; MAX_SLOTS] {
        self.users
    }

    /// Puts an event on a free slot, if there is one and the source can.
    pub(super) fn start(&mut self, user: User, config: &EventConfig) -> Option<usize> {
        let slot = self.users[..self.count].iter().position(Option::is_none)?;
        self.source.start(slot, config).ok()?;
        self.users[slot] = Some(user);
        match user.counter() {
            Some(counter) => self.guests[counter] = Some(slot),
            None => self.used += 1,
        }
        Some(slot)
    }

    /// What was counted on a slot since the last time.
    pub(super) fn take(&mut self, slot: usize) -> u64 {
        self.source.take(slot)
    }

    /// Counts no more on a slot, which stays in use.
    pub(super) fn halt(&mut self, slot: usize) {
        self.source.stop(slot);
    }

    /// Frees a slot.
    pub(super) fn stop(&mut self, slot: usize) {
        self.source.stop(slot);
        match self.users[slot].take().map(User::counter) {
            Some(Some(counter)) => self.guests[counter] = None,
            Some(None) => self.used -= 1,
            None => {}
        }
    }

    pub(super) fn arm(&mut self, slot: usize, distance: u64) -> Wake {
        self.source.arm(slot, distance)
    }
}
