// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reading events.

use super::call::{Caller, Op};
use super::event::{Family, Totals};
use super::life::State;
use super::observe::PerfObserver;
use super::perf::{Clock, Perf};
use super::{Event, EventId, PerfError, TrapCounts};
use crate::Nanos;
use crate::event::EventConfig;

/// What an event counted, with the events that were inherited from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Which event.
    pub id: u64,
    /// Counts; wraps at 2^64.
    pub count: u64,
    /// How long it wanted to count while its task ran, or its vCPU was online.
    pub time_enabled: Nanos,
    /// How long of that it was on a counter.
    pub time_running: Nanos,
}

impl Reading {
    const fn new(EventId(id): EventId, totals: Totals) -> Self {
        Self {
            id,
            count: totals.count,
            time_enabled: totals.enabled,
            time_running: totals.running,
        }
    }

    const fn totals(&self) -> Totals {
        Totals {
            count: self.count,
            enabled: self.time_enabled,
            running: self.time_running,
        }
    }

    /// The count, extrapolated to the whole time in which the event was enabled; `None` if it never
    /// was on a counter.
    ///
    /// ```
    /// use vpmu::Nanos;
    /// use vpmu::context::Reading;
    ///
    /// let half = Reading {
    ///     count: 1_000,
    ///     time_enabled: Nanos(80),
    ///     time_running: Nanos(40),
    ///     ..Reading::default()
    /// };
    /// assert_eq!(half.scaled(), Some(2_000));
    /// assert_eq!(Reading::default().scaled(), None);
    /// ```
    pub fn scaled(&self) -> Option<u64> {
        let (enabled, running) = (self.time_enabled.0, self.time_running.0);
        let scaled = u128::from(self.count) * u128::from(enabled);
        let scaled = scaled.checked_div(u128::from(running))?;
        Some(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

/// Where an event is in its life, and what it went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its state.
    pub state: State,
    /// Overflows so far, without those of inherited events.
    pub overflows: u64,
    /// How often its limit was reached.
    pub hups: u64,
    /// How often an overflow was held back.
    pub throttled: u64,
    /// Overflows until it is disabled; 0 for no limit.
    pub limit: u64,
    /// A trap is on its way.
    pub pending: bool,
    /// What became of its overflows, those of inherited events included.
    pub traps: TrapCounts,
    /// What it counts.
    pub config: EventConfig,
}

impl<C: Clock, O: PerfObserver> Perf<C, O> {
    /// Reads an event, up to date wherever it is; `None` (end of file, for a Linux user) while it is
    /// in the ERROR state.
    ///
    /// # Errors
    /// [`PerfError::Closed`].
    pub fn read(&self, event: &Event, by: &mut impl Caller) -> Result<Option<Reading>, PerfError> {
        match self.status(event)?.state {
            State::Error => Ok(None),
            _ => self.total(event, by).map(Some),
        }
    }

    /// Reads all events of a group, the leader first, into `readings`; how many there are, or 0 (end
    /// of file) while the group is in the ERROR state. What the tasks counted that the group was
    /// opened for is of one moment.
    ///
    /// # Errors
    /// [`PerfError::NoSpace`] if `readings` is too short, [`PerfError::Closed`].
    pub fn read_group(
        &self,
        leader: &Event,
        readings: &mut [Reading],
        by: &mut impl Caller,
    ) -> Result<usize, PerfError> {
        let _gate = leader.ctx.gate.enter(by);
        // One look at the counters for the whole group.
        self.operate(leader, Op::Read, by);
        let events = {
            let mut ctx = leader.ctx.lock();
            let first = ctx.entry(leader).ok_or(PerfError::Closed)?.leader;
            if ctx.at(first).life.state() == State::Error {
                return Ok(0);
            }
            let mut events = 0;
            while let Some(member) = ctx.member(first, events) {
                let entry = ctx.at(member);
                if let Some(reading) = readings.get_mut(events) {
                    *reading = Reading::new(entry.core.id, entry.totals());
                }
                events += 1;
            }
            events
        };
        if events > readings.len() {
            return Err(PerfError::NoSpace(events));
        }
        for (nth, reading) in readings[..events].iter_mut().enumerate() {
            if let Some(member) = self.group_member(leader, nth)? {
                let mut sum = reading.totals();
                if let Some(family) = &member.core.family {
                    sum.add(self.inherited(&family.lock(by), by));
                }
                *reading = Reading::new(member.id(), sum);
            }
        }
        Ok(events)
    }

    /// The event's own totals and those of its family.
    fn total(&self, event: &Event, by: &mut impl Caller) -> Result<Reading, PerfError> {
        // First: whoever closes the event then has not taken its family away.
        let family = event.core.family.as_ref().map(|family| family.lock(by));
        self.operate(event, Op::Read, by);
        let own = event.ctx.lock().entry(event).map(|entry| entry.totals());
        let mut sum = own.ok_or(PerfError::Closed)?;
        if let Some(family) = family {
            sum.add(self.inherited(&family, by));
        }
        Ok(Reading::new(event.core.id, sum))
    }

    /// What the events of a family counted, living and dead.
    fn inherited(&self, family: &Family, by: &mut impl Caller) -> Totals {
        let mut sum = family.dead;
        for child in &family.children {
            self.operate(child, Op::Read, by);
            if let Some(entry) = child.ctx.lock().entry(child) {
                sum.add(entry.totals());
            }
        }
        sum
    }

    /// Where an event is in its life. No vCPU is asked: what overflowed on one that is in the guest
    /// is not in it yet.
    ///
    /// # Errors
    /// [`PerfError::Closed`].
    pub fn status(&self, event: &Event) -> Result<Status, PerfError> {
        let mut ctx = event.ctx.lock();
        let entry = ctx.entry(event).ok_or(PerfError::Closed)?;
        Ok(Status {
            state: entry.life.state(),
            overflows: entry.overflows,
            hups: entry.hups,
            throttled: entry.throttled,
            limit: entry.limit,
            pending: entry.pending_trap.is_some(),
            traps: entry.core.traps(),
            config: entry.core.attr.config,
        })
    }
}
