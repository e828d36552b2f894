// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events on and off the counters of one vCPU.
//!
//! - **G1** A group goes onto counters as a whole or not at all.
//! - **G2** The vCPU's pinned groups come first, then the task's, then the vCPU's flexible ones,
//!   then the task's. Whoever joins displaces nobody in front.
//! - **G3** A pinned group that does not fit goes to ERROR. A flexible one waits, and the context
//!   asks for rotation.
//! - **G4** What leaves a counter is counted to the last, and overflows for whom it ran.
//! - **G5** A counter of the guest's own PMU (`guest`) is a pinned event of the vCPU. Once it is on a
//!   counter it stays on that one until it is stopped: nobody displaces or moves it, and nobody but
//!   the registers takes its counts.

use std::vec::Vec;

use vcpu_call::VcpuId;

use super::ctx::{Class, Ctx};
use super::event::{EventCore, EventId};
use super::life::State;
use super::observe::{PerfObserver, Step};
use super::overflow::{Absorbed, Notice, Sample, Sight};
use super::perf::{Clock, Perf};
use super::sigtrap::Queued;
use super::slots::{Level, Slots, User};
use crate::source::MAX_SLOTS;
use crate::sync::Arc;
use crate::{CounterSource, Nanos};

/// The counters of a vCPU, with what it takes to tell of them.
pub(super) struct Pmu<S, C, O> {
    pub(super) perf: Perf<C, O>,
    pub(super) vcpu: VcpuId,
    pub(super) slots: Slots<S>,
    /// The time of the operation under way.
    pub(super) now: Nanos,
    /// The vCPU's own context may have events. Those of a vCPU that is online come and go on its
    /// thread, so that this is known here without its lock.
    pub(super) vcpu_events: bool,
    /// An event on a counter here may be at its limit.
    pub(super) limits: bool,
    /// Some group found no counter, and may wait for one still.
    pub(super) waits: bool,
    /// Owners to be told when the locks are released.
    due: Vec<(Arc<EventCore>, Notice)>,
}

/// From where on groups are placed anew (G2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    VcpuPinned,
    TaskPinned,
    VcpuFlexible,
    TaskFlexible,
}

impl Rank {
    const ALL: [Self; 4] = [
        Self::VcpuPinned,
        Self::TaskPinned,
        Self::VcpuFlexible,
        Self::TaskFlexible,
    ];

    pub(super) const fn of(level: Level, class: Class) -> Self {
        match (level, class) {
            (Level::Vcpu, Class::Pinned) => Self::VcpuPinned,
            (Level::Task, Class::Pinned) => Self::TaskPinned,
            (Level::Vcpu, Class::Flexible) => Self::VcpuFlexible,
            (Level::Task, Class::Flexible) => Self::TaskFlexible,
        }
    }

    const fn parts(self) -> (Level, Class) {
        match self {
            Self::VcpuPinned => (Level::Vcpu, Class::Pinned),
            Self::TaskPinned => (Level::Task, Class::Pinned),
            Self::VcpuFlexible => (Level::Vcpu, Class::Flexible),
            Self::TaskFlexible => (Level::Task, Class::Flexible),
        }
    }
}

/// The contexts that share a vCPU's counters, locked, as far as they have anything to say.
pub(super) struct Both<'a> {
    pub(super) vcpu: Option<&'a mut Ctx>,
    pub(super) task: Option<&'a mut Ctx>,
}

