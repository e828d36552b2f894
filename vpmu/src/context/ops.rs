// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Enable, disable, refresh, reset, set period: what an owner does to an event.

use super::call::{Call, Caller, Op, Reply};
use super::cpu::Cpu;
use super::ctx::{Class, Context, Ctx};
use super::life::{End, State};
use super::observe::PerfObserver;
use super::perf::{Clock, Perf, Ran};
use super::pmu::{Both, Pmu, Rank};
use super::slots::Level;
use super::{Attr, Event, PerfError};
use crate::CounterSource;
use crate::sync::Arc;

impl<C: Clock, O: PerfObserver> Perf<C, O> {
    /// Lets an event count. One in the ERROR state gets another chance.
    ///
    /// # Errors
    /// [`PerfError::Closed`]. Events that have ended stay ended, without an error.
    pub fn enable(&self, event: &Event, by: &mut impl Caller) -> Result<(), PerfError> {
        self.for_family(event, Op::Enable, by)
    }

    /// Stops an event; a leader stops its group.
    ///
    /// # Errors
    /// [`PerfError::Closed`].
    pub fn disable(&self, event: &Event, by: &mut impl Caller) -> Result<(), PerfError> {
        self.for_family(event, Op::Disable, by)
    }

    /// Enables an event for `overflows` more overflows: after the last one it is disabled and its
    /// owner told [`Notice::Hup`](super::Notice::Hup). Adds to what is left of an earlier limit; 0
    /// adds nothing and just enables. The sum stays at the top if it is 2^64 or more.
    ///
    /// # Errors
    /// [`PerfError::Invalid`] for an event that does not overflow or is inherited,
    /// [`PerfError::Closed`].
    pub fn refresh(
        &self,
        event: &Event,
        overflows: u64,
        by: &mut impl Caller,
    ) -> Result<(), PerfError> {
        let Attr { inherit, .. } = event.core.attr;
        if inherit || !event.core.attr.samples() {
            return Err(PerfError::Invalid(
                "refresh is for one event that overflows",
            ));
        }
        self.for_family(event, Op::Refresh(overflows), by)
    }

    /// Sets the count to 0, that of inherited events included. Times go on.
    ///
    /// # Errors
    /// [`PerfError::Closed`].
    pub fn reset(&self, event: &Event, by: &mut impl Caller) -> Result<(), PerfError> {
        self.for_family(event, Op::Reset, by)
    }

    /// Overflows every `period` counts from now on.
    ///
    /// # Errors
    /// [`PerfError::Invalid`] for an event that does not overflow, and for a period of 0 or above
    /// [`Attr::MAX_PERIOD`]; [`PerfError::Closed`].
    pub fn set_period(
        &self,
        event: &Event,
        period: u64,
        by: &mut impl Caller,
    ) -> Result<(), PerfError> {
        if !event.core.attr.samples() {
            return Err(PerfError::Invalid("the event does not overflow"));
        }
        if period == 0 || period > Attr::MAX_PERIOD {
            return Err(PerfError::Invalid("a period is 1 to 2^63 - 1"));
        }
        self.for_family(event, Op::Period(period), by)
    }

    /// Enables all events of a group.
    ///
    /// # Errors
    /// As for [`enable`](Self::enable).
    pub fn enable_group(&self, leader: &Event, by: &mut impl Caller) -> Result<(), PerfError> {
        self.for_group(leader, Op::Enable, by)
    }

    /// Disables all events of a group.
    ///
    /// # Errors
    /// As for [`disable`](Self::disable).
    pub fn disable_group(&self, leader: &Event, by: &mut impl Caller) -> Result<(), PerfError> {
        self.for_group(leader, Op::Disable, by)
    }

    /// Resets all events of a group.
    ///
    /// # Errors
    /// As for [`reset`](Self::reset).
    pub fn reset_group(&self, leader: &Event, by: &mut impl Caller) -> Result<(), PerfError> {
        self.for_group(leader, Op::Reset, by)
    }

    fn for_group(&self, event: &Event, op: Op, by: &mut impl Caller) -> Result<(), PerfError> {
        let _gate = event.ctx.gate.enter(by);
        let mut nth = 0;
        while let Some(member) = self.group_member(event, nth)? {
            self.for_each_child(&member, op, by);
            nth += 1;
        }
        Ok(())
    }

    /// The `nth` event of the group that `event` is in, the leader first.
    pub(super) fn group_member(
        &self,
        event: &Event,
        nth: usize,
    ) -> Result<Option<Event>, PerfError> {
        let mut ctx = event.ctx.lock();
        let leader = ctx.entry(event).ok_or(PerfError::Closed)?.leader;
        Ok(ctx.member(leader, nth).map(|index| Event {
            core: Arc::clone(&ctx.at(index).core),
            ctx: Arc::clone(&event.ctx),
            index,
        }))
    }

    fn for_family(&self, event: &Event, op: Op, by: &mut impl Caller) -> Result<(), PerfError> {
        let _gate = event.ctx.gate.enter(by);
        let known = self.for_each_child(event, op, by);
        known.then_some(()).ok_or(PerfError::Closed)
    }

    /// Does `op` to an event and to all that were inherited from it; whether it is not closed.
    fn for_each_child(&self, event: &Event, op: Op, by: &mut impl Caller) -> bool {
        let Some(family) = &event.core.family else {
            return self.operate(event, op, by);
        };
        let mut family = family.lock(by);
        let known = self.operate(event, op, by);
        for child in &family.children {
            self.operate(child, op, by);
        }
        if op == Op::Reset {
            family.dead.count = 0;
        }
        known
    }

