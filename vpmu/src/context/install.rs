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

use std::boxed::Box;

use super::call::{Call, Caller, Offer, Op, Reply};
use super::ctx::{Context, Ctx, Holder};
use super::event::{EventCore, EventId, Family, Owner};
use super::life::End;
use super::observe::{PerfObserver, Retry, Step};
use super::order::{Place, full_fence};
use super::perf::{Clock, Perf};
use super::task::Slot;
use super::{Attr, Event, PerfError, Target, Task, TaskId};
use crate::sync::{Arc, Weak, yield_now};
use vcpu_call::{ServingLock, VcpuId};

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

/// Why an event was not let into a context.
pub(super) enum NotAdmitted {
    /// The context is not the task's any more: it has another one, or has exited.
    Traded,
    /// For good.
    Refused(PerfError),
}

impl From<PerfError> for NotAdmitted {
    fn from(error: PerfError) -> Self {
        Self::Refused(error)
    }
}

impl From<NotAdmitted> for Reply {
    fn from(why: NotAdmitted) -> Self {
        match why {
            NotAdmitted::Traded => Self::Traded,
            NotAdmitted::Refused(error) => Self::Refused(error),
        }
    }
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

impl Ctx {
    /// Puts an event into the lists, if everything still is as it was when it was asked for. Its
    /// place. From here on the context is no copy of another's, so that it stays with its task.
    #[inline]
    pub(super) fn admit(&mut self, offer: &Offer<'_>, slots: usize) -> Result<usize, NotAdmitted> {
        match (&self.holder, offer.task) {
            // Of whom? Of this task, or of one that it was traded away to: the task itself knows.
            (Holder::Tombstone, _) => return Err(NotAdmitted::Traded),
            (Holder::Vcpu(vcpu), _) if !self.online => {
                return Err(PerfError::NoSuchVcpu(*vcpu).into());
            }
            (Holder::Task(holder, _), Some(task)) if *holder != task => {
                return Err(NotAdmitted::Traded);
            }
            (Holder::Vcpu(_) | Holder::Task(..), _) => {}
        }
        let leader = match offer.group {
            None => None,
            Some(leader) => Some(self.leads(leader, offer.core, slots)?),
        };
        let index = self.reserve(Arc::clone(offer.core), leader);
        self.attach(index);
        Ok(index)
    }

    /// The place of `leader`, if `core` may join its group.
    fn leads(
        &mut self,
        leader: &Event,
        core: &EventCore,
        slots: usize,
    ) -> Result<usize, PerfError> {
        let entry = self.entry(leader).ok_or(PerfError::Closed)?;
        if entry.leader != leader.index || !entry.attached {
            return Err(PerfError::Invalid("the leader leads no group"));
        }
        if entry.core.filter != core.filter || entry.core.attr.inherit != core.attr.inherit {
            return Err(PerfError::Invalid("a group has one target"));
        }
        if entry.siblings.len() + 2 > slots {
            return Err(PerfError::Invalid(
                "the group has more events than counters",
            ));
        }
        Ok(leader.index)
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
        self.open_counting_rounds(open, by).map(|(event, _)| event)
    }

    /// As [`open`](Self::open), with the number of rounds that it took: how often the target was
    /// looked for until the event was installed, as [`Step::Round`] tells it. A vCPU stays where it
    /// is and takes one.
    ///
    /// ```
    /// use vcpu_call::{Calls, VcpuId};
    /// use vpmu::context::{Attr, HostThread, Open, Perf, PerfConfig, Target};
    /// use vpmu::{Event, EventConfig, Nanos};
    ///
    /// let calls = Calls::new(1, |_: VcpuId| ());
    /// let perf = Perf::new(PerfConfig::new(1), || Nanos(0));
    /// let task = perf.create_task(VcpuId(0))?;
    /// let attr = Attr::counting(EventConfig::everywhere(Event::CoreCycles));
    /// let open = Open::new(attr, Target::Task(&task));
    /// let (event, rounds) = perf.open_counting_rounds(&open, &mut HostThread::new(&calls))?;
    /// assert_eq!(rounds, 1, "the task runs nowhere, and stays there");
    /// # let _ = event;
    /// # Ok::<(), vpmu::context::PerfError>(())
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_counting_rounds(
        &self,
        open: &Open<'_>,
        by: &mut impl Caller,
    ) -> Result<(Event, u32), PerfError> {
        open.attr.check_for(&open.target)?;
        if open.group.is_some() && open.attr.pinned {
            return Err(PerfError::Invalid("a group is pinned by its leader"));
        }
        if !self.supports(&open.attr.config) {
            return Err(PerfError::NotCounted);
        }
        match open.target {
            Target::Vcpu(vcpu) => self.open_on_vcpu(vcpu, open, by).map(|event| (event, 1)),
            Target::Task(task) => self.open_in_task(task, None, open, by),
            Target::TaskOn(task, vcpu) => {
                self.vcpu_ctx(vcpu)?;
                self.open_in_task(task, Some(vcpu), open, by)
            }
        }
    }

