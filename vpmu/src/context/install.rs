// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Open: an event finds its context and is installed, wherever the target is and goes meanwhile.
//!
//! The first event of a task's context is the hard case, because a context without events says
//! nothing about where its task runs.
//!
//! - **N1** The context is published before the installer looks for the task, with a full fence
//!   between the two (O1). A switch does it the other way round (O2). So a task that the installer
//!   does not find running finds the context when it runs.
//! - **N2** A task that runs is asked on its vCPU. There it is its current task, and the event is on
//!   a counter when the call returns; or it has left, and nothing was done.
//! - **N3** A task that does not run gets the event here, under its context's lock, in which
//!   "does not run" is tested again. If it does by now, the search starts over.
//! - **N4** No answer of a vCPU is waited for that will not come: one that is offline refuses, and
//!   the task is looked for under the lock like any that has left.
//! - **N5** The search starts over only when the task has switched or migrated since.

use super::call::{Call, Caller, Reply};
use super::ctx::{Context, Holder};
use super::event::{EventCore, Family, Owner};
use super::life::{End, State};
use super::observe::{PerfObserver, Retry, Step};
use super::order::{Place, full_fence};
use super::perf::{Clock, Perf};
use super::task::Slot;
use super::{Attr, Event, PerfError, Target, Task};
use crate::sync::{Arc, Weak, yield_now};
use vcpu_call::ServingLock;

/// Everything about an event that is to be opened.
#[derive(Clone)]
pub struct Open<'a> {
    /// What it is.
    pub attr: Attr,
    /// What it is attached to.
    pub target: Target<'a>,
    /// The leader of the group that it joins.
    pub group: Option<&'a Event>,
    /// Who is told of its overflows.
    pub owner: Option<Arc<dyn Owner>>,
}

impl<'a> Open<'a> {
    /// An event that leads its group, if it comes to that, and whose owner asks.
    pub const fn new(attr: Attr, target: Target<'a>) -> Self {
        Self {
            attr,
            target,
            group: None,
            owner: None,
        }
    }
}

/// How a search for a task on its vCPU ended.
enum Found {
    Installed,
    /// It was not current, or its vCPU is offline.
    NotCurrent,
    Exited,
}

/// A context that stays with its task as long as this lives.
pub(super) struct Pinned(Arc<Context>);

impl Drop for Pinned {
    fn drop(&mut self) {
        self.0.lock().pins -= 1;
    }
}

impl core::ops::Deref for Pinned {
    type Target = Arc<Context>;

    fn deref(&self) -> &Arc<Context> {
        &self.0
    }
}

impl<C: Clock, O: PerfObserver> Perf<C, O> {
    /// Opens an event. When this returns, it counts, or will at the target's very next entry to
    /// the guest (I3).
    ///
    /// Whether the requester may watch the target is for the VMM to decide before.
    ///
    /// # Errors
    /// [`PerfError::Invalid`] for what contradicts itself, [`PerfError::NotCounted`] for what no
    /// source counts, [`PerfError::NoSuchTask`] for a task that has exited,
    /// [`PerfError::NoSuchVcpu`] for a vCPU event on a vCPU that is offline,
    /// [`PerfError::Closed`] for a leader that was closed.
    pub fn open(&self, open: &Open<'_>, by: &mut impl Caller) -> Result<Event, PerfError> {
        open.attr.check_for(&open.target)?;
        if open.group.is_some() && open.attr.pinned {
            return Err(PerfError::Invalid("a group is pinned by its leader"));
        }
        if !self.supports(&open.attr.config) {
            return Err(PerfError::NotCounted);
        }
        match open.target {
            Target::Vcpu(vcpu) => {
                let ctx = self.vcpu_ctx(vcpu)?;
                self.open_in(ctx, None, open, by)
            }
            Target::Task(task) | Target::TaskOn(task, _) => {
                let ctx = self.context_for(task)?;
                self.open_in(&ctx, Some(task), open, by)
            }
        }
    }

    fn open_in(
        &self,
        ctx: &Arc<Context>,
        task: Option<&Task>,
        open: &Open<'_>,
        by: &mut impl Caller,
    ) -> Result<Event, PerfError> {
        let gate = ctx.gate.lock(by);
        let event = self.reserve(ctx, open)?;
        self.tell(by.here(), task.map(Task::id), Some(event.id()), Step::Open);
        let installed = self.install(&event, task, by);
        if installed.is_err() {
            let mut ctx = ctx.lock();
            ctx.detach(event.index, End::Close);
            ctx.release(event.index);
        }
        drop(gate);
        installed.map(|()| event)
    }

