// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Fork, exec and exit: what becomes of a task's events when the task does.

use std::vec::Vec;

use super::call::{Call, Caller, Op, Reply};
use super::cpu::Cpu;
use super::ctx::{Class, Context, Ctx, Holder};
use super::event::{EventCore, Totals};
use super::install::{Pinned, inherited, pin, top};
use super::life::{End, State};
use super::observe::{PerfObserver, Step};
use super::overflow::Notice;
use super::perf::{Clock, Perf};
use super::slots::{GUESTS, Level};
use super::task::Slot;
use super::{Event, PerfError, Task};
use crate::CounterSource;
use crate::sync::{Arc, yield_now};

/// A parent's event, as a fork finds it.
struct Seed {
    core: Arc<EventCore>,
    index: usize,
    leads: bool,
}

impl<C: Clock, O: PerfObserver> Perf<C, O> {
    /// `parent` forks. The new task is queued where the parent is, and has every event of its that
    /// is inherited, from its very first instruction.
    ///
    /// # Errors
    /// [`PerfError::NoSuchTask`] if the parent has exited.
    pub fn fork(&self, parent: &Task, by: &mut impl Caller) -> Result<Task, PerfError> {
        let child = Task::new(self.new_task_id(), parent.place().vcpu());
        if let Some(ctx) = self.pinned(parent)? {
            let _gate = ctx.gate.enter(by);
            self.inherit(&ctx, &child, by)?;
        }
        let created = Step::Created(Some(parent.id()));
        self.tell(by.here(), Some(child.id()), None, created);
        Ok(child)
    }

    /// Gives `child` a copy of what is inherited. The gate is held, so that events neither come nor
    /// go; the child is known to nobody yet.
    fn inherit(
        &self,
        parent: &Arc<Context>,
        child: &Task,
        by: &mut impl Caller,
    ) -> Result<(), PerfError> {
        let (seeds, origin) = {
            let mut ctx = parent.lock();
            if ctx.holder.is_tombstone() {
                return Err(PerfError::NoSuchTask);
            }
            let origin = ctx.clone_of.unwrap_or((ctx.id, ctx.generation));
            (seeds(&mut ctx), origin)
        };
        if !seeds.iter().any(|seed| seed.core.attr.inherit) {
            return Ok(());
        }
        let holder = Holder::Task(child.id(), Arc::downgrade(&child.0));
        let ctx = Arc::new(self.new_context(holder));
        let mut all = true;
        let mut leader = None;
        for seed in seeds {
            if seed.leads {
                leader = None;
            }
            let Some(top) = top(&seed.core).filter(|_| seed.core.attr.inherit) else {
                all = false;
                continue;
            };
            let Some(mut family) = top.family.as_ref().map(|family| family.lock(by)) else {
                all = false;
                continue;
            };
            if family.closed {
                // What it led is about to go on, each by itself: the copies do so at once.
                all = false;
                continue;
            }
            // Not before the family is locked: whoever changes all of it holds another gate than
            // this one, if the parent inherited the event itself.
            let (on, period) = {
                let mut parent = parent.lock();
                let entry = parent.at(seed.index);
                let on = entry.life.state() >= State::Inactive && !entry.pending_disable;
                (on, entry.period)
            };
            let event = inherited(self, &top, &ctx, leader, on);
            ctx.lock().at(event.index).set_period(period);
            if seed.leads {
                leader = Some(event.index);
            }
            family.children.push(event);
        }
        if all {
            ctx.lock().clone_of = Some(origin);
        }
        // Nobody knows the task, so it has no other one.
        let published = child.0.publish(&ctx);
        debug_assert!(published.is_ok());
        Ok(())
    }