    /// The event, in no context yet.
    fn make(&self, id: EventId, open: &Open<'_>, filter: Option<VcpuId>) -> Arc<EventCore> {
        Arc::new(EventCore {
            id,
            top: id,
            attr: open.attr,
            filter,
            parent: None,
            family: open
                .attr
                .inherit
                .then(|| Box::new(ServingLock::new(Family::default()))),
            traps: open.attr.sigtrap.map(|_| Arc::default()),
            owner: open.owner.clone(),
            announcements: match open.target {
                Target::Vcpu(_) => None,
                Target::Task(_) | Target::TaskOn(..) => self.announcements().cloned(),
            },
        })
    }

    fn open_on_vcpu(
        &self,
        vcpu: VcpuId,
        open: &Open<'_>,
        by: &mut impl Caller,
    ) -> Result<Event, PerfError> {
        let ctx = self.vcpu_ctx(vcpu)?;
        let _gate = ctx.gate.enter(by);
        let core = self.make(ctx.ids.next(|| self.event_ids()), open, None);
        let offer = offer(&core, ctx, open.group, None)?;
        self.tell(by.here(), None, Some(core.id), Step::Open);
        if !ctx.lock().online {
            return Err(PerfError::NoSuchVcpu(vcpu));
        }
        match self.send(vcpu, Call::Install(offer), Some(core.id), by) {
            Some(Reply::Installed(index)) => Ok(Event {
                ctx: Arc::clone(ctx),
                core,
                index,
            }),
            Some(Reply::Refused(error)) => Err(error),
            _ => Err(PerfError::NoSuchVcpu(vcpu)),
        }
    }

    fn open_in_task(
        &self,
        task: &Task,
        filter: Option<VcpuId>,
        open: &Open<'_>,
        by: &mut impl Caller,
    ) -> Result<(Event, u32), PerfError> {
        if task.has_exited() {
            return Err(PerfError::NoSuchTask);
        }
        // Until the event asks for itself.
        let _announced = self.ask(by);
        let mut made = None;
        let mut round = 0;
        loop {
            let ctx = self.context_for(task)?;
            let gate = ctx.gate.enter(by);
            let core = made.take().unwrap_or_else(|| {
                let id = ctx.ids.next(|| self.event_ids());
                self.tell(by.here(), Some(task.id()), Some(id), Step::Open);
                self.make(id, open, filter)
            });
            let offer = offer(&core, &ctx, open.group, Some(task.id()))?;
            let installed = self.install(&offer, task, &mut round, by);
            drop(gate);
            match installed {
                Ok(index) => return Ok((Event { core, ctx, index }, round)),
                Err(NotAdmitted::Refused(error)) => return Err(error),
                Err(NotAdmitted::Traded) => self.retry(core.id, Retry::Traded, by),
            }
            made = Some(core);
        }
    }

