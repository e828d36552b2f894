// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The engine: what all vCPUs and all tasks share.

use core::fmt;
use std::boxed::Box;

use vcpu_call::VcpuId;

use super::announce::Announcements;
use super::call::{Call, Caller, PerfCallRef, PerfReply, Reply};
use super::cpu::Cpu;
use super::ctx::{Context, ContextId, Ctx, Holder, Ids};
use super::observe::{PerfObserver, Record, Retry, Step};
use super::task::Task;
use super::{EventId, PerfError, TaskId};
use crate::source::MAX_SLOTS;
use crate::sync::{Arc, AtomicU32, Ordering, Tally, yield_now};
use crate::{CounterSource, EventConfig, Nanos, NoObserver};

/// The host's monotonic clock, as the engine sees it.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use vpmu::Nanos;
/// use vpmu::context::Clock;
///
/// let ticks = AtomicU64::new(7);
/// let clock = || Nanos(ticks.load(Ordering::Relaxed));
/// assert_eq!(clock.now(), Nanos(7));
/// ```
pub trait Clock: Send + Sync {
    /// The time now. Must not block.
    fn now(&self) -> Nanos;
}

impl<F: Fn() -> Nanos + Send + Sync> Clock for F {
    fn now(&self) -> Nanos {
        self()
    }
}

/// What an engine is made for.
#[derive(Clone, Copy, Debug)]
pub struct PerfConfig {
    /// vCPUs that there can ever be; all are offline at first.
    pub vcpus: u32,
    /// Counters a vCPU, at most [`MAX_SLOTS`].
    pub slots: usize,
    /// The least time between two overflows of an event (V4); 0 for none.
    pub interval: Nanos,
    /// What the sources of the vCPUs can count: all of them the same.
    pub supports: fn(&EventConfig) -> bool,
    /// Guests keep a [`Page`](super::Page) for each vCPU and announce their switches only while its
    /// flag is up. Otherwise they announce all of them.
    pub pages: bool,
}

impl PerfConfig {
    /// So many vCPUs with four counters each, that count anything; 10 µs between overflows.
    pub fn new(vcpus: u32) -> Self {
        Self {
            vcpus,
            slots: 4,
            interval: Nanos::from_micros(10),
            supports: |_| true,
            pages: false,
        }
    }
}

/// The perf core of one virtual machine. A handle, cheap to clone.
pub struct Perf<C, O = NoObserver>(Arc<Shared<C, O>>);

struct Shared<C, O> {
    config: PerfConfig,
    clock: C,
    observer: O,
    vcpus: Box<[Seat]>,
    announcements: Option<Arc<Announcements>>,
    tasks: Tally,
    events: Tally,
    contexts: Tally,
}

/// A vCPU that there can be.
struct Seat {
    ctx: Arc<Context>,
    /// 1 while there is a [`Cpu`] of it.
    taken: AtomicU32,
}

impl<C, O> Clone for Perf<C, O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Clock> Perf<C> {
    /// An engine that nobody watches.
    pub fn new(config: PerfConfig, clock: C) -> Self {
        Self::with_observer(config, clock, NoObserver)
    }
}

impl<C: Clock, O: PerfObserver> Perf<C, O> {
    /// An engine whose every step `observer` sees.
    pub fn with_observer(config: PerfConfig, clock: C, observer: O) -> Self {
        let seat = |vcpu| Seat {
            ctx: Arc::new(Context::new(
                ContextId(u64::from(vcpu)),
                Holder::Vcpu(VcpuId(vcpu)),
            )),
            taken: AtomicU32::new(0),
        };
        Self(Arc::new(Shared {
            config,
            clock,
            observer,
            vcpus: (0..config.vcpus).map(seat).collect(),
            announcements: config
                .pages
                .then(|| Arc::new(Announcements::new(config.vcpus))),
            tasks: Tally::new(0),
            events: Tally::new(0),
            contexts: Tally::new(u64::from(config.vcpus)),
        }))
    }