    /// Does `op` to one event, on the vCPU that it is scheduled on or here; whether it is not
    /// closed.
    #[inline]
    pub(super) fn operate(&self, event: &Event, op: Op, by: &mut impl Caller) -> bool {
        let call = Call::Event(event, op);
        let ran = self.on_context(&event.ctx, Some(event.id()), by, call, |ctx| {
            let known = ctx.entry(event).is_some();
            if known {
                ctx.apply(event.index, op);
            }
            known
        });
        match ran {
            Ran::Here(known) => known,
            Ran::There(reply) => reply == Reply::Done,
        }
    }
}

impl Ctx {
    /// Whether nobody will ask what time it was when this event was closed: it is the last one, and
    /// only counted.
    fn is_last(&mut self, index: usize) -> bool {
        let entry = self.at(index);
        let counted = entry.period == 0 && entry.core.parent.is_none();
        counted && entry.attached && self.attached() == 1
    }

    /// Does `op` to an event that is on no counter; whether it wants to be on one now.
    fn apply(&mut self, index: usize, op: Op) -> bool {
        let ended = self.at(index).life.state() <= State::Exit;
        match op {
            // Without effect (I8).
            Op::Enable | Op::Refresh(_) | Op::Disable | Op::Period(_) if ended => {}
            Op::Enable => return self.enable(index),
            Op::Refresh(overflows) => {
                let entry = self.at(index);
                entry.limit = entry.limit.saturating_add(overflows);
                return self.enable(index);
            }
            Op::Disable => self.disable(index),
            Op::Period(period) => self.at(index).set_period(period),
            Op::Reset => self.at(index).count = 0,
            Op::Read => {
                let leader = self.at(index).leader;
                self.settle_group(leader);
            }
            Op::Remove(end) => {
                self.detach(index, end);
                self.release(index);
            }
        }
        false
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Pmu<S, C, O> {
    /// Does `op` to an event of a context that is scheduled here.
    fn operate(&mut self, both: &mut Both<'_>, level: Level, index: usize, op: Op) {
        let sight = self.sight(None, true);
        let Some(ctx) = both.level(level) else {
            return;
        };
        let leader = ctx.at(index).leader;
        let held_back = leader == index && ctx.at(index).life.slot().is_none();
        let orphans = held_back && !ctx.at(index).siblings.is_empty();
        if let Op::Enable | Op::Refresh(_) = op {
            // What happened before neither uses up the new limit nor stops what starts now.
            let sight = self.sight(None, false);
            self.collect(ctx, index, &sight);
        }
        match op {
            // At its limit: OFF first, so that this is not undone by the irq work to come.
            Op::Enable | Op::Refresh(_) if !ctx.at(index).pending_disable => {}
            Op::Enable | Op::Refresh(_) | Op::Disable if leader == index => {
                self.group_out(ctx, index, &sight);
            }
            Op::Enable | Op::Refresh(_) | Op::Disable | Op::Remove(_) => {
                self.event_out(ctx, index, &sight);
            }
            Op::Period(_) | Op::Reset | Op::Read => {
                let sight = self.sight(None, false);
                let mut nth = 0;
                while let Some(member) = ctx.member(leader, nth) {
                    self.collect(ctx, member, &sight);
                    nth += 1;
                }
            }
        }
        if ctx.apply(index, op) {
            self.schedule(both, level, index);
        } else if orphans && matches!(op, Op::Remove(_)) {
            // They waited for a leader that was on no counter, and lead themselves now.
            self.resched(both, Rank::of(level, Class::Flexible), &sight);
        }
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Cpu<S, C, O> {
    /// Does `op` to an event whose context is that of this vCPU or of its current task.
    pub(super) fn event_here(&mut self, event: &Event, op: Op) -> Reply {
        let level = if Arc::ptr_eq(&event.ctx, &self.ctx) && self.online {
            self.pmu.vcpu_events = true;
            Level::Vcpu
        } else if self.is_task_ctx(&event.ctx) {
            Level::Task
        } else {
            return Reply::NotHere;
        };
        let reply = self.contexts(|pmu, both| {
            let Some(ctx) = both.level(level) else {
                return Reply::NotHere;
            };
            if ctx.entry(event).is_none() {
                return Reply::Refused(PerfError::Closed);
            }
            if !(op == Op::Remove(End::Close) && ctx.is_last(event.index)) {
                pmu.look();
                both.tick(pmu.now);
            }
            let Some(ctx) = both.level(level) else {
                return Reply::NotHere;
            };
            if ctx.active == Some(pmu.vcpu) {
                pmu.operate(both, level, event.index, op);
            } else {
                ctx.apply(event.index, op);
            }
            let empty = both.level(level).is_some_and(|ctx| ctx.attached() == 0);
            match level {
                Level::Vcpu => pmu.vcpu_events = !empty,
                Level::Task if empty => both.leave(pmu.now),
                Level::Task => {}
            }
            Reply::Done
        });
        self.pmu.notify();
        reply
    }

    /// Whether `ctx` is that of the current task.
    pub(super) fn is_task_ctx(&self, ctx: &Arc<Context>) -> bool {
        let own = self.task_ctx.as_ref();
        own.is_some_and(|own| Arc::ptr_eq(own, ctx))
    }
}