    /// Puts an event into the lists of its task's context. The gate is held.
    fn install(
        &self,
        offer: &Offer<'_>,
        task: &Task,
        round: &mut u32,
        by: &mut impl Caller,
    ) -> Result<usize, NotAdmitted> {
        if task.has_exited() {
            return Err(PerfError::NoSuchTask.into());
        }
        if offer.core.attr.disabled {
            // One that waits to be enabled needs nobody's help, unless it is the first.
            let mut ctx = offer.ctx.lock();
            if ctx.attached() > 0 {
                return ctx.admit(offer, self.slots());
            }
        }
        // N1: from here on, a switch to the task finds the context, or the task is found running. On
        // the task's own vCPU, whose thread this is, nothing can switch meanwhile.
        if by.here().map(Place::Current) != Some(task.place()) {
            full_fence();
        }
        let mut pinned = None;
        loop {
            *round += 1;
            let place = task.place();
            // After the look, so that an observer stands between the two.
            let about = (Some(task.id()), Some(offer.core.id));
            self.tell(by.here(), about.0, about.1, Step::Round(*round));
            if let Some(reply) = self.call_task(offer, task, place, by) {
                return reply;
            }
            {
                let mut ctx = offer.ctx.lock();
                // N3: the lock serialises this with the switch that comes next. A context that was
                // traded away says so at once: one switch costs one round (I5).
                let own = ctx.holder.is_task(&task.0);
                if !own || !matches!(task.place(), Place::Current(_)) {
                    return ctx.admit(offer, self.slots());
                }
                // Found once, it is not traded away by the very switch that it was found in.
                if pinned.is_none() {
                    ctx.pins += 1;
                    pinned = Some(Pinned(Arc::clone(offer.ctx)));
                }
            }
            self.retry(offer.core.id, Retry::Running, by);
        }
    }

    /// Installs on the vCPU that the task is current on; `None` if it is not current anywhere.
    fn call_task(
        &self,
        offer: &Offer<'_>,
        task: &Task,
        mut place: Place,
        by: &mut impl Caller,
    ) -> Option<Result<usize, NotAdmitted>> {
        loop {
            let Place::Current(vcpu) = place else {
                return None;
            };
            match self.send(vcpu, Call::Install(*offer), Some(offer.core.id), by) {
                Some(Reply::Installed(index)) => return Some(Ok(index)),
                Some(Reply::Refused(error)) => return Some(Err(error.into())),
                Some(Reply::Traded) => return Some(Err(NotAdmitted::Traded)),
                // N4: a refused call is an answer, too.
                Some(Reply::NotHere | Reply::Done) | None => return None,
                Some(Reply::Moved) => self.retry(offer.core.id, Retry::Moved, by),
            }
            place = task.place();
        }
    }

    fn retry(&self, event: EventId, why: Retry, by: &impl Caller) {
        self.tell(by.here(), None, Some(event), Step::Retry(why));
        yield_now();
    }

    /// The context of a task, made and published if it has none.
    fn context_for(&self, task: &Task) -> Result<Arc<Context>, PerfError> {
        loop {
            match task.0.slot() {
                Slot::Closed => return Err(PerfError::NoSuchTask),
                Slot::Context(ctx) => return Ok(ctx),
                Slot::Empty => {
                    let holder = Holder::Task(task.id(), Arc::downgrade(&task.0));
                    let ctx = Arc::new(self.new_context(holder));
                    if task.0.publish(&ctx).is_ok() {
                        return Ok(ctx);
                    }
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
        let remove = Op::Remove(End::Close);
        {
            let _gate = event.ctx.gate.enter(by);
            if !self.operate(event, remove, by) {
                return Err(PerfError::Closed);
            }
        }
        if let Some(family) = &event.core.family {
            self.close_family(family, by);
        }
        self.tell(by.here(), None, Some(event.id()), Step::Close);
        Ok(())
    }

    /// Closes all that were inherited from an event that was closed.
    fn close_family(&self, family: &ServingLock<Family>, by: &mut impl Caller) {
        let children = {
            let mut family = family.lock(by);
            family.closed = true;
            core::mem::take(&mut family.children)
        };
        for child in children {
            let _gate = child.ctx.gate.enter(by);
            // Its task may have exited since: then it is closed already.
            self.operate(&child, Op::Remove(End::Close), by);
        }
    }
}

/// What `core` asks of `ctx`.
fn offer<'a>(
    core: &'a Arc<EventCore>,
    ctx: &'a Arc<Context>,
    group: Option<&'a Event>,
    task: Option<TaskId>,
) -> Result<Offer<'a>, PerfError> {
    if group.is_some_and(|leader| !Arc::ptr_eq(&leader.ctx, ctx)) {
        return Err(PerfError::Invalid("a group has one target"));
    }
    Ok(Offer {
        core,
        ctx,
        group,
        task,
    })
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
        family: None,
        traps: parent.traps.clone(),
        owner: parent.owner.clone(),
        announcements: parent.announcements.clone(),
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