    /// Makes the event, with a place in its context that is in no list yet. The gate is held.
    fn reserve(&self, ctx: &Arc<Context>, open: &Open<'_>) -> Result<Event, PerfError> {
        let filter = match open.target {
            Target::TaskOn(_, vcpu) => {
                self.vcpu_ctx(vcpu)?;
                Some(vcpu)
            }
            Target::Vcpu(_) | Target::Task(_) => None,
        };
        let mut inner = ctx.lock();
        match &inner.holder {
            Holder::Tombstone => return Err(PerfError::NoSuchTask),
            Holder::Vcpu(vcpu) if !inner.online => return Err(PerfError::NoSuchVcpu(*vcpu)),
            Holder::Vcpu(_) | Holder::Task(..) => {}
        }
        let leader = match open.group {
            None => None,
            Some(leader) if !Arc::ptr_eq(&leader.ctx, ctx) => {
                return Err(PerfError::Invalid("a group has one target"));
            }
            Some(leader) => {
                let entry = inner.entry(leader).ok_or(PerfError::Closed)?;
                if entry.leader != leader.index || !entry.attached {
                    return Err(PerfError::Invalid("the leader leads no group"));
                }
                if entry.core.filter != filter || entry.core.attr.inherit != open.attr.inherit {
                    return Err(PerfError::Invalid("a group has one target"));
                }
                if entry.siblings.len() + 2 > self.slots() {
                    return Err(PerfError::Invalid(
                        "the group has more events than counters",
                    ));
                }
                Some(leader.index)
            }
        };
        let id = self.new_event_id();
        let core = Arc::new(EventCore {
            id,
            top: id,
            attr: open.attr,
            filter,
            parent: None,
            family: ServingLock::new(Family::default()),
            traps: Arc::default(),
            owner: open.owner.clone(),
        });
        let index = inner.reserve(Arc::clone(&core), leader);
        Ok(Event {
            core,
            ctx: Arc::clone(ctx),
            index,
        })
    }

    /// Puts a reserved event into its context's lists. The gate is held.
    fn install(
        &self,
        event: &Event,
        task: Option<&Task>,
        by: &mut impl Caller,
    ) -> Result<(), PerfError> {
        {
            // One that waits to be enabled needs nobody's help, unless it is the first.
            let mut ctx = event.ctx.lock();
            let off = ctx.at(event.index).life.state() == State::Off;
            if off && ctx.attached() > 0 && !ctx.holder.is_tombstone() {
                ctx.attach(event.index);
                return Ok(());
            }
        }
        match task {
            Some(task) => self.install_in_task(event, task, by),
            None => self.install_in_vcpu(event, by),
        }
    }

    fn install_in_vcpu(&self, event: &Event, by: &mut impl Caller) -> Result<(), PerfError> {
        let Holder::Vcpu(vcpu) = event.ctx.lock().holder else {
            return Err(PerfError::NoSuchTask);
        };
        match self.send(vcpu, Call::Install(event.clone()), Some(event), by) {
            Some(Reply::Done) => Ok(()),
            _ => Err(PerfError::NoSuchVcpu(vcpu)),
        }
    }

    fn install_in_task(
        &self,
        event: &Event,
        task: &Task,
        by: &mut impl Caller,
    ) -> Result<(), PerfError> {
        // N1: from here on, a switch to the task finds the context, or the task is found running.
        full_fence();
        let mut round = 0;
        loop {
            round += 1;
            let place = task.place();
            // After the look, so that an observer stands between the two.
            self.tell(
                by.here(),
                Some(task.id()),
                Some(event.id()),
                Step::Round(round),
            );
            match self.call_task(event, task, place, by) {
                Found::Installed => return Ok(()),
                Found::Exited => return Err(PerfError::NoSuchTask),
                Found::NotCurrent => {}
            }
            {
                let mut ctx = event.ctx.lock();
                if ctx.holder.is_tombstone() {
                    return Err(PerfError::NoSuchTask);
                }
                // N3: the lock serialises this with the switch that comes next.
                if !matches!(task.place(), Place::Current(_)) {
                    ctx.attach(event.index);
                    return Ok(());
                }
            }
            self.retry(event, Retry::Running, by);
        }
    }