impl Both<'_> {
    pub(super) fn level(&mut self, level: Level) -> Option<&mut Ctx> {
        match level {
            Level::Vcpu => self.vcpu.as_deref_mut(),
            Level::Task => self.task.as_deref_mut(),
        }
    }

    pub(super) fn tick(&mut self, now: Nanos) {
        for ctx in [&mut self.vcpu, &mut self.task].into_iter().flatten() {
            ctx.tick(now);
        }
    }

    /// The task's context is scheduled here no more: it has no events.
    pub(super) fn leave(&mut self, now: Nanos) {
        if let Some(task) = &mut self.task {
            task.deactivate(now);
        }
    }

    /// Whether some group waits for a counter.
    pub(super) fn waits(&self) -> bool {
        let ctxs = [&self.vcpu, &self.task].into_iter().flatten();
        ctxs.into_iter().any(|ctx| ctx.rotate)
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Pmu<S, C, O> {
    pub(super) fn new(perf: Perf<C, O>, vcpu: VcpuId, source: S) -> Self {
        let slots = Slots::new(source, perf.slots());
        Self {
            perf,
            vcpu,
            slots,
            now: Nanos(0),
            vcpu_events: false,
            limits: false,
            waits: false,
            // Room for all that one operation can find, so that none allocates.
            due: Vec::with_capacity(4 * MAX_SLOTS),
        }
    }

    /// An operation begins: what time is it?
    pub(super) fn look(&mut self) {
        self.now = self.perf.now();
    }

    fn tell(&self, ctx: &Ctx, event: EventId, step: Step) {
        let task = ctx.holder.task_id();
        self.perf.tell(Some(self.vcpu), task, Some(event), step);
    }

    /// Tells the owners. No lock is held.
    #[inline]
    pub(super) fn notify(&mut self) {
        if !self.due.is_empty() {
            self.notify_due();
        }
    }

    #[cold]
    fn notify_due(&mut self) {
        for (core, notice) in self.due.drain(..) {
            if let Some(owner) = &core.owner {
                owner.notify(core.top, notice);
            }
        }
    }

    /// Takes what the event at `index` counted, and lets it overflow.
    pub(super) fn collect(&mut self, ctx: &mut Ctx, index: usize, sight: &Sight) {
        let Some(slot) = ctx.at(index).life.slot() else {
            return;
        };
        let counts = self.slots.take(slot);
        let absorbed = ctx.absorb(index, counts, sight);
        if absorbed == Absorbed::Nothing {
            return;
        }
        let id = ctx.at(index).core.id;
        match absorbed {
            Absorbed::Nothing => {}
            Absorbed::Throttled => self.tell(ctx, id, Step::Throttled),
            Absorbed::Overflow {
                overflows,
                hup,
                trap,
            } => {
                self.tell(ctx, id, Step::Overflow(overflows));
                match trap {
                    Some(Queued::New) => self.tell(ctx, id, Step::TrapQueued),
                    Some(Queued::Merged) => self.tell(ctx, id, Step::TrapMerged),
                    Some(Queued::Refused) | None => {}
                }
                if hup {
                    self.slots.halt(slot);
                    self.limits = true;
                    self.tell(ctx, id, Step::Limit);
                }
                let core = &ctx.at(index).core;
                if core.owner.is_some() {
                    let notices = [
                        Some(Notice::Overflow(overflows)),
                        hup.then_some(Notice::Hup),
                    ];
                    let due = notices.into_iter().flatten();
                    self.due
                        .extend(due.map(|notice| (Arc::clone(core), notice)));
                }
            }
        }
    }

    pub(super) fn sight(&self, sample: Option<Sample>, leaving: bool) -> Sight {
        Sight {
            now: self.now,
            sample,
            interval: self.perf.interval(),
            leaving,
        }
    }

    /// Takes an event off its counter (G4). One at its limit goes OFF here (V3).
    pub(super) fn event_out(&mut self, ctx: &mut Ctx, index: usize, sight: &Sight) {
        let Some(slot) = ctx.at(index).life.slot() else {
            return;
        };
        self.collect(ctx, index, sight);
        self.slots.stop(slot);
        ctx.settle(index);
        let entry = ctx.at(index);
        entry.held = false;
        entry.life.deactivate();
        if entry.pending_disable {
            ctx.disable(index);
        }
        let id = ctx.at(index).core.id;
        self.tell(ctx, id, Step::SlotOut(slot));
    }

    /// Takes a whole group off its counters.
    pub(super) fn group_out(&mut self, ctx: &mut Ctx, leader: usize, sight: &Sight) {
        let mut nth = 0;
        while let Some(member) = ctx.member(leader, nth) {
            self.event_out(ctx, member, sight);
            nth += 1;
        }
    }

    /// Puts a group onto counters, if it wants to and may count here; whether nothing is left
    /// waiting (G1).
    pub(super) fn group_in(&mut self, ctx: &mut Ctx, level: Level, leader: usize) -> bool {
        let entry = ctx.at(leader);
        let here = entry.core.filter.is_none_or(|vcpu| vcpu == self.vcpu);
        if !here || entry.life.state() != State::Inactive {
            return true;
        }
        let mut nth = 0;
        while let Some(member) = ctx.member(leader, nth) {
            if !self.event_in(ctx, level, member) {
                self.undo(ctx, leader, nth);
                return false;
            }
            nth += 1;
        }
        true
    }

    /// Puts one event onto a counter, if it wants to.
    pub(super) fn event_in(&mut self, ctx: &mut Ctx, level: Level, index: usize) -> bool {
        if ctx.at(index).life.state() != State::Inactive {
            return true;
        }
        let entry = ctx.at(index);
        let (id, config) = (entry.core.id, entry.config);
        let user = User { level, index };
        let Some(slot) = self.slots.start(user, &config) else {
            return false;
        };
        ctx.settle(index);
        ctx.at(index).life.activate(self.vcpu, slot);
        self.tell(ctx, id, Step::SlotIn(slot));
        true
    }

    /// The first `members` of a group leave the counters that they were just put onto.
    fn undo(&mut self, ctx: &mut Ctx, leader: usize, members: usize) {
        for nth in 0..members {
            let member = ctx.member(leader, nth).expect("it was there just now");
            if let Some(slot) = ctx.at(member).life.slot() {
                self.slots.stop(slot);
                ctx.at(member).life.deactivate();
                let id = ctx.at(member).core.id;
                self.tell(ctx, id, Step::SlotOut(slot));
            }
        }
    }

    pub(super) fn class_out(&mut self, ctx: &mut Ctx, class: Class, sight: &Sight) {
        if class == Class::Flexible {
            ctx.rotate = false;
        }
        let mut nth = 0;
        while let Some(leader) = ctx.leader(class, nth) {
            // G5
            if !ctx.is_guest(leader) {
                self.group_out(ctx, leader, sight);
            }
            nth += 1;
        }
    }

    /// Places all groups of a class that fit (G3).
    pub(super) fn class_in(&mut self, ctx: &mut Ctx, level: Level, class: Class) {
        let mut nth = 0;
        while let Some(leader) = ctx.leader(class, nth) {
            nth += 1;
            if self.group_in(ctx, level, leader) {
                continue;
            }
            match class {
                Class::Flexible => {
                    ctx.rotate = true;
                    self.waits = true;
                }
                Class::Pinned => {
                    ctx.settle_group(leader);
                    let entry = ctx.at(leader);
                    entry.life.fail();
                    let id = entry.core.id;
                    self.tell(ctx, id, Step::Failed);
                }
            }
        }
    }

    /// Places everything anew from `rank` on (G2).
    pub(super) fn resched(&mut self, both: &mut Both<'_>, rank: Rank, sight: &Sight) {
        let ranks = Rank::ALL.into_iter().filter(|other| *other >= rank);
        for rank in ranks.clone().rev() {
            let (level, class) = rank.parts();
            if let Some(ctx) = both.level(level) {
                self.class_out(ctx, class, sight);
            }
        }
        for rank in ranks {
            let (level, class) = rank.parts();
            if let Some(ctx) = both.level(level) {
                self.class_in(ctx, level, class);
            }
        }
    }

    /// The event at `index` wants to count: places it, and whatever has to move for it.
    pub(super) fn schedule(&mut self, both: &mut Both<'_>, level: Level, index: usize) {
        let waits = both.waits();
        let Some(ctx) = both.level(level) else {
            return;
        };
        let leader = ctx.at(index).leader;
        let fits = if leader == index {
            !waits && self.group_in(ctx, level, leader)
        } else if ctx.at(leader).life.slot().is_none() {
            // It counts when its leader does.
            true
        } else {
            !waits && self.event_in(ctx, level, index)
        };
        if !fits {
            let rank = Rank::of(level, ctx.class(leader));
            let sight = self.sight(None, true);
            self.resched(both, rank, &sight);
        }
    }
}
