// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The states of an event and every way from one to another, with the times that pass in them.

use vcpu_call::VcpuId;

use crate::Nanos;

/// The state of an event. The order is the rules': whoever ends an event takes the lower state, so
/// that nothing climbs back out of [`Exit`](Self::Exit) or [`Dead`](Self::Dead).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Closed.
    Dead,
    /// Its task has exited, its vCPU went away, or the task executed another program: it never
    /// counts again, and can still be read.
    Exit,
    /// A pinned group that found no counter; only enabling it revives it.
    Error,
    /// Disabled.
    Off,
    /// Wants to count, and is on no counter now.
    Inactive,
    /// On a counter of this vCPU.
    Active(VcpuId),
}

/// How an event is taken out of its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By close.
    Close,
    /// By the exit of its task, by exec or because its vCPU went away.
    Exit,
}

/// State and times of one event: the only place where either changes.
///
/// Time here is the context's own, which stands still while nothing of the context can run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    state: Where,
    stamp: Nanos,
    enabled: Nanos,
    running: Nanos,
}

/// [`State`], with the counter: on a vCPU and on a slot are one thing (I6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Off(State),
    On(VcpuId, usize),
}

impl Life {
    /// A new event, not yet in a context's lists.
    pub(super) const fn new(enabled: bool) -> Self {
        Self {
            state: Where::Off(if enabled { State::Inactive } else { State::Off }),
            stamp: Nanos(0),
            enabled: Nanos(0),
            running: Nanos(0),
        }
    }

    pub(super) const fn state(&self) -> State {
        match self.state {
            Where::Off(state) => state,
            Where::On(vcpu, _) => State::Active(vcpu),
        }
    }

    /// The slot, if it is on one.
    pub(super) const fn slot(&self) -> Option<usize> {
        match self.state {
            Where::On(_, slot) => Some(slot),
            Where::Off(_) => None,
        }
    }

    pub(super) const fn enabled(&self) -> Nanos {
        self.enabled
    }

    pub(super) const fn running(&self) -> Nanos {
        self.running
    }

    /// The event's time begins.
    pub(super) const fn begin(&mut self, now: Nanos) {
        self.stamp = now;
    }

    /// Whether no time has passed since the last [`settle`](Self::settle).
    pub(super) fn is_settled(&self, now: Nanos) -> bool {
        self.stamp == now
    }

    /// Books the time since the last call: as enabled if the event, or the leader that it depends
    /// on, was not off, and as running if it was on a counter.
    pub(super) fn settle(&mut self, now: Nanos, leader: Option<State>) {
        let passed = Nanos(now.0.saturating_sub(self.stamp.0));
        self.stamp = now;
        let asleep = |state| state <= State::Off;
        if asleep(self.state()) || leader.is_some_and(asleep) {
            return;
        }
        self.enabled = self.enabled.saturating_add(passed);
        if self.slot().is_some() {
            self.running = self.running.saturating_add(passed);
        }
    }

    /// OFF or ERROR to INACTIVE; whether that was a change.
    pub(super) fn enable(&mut self) -> bool {
        let wakes = matches!(self.state, Where::Off(State::Off | State::Error));
        if wakes {
            self.state = Where::Off(State::Inactive);
        }
        wakes
    }

    /// INACTIVE to OFF; an event on a counter has to leave it first.
    pub(super) fn disable(&mut self) {
        if self.state == Where::Off(State::Inactive) {
            self.state = Where::Off(State::Off);
        }
    }

    /// INACTIVE to ACTIVE.
    pub(super) fn activate(&mut self, vcpu: VcpuId, slot: usize) {
        debug_assert_eq!(self.state, Where::Off(State::Inactive));
        self.state = Where::On(vcpu, slot);
    }

    /// ACTIVE to INACTIVE.
    pub(super) fn deactivate(&mut self) {
        if let Where::On(..) = self.state {
            self.state = Where::Off(State::Inactive);
        }
    }

    /// INACTIVE to ERROR: a pinned group found no counter.
    pub(super) fn fail(&mut self) {
        if self.state == Where::Off(State::Inactive) {
            self.state = Where::Off(State::Error);
        }
    }

    /// Ends it; it never climbs back.
    pub(super) fn end(&mut self, end: End) {
        self.deactivate();
        let target = match end {
            End::Close => State::Dead,
            End::Exit => State::Exit,
        };
        self.state = Where::Off(self.state().min(target));
    }
}