    /// A task executes another program: its events that ask for it are removed, readable for ever.
    ///
    /// # Errors
    /// [`PerfError::NoSuchTask`] if it has exited.
    pub fn exec(&self, task: &Task, by: &mut impl Caller) -> Result<(), PerfError> {
        if let Some(ctx) = self.pinned(task)? {
            let _gate = ctx.gate.enter(by);
            let mut ended = Vec::new();
            for event in members(&ctx, |core| core.attr.remove_on_exec) {
                self.operate(&event, Op::Remove(End::Exit), by);
                ended.push(event);
            }
            self.part(&ended, by);
        }
        self.tell(by.here(), Some(task.id()), None, Step::Exec);
        Ok(())
    }

    /// A task exits. What it counted is final, traps on their way to it are dropped, and nothing
    /// can be attached to it any more. It stays current on its vCPU until the guest switches.
    ///
    /// # Errors
    /// [`PerfError::NoSuchTask`] if it has exited already.
    pub fn exit(&self, task: &Task, by: &mut impl Caller) -> Result<(), PerfError> {
        let ctx = loop {
            match self.pinned(task)? {
                Some(ctx) => break Some(ctx),
                None if task.0.close(None) => break None,
                // It got its first context just now.
                None => yield_now(),
            }
        };
        if let Some(ctx) = ctx {
            let _gate = ctx.gate.enter(by);
            if ctx.lock().holder.is_tombstone() {
                return Err(PerfError::NoSuchTask);
            }
            let (call, here) = (Call::Exit(task, &ctx), by.here());
            self.on_context(&ctx, None, by, call, |inner| {
                let dropped = inner.close_traps();
                self.tell(here, Some(task.id()), None, Step::TrapsDropped(dropped));
                bury(inner, &ctx, task);
            });
            let ended = members(&ctx, |_| true);
            for event in &ended {
                ctx.lock().detach(event.index, End::Exit);
            }
            self.part(&ended, by);
        }
        self.tell(by.here(), Some(task.id()), None, Step::Exited);
        Ok(())
    }

    /// What happens to events that have just ended: inherited ones leave their family, which keeps
    /// what they counted, and the owners of the others hear of it.
    fn part(&self, ended: &[Event], by: &mut impl Caller) {
        for event in ended {
            if event.core.parent.is_some() {
                if let Some(parent) = top(&event.core)
                    && let Some(family) = &parent.family
                {
                    let mut family = family.lock(by);
                    let known = family.children.len();
                    let own = |child: &Event| Arc::ptr_eq(&child.core, &event.core);
                    family.children.retain(|child| !own(child));
                    // Once: whoever closes the family has taken it out before.
                    if family.children.len() < known {
                        family.dead.add(totals(event));
                    }
                }
                let mut ctx = event.ctx.lock();
                ctx.at(event.index).life.end(End::Close);
                ctx.release(event.index);
            } else if let Some(owner) = &event.core.owner {
                owner.notify(event.core.id, Notice::Hup);
            }
        }
    }

