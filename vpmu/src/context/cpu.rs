// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vCPU's side of the engine: what runs on its thread.

use core::fmt;

use vcpu_call::VcpuId;

use super::call::{Call, PerfCallRef, PerfReply, Reply};
use super::ctx::{Class, Context, Ctx};
use super::guest;
use super::observe::{PerfObserver, Step};
use super::order::{Place, Seen};
use super::overflow::Sample;
use super::perf::{Clock, Perf};
use super::pmu::{Both, Pmu};
use super::slots::Level;
use super::task::{Slot, TaskCore};
use super::{PerfError, Task, TaskId, Trap};
use crate::sync::Arc;
use crate::{CounterSource, Nanos, NoObserver, Wake};

/// One vCPU, as its own thread sees it: counters, the current task, and the announcements that the
/// guest makes here.
///
/// It stands between exit and entry, with "interrupts off": calls of other threads run only when
/// the thread hands them to [`run`](Self::run). Before each entry to the guest: serve calls, then
/// [`count`](Self::count), [`irq_work`](Self::irq_work), [`return_to_user`](Self::return_to_user)
/// if the guest goes on in user mode, and [`arm`](Self::arm).
///
/// Dropped, it goes offline.
pub struct Cpu<S: CounterSource, C: Clock, O: PerfObserver = NoObserver> {
    pub(super) pmu: Pmu<S, C, O>,
    /// The vCPU's own context.
    pub(super) ctx: Arc<Context>,
    /// The current task.
    pub(super) task: Option<Task>,
    /// The current task's context, as far as it was there when the task came or got its first event
    /// here since. Scheduled here if and only if it is active.
    pub(super) task_ctx: Option<Arc<Context>>,
    pub(super) online: bool,
    /// The guest shares a page for this vCPU.
    pub(super) paged: bool,
}

/// What becomes of a task that stops being the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// It could go on: it stays in the vCPU's run queue.
    Queued,
    /// It waits for something.
    Blocked,
}

