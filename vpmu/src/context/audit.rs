// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The engine held against its own invariants, for tests and for embedders' fuzzers.
//!
//! An audit takes the locks of the contexts that it looks at and no other one, the vCPU's before the
//! task's, so that it may be asked for at any time. What it finds is a bug of the engine, whatever
//! the guest announced and whoever asked for what.

use core::iter::Peekable;
use std::vec::Vec;

use vcpu_call::VcpuId;

use super::cpu::{Cpu, context_of};
use super::ctx::{Class, Context, Ctx, Holder};
use super::life::State;
use super::observe::PerfObserver;
use super::order::Place;
use super::perf::{Clock, Perf};
use super::slots::{GUESTS, Level, User};
use super::task::Slot;
use super::{Event, EventId, Task, TaskId};
use crate::CounterSource;
use crate::source::MAX_SLOTS;
use crate::sync::Arc;

/// An invariant that does not hold.
///
/// ```
/// use vpmu::context::{EventId, Violation};
///
/// let broken = Violation::Waits(EventId(7));
/// assert_eq!(broken.to_string(), "I1: Event 7 wants to count, and no turn of it will come");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The current task has events and nobody schedules them.
    #[error("I1: Task {0} is current and its events are not scheduled")]
    NotScheduled(TaskId),
    /// The vCPU has events and takes its own context for empty.
    #[error("I1: vCPU {0} does not look at its own events")]
    Forgotten(VcpuId),
    /// An event could count here, is on no counter, and waits for no rotation.
    #[error("I1: Event {0} wants to count, and no turn of it will come")]
    Waits(EventId),
    /// Part of a group is on counters.
    #[error("I1: Event {0} is on a counter and the leader of its group is not")]
    Torn(EventId),
    /// The events scheduled here are not those of the current task.
    #[error("I2: The events of another task are scheduled")]
    Stranger,
    /// A slot is in use and the event that it counts for knows nothing of it, or the other way round.
    #[error("I2: Slot {0} and its event do not agree")]
    Slot(usize),
    /// A counter of the guest's own PMU is in the lists without a slot, or the other way round.
    #[error("I2: Counter {0} of the guest's own is not where the vCPU believes")]
    Guest(usize),
    /// An event that is not closed and has not ended is in no list, or one is twice.
    #[error("I3: Event {0} is not in its context's lists exactly once")]
    Listed(EventId),
    /// A context has more or fewer events than it says.
    #[error("I3: A context does not know how many events it has")]
    Attached,
    /// An event is on a counter of a vCPU that does not schedule its context, or two are on one.
    #[error("I6: Event {0} is on a counter that is not its own")]
    Misplaced(EventId),
    /// A context is scheduled where its task is not the current one.
    #[error("I7: A context is scheduled on vCPU {0}, where its task is not current")]
    NotCurrent(VcpuId),
    /// A context without events is scheduled.
    #[error("I7: A context without events is scheduled on vCPU {0}")]
    Empty(VcpuId),
    /// The context of a task that has exited is scheduled or still takes traps.
    #[error("I8: The context of an exited task is alive")]
    Buried,
    /// Something is attached to, current or counted on a vCPU that is offline.
    #[error("I10: vCPU {0} is offline and not left")]
    Offline(VcpuId),
    /// An event ran for longer than it was enabled.
    #[error("I11: Event {0} ran for longer than it was enabled")]
    Times(EventId),
    /// Overflows and traps do not add up.
    #[error("I14: The overflows of event {0} are not all accounted for")]
    Law(EventId),
    /// The queue of traps and what its events say of themselves differ.
    #[error("I15: The trap of event {0} is not in the queue exactly once")]
    Queue(EventId),
    /// An event at its limit has left its counter without going OFF.
    #[error("I16: Event {0} is at its limit, on no counter and not off")]
    Limit(EventId),
}

impl<C: Clock, O: PerfObserver> Perf<C, O> {
    /// Holds an event and its whole context against I3, I6, I7, I8, I11, I14, I15 and I16. One that
    /// was closed is fine.
    ///
    /// # Errors
    /// The first [`Violation`] that was found.
    pub fn audit_event(&self, event: &Event) -> Result<(), Violation> {
        let mut ctx = event.ctx.lock();
        if let Some(entry) = ctx.entry(event)
            && !entry.attached
            && entry.life.state() > State::Exit
        {
            return Err(Violation::Listed(event.id()));
        }
        ctx.audit()
    }