    /// The context of a task, if it has one, which stays with it for now.
    fn pinned(&self, task: &Task) -> Result<Option<Pinned>, PerfError> {
        loop {
            match task.0.slot() {
                Slot::Closed => return Err(PerfError::NoSuchTask),
                Slot::Empty => return Ok(None),
                Slot::Context(ctx) => {
                    if let Some(pinned) = pin(ctx, task) {
                        return Ok(Some(pinned));
                    }
                    yield_now();
                }
            }
        }
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Cpu<S, C, O> {
    /// The current task exits: everything of it leaves the counters.
    pub(super) fn exit_here(&mut self, task: &Task, ctx: &Arc<Context>) -> Reply {
        if !self.is_task_ctx(ctx) {
            return Reply::NotHere;
        }
        self.locked(|pmu, both| {
            let Some(inner) = &mut both.task else {
                return;
            };
            // First: what the last look at the counters finds is nobody's trap any more (T4).
            let dropped = inner.close_traps();
            pmu.perf.tell(
                Some(pmu.vcpu),
                Some(task.id()),
                None,
                Step::TrapsDropped(dropped),
            );
            let sight = pmu.sight(None, true);
            pmu.class_out(inner, Class::Flexible, &sight);
            pmu.class_out(inner, Class::Pinned, &sight);
            inner.deactivate(pmu.now);
            bury(inner, ctx, task);
        });
        self.task_ctx = None;
        Reply::Done
    }

    /// The vCPU's own context begins.
    pub(super) fn go_online(&mut self) {
        self.pmu.look();
        {
            let mut ctx = self.ctx.lock();
            if ctx.online {
                return;
            }
            ctx.online = true;
            ctx.activate(self.pmu.vcpu, self.pmu.now);
        }
        self.online = true;
        self.tell(None, Step::Online);
    }

    /// The vCPU's own context ends, and no task is current any more.
    pub(super) fn go_offline(&mut self) {
        if !self.online {
            return;
        }
        if let Some(current) = self.task.clone() {
            // The guest did not say so, but it runs nowhere now.
            let switched = self.switch(Some(&current), super::Leaves::Queued, None);
            debug_assert!(switched.is_ok());
        }
        self.pmu.vcpu_events = true;
        let ended = self.locked(|pmu, both| {
            let Some(ctx) = both.level(Level::Vcpu) else {
                return Vec::new();
            };
            let sight = pmu.sight(None, true);
            (0..GUESTS).for_each(|counter| pmu.guest_out(ctx, counter));
            pmu.class_out(ctx, Class::Flexible, &sight);
            pmu.class_out(ctx, Class::Pinned, &sight);
            let ended: Vec<_> = attached(ctx, |_| true);
            for (index, _) in &ended {
                ctx.detach(*index, End::Exit);
            }
            ctx.deactivate(pmu.now);
            ctx.online = false;
            pmu.vcpu_events = false;
            ended
        });
        self.online = false;
        self.set_page(None);
        for (_, core) in ended {
            if let Some(owner) = &core.owner {
                owner.notify(core.id, Notice::Hup);
            }
        }
        self.tell(None, Step::Offline);
    }
}

/// The context is nobody's any more (I8). Its lock is held, and nothing of it is on a counter.
fn bury(inner: &mut Ctx, ctx: &Arc<Context>, task: &Task) {
    inner.holder = Holder::Tombstone;
    // Whether it acknowledges what it was handed is nobody's business any more.
    task.0.silence();
    inner.unclone();
    let closed = task.0.close(Some(ctx));
    debug_assert!(closed, "a pinned context stays with its task");
}

fn totals(event: &Event) -> Totals {
    event.ctx.lock().at(event.index).totals()
}

fn attached(ctx: &Ctx, filter: impl Fn(&EventCore) -> bool) -> Vec<(usize, Arc<EventCore>)> {
    let entries = ctx
        .iter()
        .filter(|(_, entry)| entry.attached && filter(&entry.core));
    entries
        .map(|(index, entry)| (index, Arc::clone(&entry.core)))
        .collect()
}

/// The events in a context's lists.
fn members(ctx: &Arc<Context>, filter: impl Fn(&EventCore) -> bool) -> Vec<Event> {
    let events = attached(&ctx.lock(), filter).into_iter();
    events
        .map(|(index, core)| Event {
            core,
            ctx: Arc::clone(ctx),
            index,
        })
        .collect()
}

/// The events of a context in the order in which a copy gets them: leaders in front of their
/// groups.
fn seeds(ctx: &mut Ctx) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for class in [Class::Pinned, Class::Flexible] {
        let mut group = 0;
        while let Some(leader) = ctx.leader(class, group) {
            let mut nth = 0;
            while let Some(member) = ctx.member(leader, nth) {
                seeds.push(Seed {
                    core: Arc::clone(&ctx.at(member).core),
                    index: member,
                    leads: member == leader,
                });
                nth += 1;
            }
            group += 1;
        }
    }
    seeds
}