    /// The vCPU's side of the engine, for the vCPU's thread. It is offline as yet.
    ///
    /// # Errors
    /// [`PerfError::NoSuchVcpu`] if there is none of that number, [`PerfError::Attached`] while
    /// there is another one.
    pub fn cpu<S: CounterSource>(
        &self,
        vcpu: VcpuId,
        source: S,
    ) -> Result<Cpu<S, C, O>, PerfError> {
        let seat = self.seat(vcpu)?;
        if seat.taken.swap(1, Ordering::AcqRel) != 0 {
            return Err(PerfError::Attached(vcpu));
        }
        Ok(Cpu::new(self.clone(), vcpu, Arc::clone(&seat.ctx), source))
    }

    pub(super) fn detach_cpu(&self, vcpu: VcpuId) {
        if let Ok(seat) = self.seat(vcpu) {
            seat.taken.store(0, Ordering::Release);
        }
    }

    /// A new task without events, queued on `vcpu`.
    ///
    /// # Errors
    /// [`PerfError::NoSuchVcpu`] if there is no vCPU of that number; it may be offline.
    pub fn create_task(&self, vcpu: VcpuId) -> Result<Task, PerfError> {
        self.seat(vcpu)?;
        let task = Task::new(TaskId(next(&self.0.tasks)), vcpu);
        self.tell(None, Some(task.id()), None, Step::Created(None));
        Ok(task)
    }

    /// A task that is not current is placed on `vcpu`.
    ///
    /// # Errors
    /// [`PerfError::Current`] if it is current, [`PerfError::NoSuchTask`] if it has exited,
    /// [`PerfError::NoSuchVcpu`] if there is no such vCPU.
    pub fn migrate(&self, task: &Task, vcpu: VcpuId) -> Result<(), PerfError> {
        self.announce(task, Step::Migrate(vcpu), || {
            self.seat(vcpu)?;
            let moved = task.0.word.migrate(vcpu);
            moved.map(|_| ()).map_err(|place| PerfError::Current {
                task: task.id(),
                vcpu: place.vcpu(),
            })
        })
    }

    /// A blocked task is queued on `vcpu`.
    ///
    /// # Errors
    /// [`PerfError::NotBlocked`] if it is not blocked, [`PerfError::NoSuchTask`] if it has exited,
    /// [`PerfError::NoSuchVcpu`] if there is no such vCPU.
    pub fn wake(&self, task: &Task, vcpu: VcpuId) -> Result<(), PerfError> {
        self.announce(task, Step::Wake(vcpu), || {
            self.seat(vcpu)?;
            let woken = task.0.word.wake(vcpu);
            woken.map_err(|_| PerfError::NotBlocked(task.id()))
        })
    }

    fn announce(
        &self,
        task: &Task,
        step: Step,
        check: impl FnOnce() -> Result<(), PerfError>,
    ) -> Result<(), PerfError> {
        let result = if task.has_exited() {
            Err(PerfError::NoSuchTask)
        } else {
            check()
        };
        let step = if result.is_ok() { step } else { Step::Refused };
        self.tell(None, Some(task.id()), None, step);
        result
    }

    /// The vCPU of that number comes online.
    ///
    /// # Errors
    /// [`PerfError::NoSuchVcpu`] if its thread takes no calls.
    pub fn online(&self, vcpu: VcpuId, by: &mut impl Caller) -> Result<(), PerfError> {
        self.hotplug(vcpu, Call::Online, by)
    }

    /// The vCPU of that number goes offline: its events end, readable for ever, and its current
    /// task is queued. Task events are not touched.
    ///
    /// # Errors
    /// [`PerfError::NoSuchVcpu`] if its thread takes no calls.
    pub fn offline(&self, vcpu: VcpuId, by: &mut impl Caller) -> Result<(), PerfError> {
        self.hotplug(vcpu, Call::Offline, by)
    }

    fn hotplug(&self, vcpu: VcpuId, call: Call<'_>, by: &mut impl Caller) -> Result<(), PerfError> {
        let seat = self.seat(vcpu)?;
        let _gate = seat.ctx.gate.enter(by);
        let reply = by.call(vcpu, PerfCallRef(call));
        reply.map(|_| ()).map_err(|_| PerfError::NoSuchVcpu(vcpu))
    }

    /// The observer.
    pub fn observer(&self) -> &O {
        &self.0.observer
    }

    /// The time now, by the engine's clock.
    pub fn now(&self) -> Nanos {
        self.0.clock.now()
    }

    pub(super) fn slots(&self) -> usize {
        self.0.config.slots.min(MAX_SLOTS)
    }