    /// Installs on the vCPU that the task is current on, if it is current anywhere.
    fn call_task(
        &self,
        event: &Event,
        task: &Task,
        mut place: Place,
        by: &mut impl Caller,
    ) -> Found {
        loop {
            let Place::Current(vcpu) = place else {
                return Found::NotCurrent;
            };
            match self.send(vcpu, Call::Install(event.clone()), Some(event), by) {
                Some(Reply::Done) => return Found::Installed,
                Some(Reply::Gone) => return Found::Exited,
                Some(Reply::NotHere) => return Found::NotCurrent,
                // N4
                None => return Found::NotCurrent,
                Some(Reply::Moved) => self.retry(event, Retry::Moved, by),
            }
            place = task.place();
        }
    }

    fn retry(&self, event: &Event, why: Retry, by: &impl Caller) {
        self.tell(by.here(), None, Some(event.id()), Step::Retry(why));
        yield_now();
    }

    /// The context of a task, made if it has none, which stays with it for now and is no copy of
    /// another's any more.
    fn context_for(&self, task: &Task) -> Result<Pinned, PerfError> {
        let mut fresh = None;
        loop {
            match task.0.slot() {
                Slot::Closed => return Err(PerfError::NoSuchTask),
                Slot::Context(ctx) => {
                    if let Some(pinned) = pin(ctx, task) {
                        pinned.lock().unclone();
                        return Ok(pinned);
                    }
                    // It was traded away since.
                    yield_now();
                }
                Slot::Empty => {
                    let ctx = fresh.take().unwrap_or_else(|| {
                        let holder = Holder::Task(task.id(), Arc::downgrade(&task.0));
                        Arc::new(self.new_context(holder))
                    });
                    ctx.lock().pins = 1;
                    if task.0.publish(&ctx).is_ok() {
                        return Ok(Pinned(ctx));
                    }
                    fresh = Some(ctx);
                }
            }
        }
    }

    /// Closes an event, with all that were inherited from it. No overflow of it begins after this
    /// returned; a trap on its way still arrives (T2). What it led goes on, each by itself.
    ///
    /// # Errors
    /// [`PerfError::Closed`] if it is already.
    pub fn close(&self, event: &Event, by: &mut impl Caller) -> Result<(), PerfError> {
        let children = {
            let _gate = event.ctx.gate.lock(by);
            self.remove(event, by)?;
            let mut family = event.core.family.lock(by);
            family.closed = true;
            core::mem::take(&mut family.children)
        };
        for child in children {
            let _gate = child.ctx.gate.lock(by);
            // Its task may have exited since: then it is closed already.
            let _ = self.remove(&child, by);
        }
        self.tell(by.here(), None, Some(event.id()), Step::Close);
        Ok(())
    }

    /// Takes an event out of its context and frees its place. The gate is held.
    fn remove(&self, event: &Event, by: &mut impl Caller) -> Result<(), PerfError> {
        if event.ctx.lock().entry(event).is_none() {
            return Err(PerfError::Closed);
        }
        self.operate(event, super::call::Op::Remove(End::Close), by);
        event.ctx.lock().release(event.index);
        Ok(())
    }
}

/// Pins a context, if it is still that of `task`.
pub(super) fn pin(ctx: Arc<Context>, task: &Task) -> Option<Pinned> {
    let pins = {
        let mut inner = ctx.lock();
        let pins = inner.holder.is_task(&task.0);
        inner.pins += usize::from(pins);
        pins
    };
    // Made only then: dropped, it takes a pin back.
    pins.then(|| Pinned(ctx))
}

/// An event that is inherited from `parent` by the task of `ctx`: enabled or not, in its lists.
pub(super) fn inherited<C: Clock, O: PerfObserver>(
    perf: &Perf<C, O>,
    parent: &Arc<EventCore>,
    ctx: &Arc<Context>,
    leader: Option<usize>,
    on: bool,
) -> Event {
    let core = Arc::new(EventCore {
        id: perf.new_event_id(),
        top: parent.id,
        attr: Attr {
            disabled: !on,
            ..parent.attr
        },
        filter: parent.filter,
        parent: Some(Arc::downgrade(parent)),
        family: ServingLock::new(Family::default()),
        traps: Arc::clone(&parent.traps),
        owner: parent.owner.clone(),
    });
    let mut inner = ctx.lock();
    let index = inner.reserve(Arc::clone(&core), leader);
    inner.attach(index);
    Event {
        core,
        ctx: Arc::clone(ctx),
        index,
    }
}

/// The event at the top of a family.
pub(super) fn top(core: &Arc<EventCore>) -> Option<Arc<EventCore>> {
    match &core.parent {
        None => Some(Arc::clone(core)),
        Some(parent) => Weak::upgrade(parent),
    }
}