/// What the vCPU needs before it enters the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Armed {
    /// Look at the counters again after this many unhalted guest cycles, at the latest.
    pub in_cycles: Option<u64>,
    /// Look at the counters again at this time, at the latest.
    pub at: Option<Nanos>,
    /// Events wait for a counter: [`Cpu::rotate`] is to be called every few milliseconds.
    pub rotate: bool,
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Cpu<S, C, O> {
    pub(super) fn new(perf: Perf<C, O>, vcpu: VcpuId, ctx: Arc<Context>, source: S) -> Self {
        ctx.lock()
            .make_guests(|counter| guest::event(vcpu, counter));
        Self {
            pmu: Pmu::new(perf, vcpu, source),
            ctx,
            task: None,
            task_ctx: None,
            online: false,
            paged: false,
        }
    }

    /// Which vCPU it is.
    pub const fn id(&self) -> VcpuId {
        self.pmu.vcpu
    }

    /// The engine.
    pub const fn perf(&self) -> &Perf<C, O> {
        &self.pmu.perf
    }

    /// What counts.
    pub const fn source(&self) -> &S {
        self.pmu.slots.source()
    }

    /// What counts, to be told what happened.
    pub const fn source_mut(&mut self) -> &mut S {
        self.pmu.slots.source_mut()
    }

    /// The current task, as the host knows it.
    pub const fn current(&self) -> Option<&Task> {
        self.task.as_ref()
    }

    /// Whether the vCPU is online for the engine.
    pub const fn is_online(&self) -> bool {
        self.online
    }

    /// Whether an event of the host is on a counter here. While one is, the source is to be told of
    /// each entry to the guest and each exit, also if the guest's own counters stand still.
    pub const fn counts(&self) -> bool {
        !self.pmu.slots.is_idle()
    }

    /// Runs `f` with the contexts locked and their time up to date, then tells the owners.
    #[inline]
    pub(super) fn locked<R>(&mut self, f: impl FnOnce(&mut Pmu<S, C, O>, &mut Both<'_>) -> R) -> R {
        self.pmu.look();
        let result = self.contexts(|pmu, both| {
            both.tick(pmu.now);
            f(pmu, both)
        });
        self.pmu.notify();
        result
    }

    /// Runs `f` with the contexts locked, whatever time it is.
    #[inline]
    pub(super) fn contexts<R>(
        &mut self,
        f: impl FnOnce(&mut Pmu<S, C, O>, &mut Both<'_>) -> R,
    ) -> R {
        let mut vcpu = self.pmu.vcpu_events.then(|| self.ctx.lock());
        let mut task = self.task_ctx.as_deref().map(Context::lock);
        let mut both = Both {
            vcpu: vcpu.as_deref_mut(),
            task: task.as_deref_mut(),
        };
        f(&mut self.pmu, &mut both)
    }

    /// Looks at the counters: takes what they counted and finds what overflowed, which belongs to
    /// the task that is current now. `sample` is what the guest was doing.
    pub fn count(&mut self, sample: Option<Sample>) {
        if self.pmu.slots.is_idle() {
            return;
        }
        self.locked(|pmu, both| {
            let sight = pmu.sight(sample, false);
            for user in pmu.slots.users().into_iter().flatten() {
                // What the guest's own counters counted is for the registers to take (G5).
                if user.counter().is_none()
                    && let Some(ctx) = both.level(user.level)
                {
                    pmu.collect(ctx, user.index, &sight);
                }
            }
        });
    }

    /// Does what overflows left to do on this vCPU: events at their limit go OFF (V3).
    pub fn irq_work(&mut self) {
        if !self.pmu.limits {
            return;
        }
        self.locked(|pmu, both| {
            pmu.limits = false;
            let sight = pmu.sight(None, true);
            for user in pmu.slots.users().into_iter().flatten() {
                let Some(ctx) = both.level(user.level) else {
                    continue;
                };
                let entry = ctx.at(user.index);
                if !entry.pending_disable {
                    continue;
                }
                let (leader, event) = (entry.leader, entry.core.id);
                if leader == user.index {
                    pmu.group_out(ctx, leader, &sight);
                } else {
                    pmu.event_out(ctx, user.index, &sight);
                }
                let task = ctx.holder.task_id();
                let vcpu = Some(pmu.vcpu);
                pmu.perf.tell(vcpu, task, Some(event), Step::IrqWork);
            }
        });
    }

    /// Arms the counters for the next overflow, right before the entry to the guest.
    pub fn arm(&mut self) -> Armed {
        self.forget_if_silent();
        let mut armed = Armed::default();
        // A source that starts nothing now leaves the counters idle, and groups waiting.
        if self.pmu.slots.is_idle() && !self.pmu.waits {
            return armed;
        }
        self.contexts(|pmu, both| {
            armed.rotate = both.waits();
            pmu.waits = armed.rotate;
            for user in pmu.slots.users().into_iter().flatten() {
                let Some(ctx) = both.level(user.level) else {
                    continue;
                };
                let entry = ctx.at(user.index);
                let Some(slot) = entry.life.slot() else {
                    continue;
                };
                if entry.held {
                    armed.at = sooner(armed.at, Some(entry.rearm));
                } else if let Some(counts) = entry.distance()
                    && let Wake::InCycles(cycles) = pmu.slots.arm(slot, counts)
                {
                    armed.in_cycles = sooner(armed.in_cycles, Some(cycles));
                }
            }
        });
        armed
    }

    /// Lets the groups that wait for a counter have their turn.
    pub fn rotate(&mut self) {
        self.locked(|pmu, both| {
            let waits = |ctx: Option<&mut Ctx>| ctx.is_some_and(|ctx| ctx.rotate);
            let vcpu = waits(both.level(Level::Vcpu));
            let task = waits(both.level(Level::Task));
            if !vcpu && !task {
                return;
            }
            pmu.perf.tell(Some(pmu.vcpu), None, None, Step::Rotate);
            let sight = pmu.sight(None, true);
            if let Some(ctx) = both.level(Level::Task) {
                if task {
                    ctx.turn();
                }
                pmu.class_out(ctx, Class::Flexible, &sight);
            }
            if vcpu && let Some(ctx) = both.level(Level::Vcpu) {
                ctx.turn();
                pmu.class_out(ctx, Class::Flexible, &sight);
                pmu.class_in(ctx, Level::Vcpu, Class::Flexible);
            }
            if let Some(ctx) = both.level(Level::Task) {
                pmu.class_in(ctx, Level::Task, Class::Flexible);
            }
        });
    }

    /// The guest announces that `prev` is not current here any more and `next` is. Returns `prev`.
    ///
    /// # Errors
    /// What contradicts the host's own word, and changes nothing: `prev` is not the current task,
    /// `next` is current (here or elsewhere), blocked or has exited, the vCPU is offline.
    pub fn switch(
        &mut self,
        prev: Option<&Task>,
        leaves: Leaves,
        next: Option<Task>,
    ) -> Result<Option<Task>, PerfError> {
        match self.claim(prev, next.as_ref()) {
            Ok(()) => {}
            Err(error) => {
                let about = next.as_ref().or(prev).map(Task::id);
                self.tell(about, Step::Refused);
                return Err(error);
            }
        }
        let published = |task: &Task| task.0.published.seen() == Seen::Context;
        if self.task_ctx.is_some() || next.as_ref().is_some_and(published) {
            self.switch_contexts(next.as_ref());
        }
        if let Some(prev) = &self.task {
            self.tell(Some(prev.id()), Step::SwitchOut(leaves));
        }
        if let Some(next) = &next {
            self.tell(Some(next.id()), Step::SwitchIn);
        }
        let prev = core::mem::replace(&mut self.task, next);
        // From here on others may claim it: everything of it has left this vCPU.
        if let Some(prev) = &prev {
            prev.0.word.leave(match leaves {
                Leaves::Queued => Place::Queued(self.id()),
                Leaves::Blocked => Place::Blocked(self.id()),
            });
        }
        // Not sooner: a vCPU that believes nothing is not asked to forget (A3), and what it has not
        // given up yet could not be claimed by the vCPU that has it now.
        if prev.is_some() != self.task.is_some()
            && let Some(all) = self.perf().announcements()
        {
            all.believes(self.id(), self.task.is_some());
        }
        Ok(prev)
    }

    /// Holds an announced switch against the host's own word, and claims `next`.
    fn claim(&self, prev: Option<&Task>, next: Option<&Task>) -> Result<(), PerfError> {
        if !self.online {
            return Err(PerfError::NoSuchVcpu(self.id()));
        }
        let current = self.task.as_ref().map(Task::id);
        if prev.map(Task::id) != current {
            return Err(prev
                .or(self.task.as_ref())
                .map_or(PerfError::Invalid("no task is current"), |task| {
                    PerfError::NotCurrent(task.id())
                }));
        }
        let Some(next) = next else {
            return Ok(());
        };
        let from = next.0.word.claim(self.id()).map_err(|place| match place {
            Place::Current(vcpu) => PerfError::Current {
                task: next.id(),
                vcpu,
            },
            Place::Blocked(_) | Place::Queued(_) => PerfError::Blocked(next.id()),
        })?;
        if next.has_exited() {
            next.0.word.leave(Place::Queued(from));
            return Err(PerfError::NoSuchTask);
        }
        Ok(())
    }

    /// The task goes back to user mode: the last moment before the entry to the guest. Returns the
    /// trap that it has to take first.
    ///
    /// The guest acknowledges it with [`trap_done`](Self::trap_done); until then there is no other
    /// one (T3).
    pub fn return_to_user(&mut self) -> Option<Trap> {
        let task = self.task.as_ref()?;
        if task.0.is_trapped() {
            return None;
        }
        // What is not known here had no overflow since the task came here, and nothing on its way.
        let ctx = self.task_ctx.as_ref()?;
        let trap = {
            let mut ctx = ctx.lock();
            if ctx.traps.is_empty() || !ctx.holder.is_task(&task.0) {
                return None;
            }
            // Before the event lets go of its own (A4).
            let hold = self.perf().announcements().map(|all| all.hold());
            let trap = ctx.send_trap(task.id())?;
            // Under the lock that an exit has as well.
            task.0.trap(hold);
            trap
        };
        let (vcpu, task) = (Some(self.id()), Some(task.id()));
        self.pmu
            .perf
            .tell(vcpu, task, Some(trap.event), Step::TrapSent);
        Some(trap)
    }

    /// Whether the current task has a trap to take: [`return_to_user`](Self::return_to_user) would
    /// return one.
    pub fn trap_waits(&self) -> bool {
        let (Some(task), Some(ctx)) = (&self.task, &self.task_ctx) else {
            return false;
        };
        if task.0.is_trapped() {
            return false;
        }
        let ctx = ctx.lock();
        !ctx.traps.is_empty() && ctx.holder.is_task(&task.0)
    }

    /// Whether the current task was handed a trap that it has not acknowledged.
    pub fn trap_taken(&self) -> bool {
        self.task.as_ref().is_some_and(|task| task.0.is_trapped())
    }

    /// The guest announces that its current task took the trap that it was handed.
    ///
    /// # Errors
    /// [`PerfError::Invalid`] if it was handed none.
    pub fn trap_done(&mut self) -> Result<(), PerfError> {
        match &self.task {
            Some(task) if task.0.untrap() => Ok(()),
            _ => {
                self.tell(self.task.as_ref().map(Task::id), Step::Refused);
                Err(PerfError::Invalid("no trap to acknowledge"))
            }
        }
    }

    /// Runs a call: one that another thread sent to this vCPU, or one of its own.
    pub fn run(&mut self, call: PerfCallRef<'_>) -> PerfReply {
        let reply = match call.0 {
            Call::Install(offer) => self.install_here(&offer),
            Call::Event(event, op) => self.event_here(event, op),
            Call::Exit(task, ctx) => self.exit_here(task, ctx),
            Call::Online => {
                self.go_online();
                Reply::Done
            }
            Call::Offline => {
                self.go_offline();
                Reply::Done
            }
            Call::Forget => {
                self.forget();
                Reply::Done
            }
            Call::Look => {
                self.look_at_page();
                Reply::Done
            }
        };
        self.tell(None, Step::CallServed);
        PerfReply(reply)
    }

    pub(super) fn tell(&self, task: Option<TaskId>, step: Step) {
        self.pmu.perf.tell(Some(self.id()), task, None, step);
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Drop for Cpu<S, C, O> {
    fn drop(&mut self) {
        self.go_offline();
        self.pmu.perf.detach_cpu(self.id());
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> fmt::Debug for Cpu<S, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cpu")
            .field("id", &self.id())
            .field("online", &self.online)
            .field("current", &self.task)
            .finish_non_exhaustive()
    }
}

/// The context of a task that has one.
pub(super) fn context_of(task: &TaskCore) -> Option<Arc<Context>> {
    if task.published.seen() != Seen::Context {
        return None;
    }
    match task.slot() {
        Slot::Context(ctx) => Some(ctx),
        Slot::Empty | Slot::Closed => None,
    }
}

/// The smaller of two, as far as they are there.
fn sooner<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.into_iter().chain(b).min()
}