    pub(super) fn interval(&self) -> Nanos {
        self.0.config.interval
    }

    pub(super) fn supports(&self, config: &EventConfig) -> bool {
        (self.0.config.supports)(config)
    }

    /// Who needs announcements, if they are not made all the time.
    pub(super) fn announcements(&self) -> Option<&Arc<Announcements>> {
        self.0.announcements.as_ref()
    }

    pub(super) fn vcpu_ctx(&self, vcpu: VcpuId) -> Result<&Arc<Context>, PerfError> {
        Ok(&self.seat(vcpu)?.ctx)
    }

    fn seat(&self, vcpu: VcpuId) -> Result<&Seat, PerfError> {
        let seat = self.0.vcpus.get(vcpu.index());
        seat.ok_or(PerfError::NoSuchVcpu(vcpu))
    }

    pub(super) fn new_task_id(&self) -> TaskId {
        TaskId(next(&self.0.tasks))
    }

    pub(super) fn new_event_id(&self) -> EventId {
        EventId(next(&self.0.events))
    }

    /// The first of a block of names for events.
    #[cold]
    pub(super) fn event_ids(&self) -> EventId {
        EventId(self.0.events.fetch_add(Ids::BLOCK, Ordering::Relaxed) + 1)
    }

    pub(super) fn new_context(&self, holder: Holder) -> Context {
        Context::new(ContextId(next(&self.0.contexts)), holder)
    }

    /// Tells the observer, if anybody looks.
    #[inline]
    pub(super) fn tell(
        &self,
        vcpu: Option<VcpuId>,
        task: Option<TaskId>,
        event: Option<EventId>,
        step: Step,
    ) {
        if O::LOOKS && self.0.observer.looks() {
            self.0.observer.record(&Record {
                time: self.now(),
                vcpu,
                task,
                event,
                step,
            });
        }
    }

    /// Sends a call and tells so.
    #[inline]
    pub(super) fn send(
        &self,
        target: VcpuId,
        call: Call<'_>,
        event: Option<EventId>,
        by: &mut impl Caller,
    ) -> Option<Reply> {
        self.tell(by.here(), None, event, Step::CallSent(target));
        match by.call(target, PerfCallRef(call)) {
            Ok(reply) => Some(reply.0),
            Err(_) => {
                self.tell(by.here(), None, event, Step::CallRefused(target));
                None
            }
        }
    }

    /// Does something to a context wherever it is: on the vCPU that schedules it, by `call`, or
    /// here under its lock, by `local`.
    ///
    /// Only for contexts that have events or are about to lose their task: there, being active is
    /// being scheduled. Which vCPU that is can change until the call arrives; it is asked again
    /// then. A refused call is no reason to wait: a vCPU that goes offline lets go of its contexts
    /// first.
    #[inline]
    pub(super) fn on_context<R>(
        &self,
        ctx: &Context,
        event: Option<EventId>,
        by: &mut impl Caller,
        call: Call<'_>,
        local: impl FnOnce(&mut Ctx) -> R,
    ) -> Ran<R> {
        // A vCPU's own events are mostly those of its current task: it need not ask where they are.
        if let Some(here) = by.here()
            && let Ok(PerfReply(reply)) = by.call(here, PerfCallRef(call))
            && reply != Reply::NotHere
        {
            return Ran::There(reply);
        }
        loop {
            let vcpu = {
                let mut inner = ctx.lock();
                match inner.active {
                    None => return Ran::Here(local(&mut inner)),
                    Some(vcpu) => vcpu,
                }
            };
            let why = match self.send(vcpu, call, event, by) {
                Some(Reply::NotHere) => Retry::NotHere,
                Some(reply) => return Ran::There(reply),
                None => Retry::Offline,
            };
            self.tell(by.here(), None, event, Step::Retry(why));
            yield_now();
        }
    }
}

/// Where something was done to a context.
pub(super) enum Ran<R> {
    /// On the vCPU that schedules it.
    There(Reply),
    /// Under its lock: no vCPU does.
    Here(R),
}

fn next(tally: &Tally) -> u64 {
    tally.fetch_add(1, Ordering::Relaxed) + 1
}

impl<C, O> fmt::Debug for Perf<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Perf")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}