    /// The same for all events of a task, inherited ones included.
    ///
    /// ```
    /// use vcpu_call::VcpuId;
    /// use vpmu::Nanos;
    /// use vpmu::context::{Perf, PerfConfig};
    ///
    /// let perf = Perf::new(PerfConfig::new(1), || Nanos(0));
    /// let task = perf.create_task(VcpuId(0))?;
    /// assert_eq!(perf.audit_task(&task), Ok(()));
    /// # Ok::<(), vpmu::context::PerfError>(())
    /// ```
    ///
    /// # Errors
    /// The first [`Violation`] that was found.
    pub fn audit_task(&self, task: &Task) -> Result<(), Violation> {
        match task.0.slot() {
            Slot::Context(ctx) => ctx.lock().audit(),
            Slot::Empty | Slot::Closed => Ok(()),
        }
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Cpu<S, C, O> {
    /// Holds the vCPU, right before it enters the guest, against I1, I2, I6, I7, I10 and I15; and
    /// the contexts that share its counters against all that [`Perf::audit_event`] does.
    ///
    /// # Errors
    /// The first [`Violation`] that was found.
    pub fn audit(&self) -> Result<(), Violation> {
        self.audit_current()?;
        let mut vcpu = self.ctx.lock();
        let mut task = self.task_ctx.as_deref().map(Context::lock);
        vcpu.audit()?;
        if !self.online {
            let counts = self.pmu.slots.users().iter().any(Option::is_some);
            let left = self.task.is_none() && task.is_none() && !counts;
            if !left || vcpu.online || vcpu.attached() > 0 {
                return Err(Violation::Offline(self.id()));
            }
        }
        if vcpu.attached() > 0 && !self.pmu.vcpu_events {
            return Err(Violation::Forgotten(self.id()));
        }
        if let Some(task) = &mut task {
            let current = self.task.as_ref();
            let own = current.is_some_and(|current| task.holder.is_task(&current.0));
            if !own && task.active.is_some() {
                return Err(Violation::Stranger);
            }
            task.audit()?;
        }

        for counter in 0..GUESTS {
            let entry = vcpu.at(counter);
            let on = self.pmu.slots.of_guest(counter);
            if entry.life.slot() != on || entry.attached != on.is_some() {
                return Err(Violation::Guest(counter));
            }
        }
        let mut users = self.pmu.slots.users();
        let levels = [
            (Level::Vcpu, Some(&mut *vcpu)),
            (Level::Task, task.as_deref_mut()),
        ];
        for (level, ctx) in levels {
            let Some(ctx) = ctx else { continue };
            if ctx.active == Some(self.id()) {
                ctx.audit_turns(self.id())?;
                ctx.audit_slots(level, &mut users)?;
            } else if level == Level::Vcpu && self.online {
                return Err(Violation::NotCurrent(self.id()));
            } else if let Some(task) = ctx.holder.task_id()
                && ctx.attached() > 0
            {
                return Err(Violation::NotScheduled(task));
            }
        }
        match users.iter().position(Option::is_some) {
            Some(slot) => Err(Violation::Slot(slot)),
            None => Ok(()),
        }
    }

    /// The current task's events are scheduled here, if it has any (I1).
    fn audit_current(&self) -> Result<(), Violation> {
        let Some(current) = &self.task else {
            return Ok(());
        };
        let Some(ctx) = context_of(&current.0) else {
            return Ok(());
        };
        let scheduled = self.task_ctx.as_ref();
        if scheduled.is_some_and(|own| Arc::ptr_eq(own, &ctx)) {
            return Ok(());
        }
        let ctx = ctx.lock();
        if ctx.holder.is_task(&current.0) && ctx.attached() > 0 {
            return Err(Violation::NotScheduled(current.id()));
        }
        Ok(())
    }
}

/// A member of a group, as the lists have it.
struct Listed {
    class: Class,
    leader: usize,
    member: usize,
}

impl Ctx {
    /// What holds of every context whenever its lock is free.
    fn audit(&mut self) -> Result<(), Violation> {
        self.audit_holder()?;
        self.audit_lists()?;
        self.audit_events()?;
        self.audit_traps()
    }

    fn audit_holder(&self) -> Result<(), Violation> {
        match (&self.holder, self.active) {
            (Holder::Tombstone, active) => {
                let quiet = active.is_none() && !self.accepts_traps && self.traps.is_empty();
                quiet.then_some(()).ok_or(Violation::Buried)
            }
            (Holder::Vcpu(own), active) => {
                let agrees = active == self.online.then_some(*own);
                agrees.then_some(()).ok_or(Violation::NotCurrent(*own))
            }
            (Holder::Task(..), None) => Ok(()),
            (Holder::Task(..), Some(vcpu)) => {
                let place = self.holder.task().map(|task| task.word.place());
                if place != Some(Place::Current(vcpu)) {
                    return Err(Violation::NotCurrent(vcpu));
                }
                if self.attached() == 0 {
                    return Err(Violation::Empty(vcpu));
                }
                Ok(())
            }
        }
    }

    fn listed(&mut self) -> Vec<Listed> {
        let mut all = Vec::new();
        for class in [Class::Pinned, Class::Flexible] {
            let mut group = 0;
            while let Some(leader) = self.leader(class, group) {
                let mut nth = 0;
                while let Some(member) = self.member(leader, nth) {
                    all.push(Listed {
                        class,
                        leader,
                        member,
                    });
                    nth += 1;
                }
                group += 1;
            }
        }
        all
    }

    fn audit_lists(&mut self) -> Result<(), Violation> {
        let mut listed = self.listed();
        for Listed { leader, member, .. } in &listed {
            let entry = self.at(*member);
            if entry.leader != *leader {
                return Err(Violation::Listed(entry.core.id));
            }
        }
        if listed.len() != self.attached() {
            return Err(Violation::Attached);
        }
        listed.sort_unstable_by_key(|listed| listed.member);
        let mut members = listed.iter().map(|listed| listed.member).peekable();
        for (index, entry) in self.iter() {
            let ended = entry.life.state() <= State::Exit;
            let times = occurrences(&mut members, index);
            if times != usize::from(entry.attached) || (entry.attached && ended) {
                return Err(Violation::Listed(entry.core.id));
            }
        }
        Ok(())
    }

    fn audit_events(&self) -> Result<(), Violation> {
        let mut taken = [false; MAX_SLOTS];
        for (_, entry) in self.iter() {
            let id = entry.core.id;
            if let (Some(slot), State::Active(vcpu)) = (entry.life.slot(), entry.life.state()) {
                let shared = core::mem::replace(&mut taken[slot], true);
                if shared || self.active != Some(vcpu) || !entry.attached {
                    return Err(Violation::Misplaced(id));
                }
            } else if entry.pending_disable {
                return Err(Violation::Limit(id));
            }
            if entry.life.running() > entry.life.enabled() {
                return Err(Violation::Times(id));
            }
            let core = &entry.core;
            let alone = core.parent.is_none() && !core.attr.inherit;
            if alone && core.attr.sigtrap.is_some() {
                let traps = core.traps();
                let pending = u64::from(entry.pending_trap.is_some());
                if entry.overflows != traps.queued + traps.merged + traps.refused
                    || traps.queued != traps.sent + traps.dropped + pending
                    || (traps.refused > 0 && self.accepts_traps)
                {
                    return Err(Violation::Law(id));
                }
            }
        }
        Ok(())
    }

    /// As many traps on their way as events that say so, each in the queue once (I15).
    fn audit_traps(&self) -> Result<(), Violation> {
        let mut queued: Vec<_> = self.traps.iter().copied().collect();
        queued.sort_unstable();
        let mut queued = queued.into_iter().peekable();
        for (index, entry) in self.iter() {
            let times = occurrences(&mut queued, index);
            if times != usize::from(entry.pending_trap.is_some()) {
                return Err(Violation::Queue(entry.core.id));
            }
        }
        Ok(())
    }

    /// Who could count on `vcpu` does, or waits for a rotation that will come (I1).
    fn audit_turns(&mut self, vcpu: VcpuId) -> Result<(), Violation> {
        for Listed {
            class,
            leader,
            member,
        } in self.listed()
        {
            let rotate = self.rotate;
            let leads = self.at(leader).life.state();
            let entry = self.at(member);
            let (id, state) = (entry.core.id, entry.life.state());
            if entry.core.filter.is_some_and(|filter| filter != vcpu) {
                continue;
            }
            if leads == State::Active(vcpu) {
                if state == State::Inactive {
                    return Err(Violation::Waits(id));
                }
            } else if entry.life.slot().is_some() {
                return Err(Violation::Torn(id));
            } else if leads == State::Inactive && !(class == Class::Flexible && rotate) {
                return Err(Violation::Waits(id));
            }
        }
        Ok(())
    }

    /// The slots of this context's events, which it takes out of `users`, are theirs (I2).
    fn audit_slots(
        &self,
        level: Level,
        users: &mut [Option<User>; MAX_SLOTS],
    ) -> Result<(), Violation> {
        for (index, entry) in self.iter() {
            let Some(slot) = entry.life.slot() else {
                continue;
            };
            if users[slot].take() != Some(User { level, index }) {
                return Err(Violation::Slot(slot));
            }
        }
        Ok(())
    }
}

/// How often `index` comes next in `sorted`, from where it is taken.
fn occurrences(sorted: &mut Peekable<impl Iterator<Item = usize>>, index: usize) -> usize {
    let mut times = 0;
    while sorted.next_if_eq(&index).is_some() {
        times += 1;
    }
    times
}
