// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a context switch does to the contexts of both tasks.
//!
//! - **W1** Everything that the outgoing task caused is taken from the counters while it still is
//!   the current one.
//! - **W2** Two tasks whose contexts are copies of each other trade them, and the counters run on;
//!   but not while a trap is on its way in one of them, or somebody relies on one staying.
//! - **W3** Whether the incoming task has events is asked inside its context's lock.

use super::call::Reply;
use super::cpu::{Cpu, context_of};
use super::ctx::{Class, Context, Ctx};
use super::observe::{PerfObserver, Step};
use super::perf::Clock;
use super::pmu::{Both, Pmu, Rank};
use super::slots::Level;
use super::{Event, Task};
use crate::CounterSource;
use crate::Nanos;
use crate::sync::Arc;

impl<S: CounterSource, C: Clock, O: PerfObserver> Cpu<S, C, O> {
    /// `next`, already claimed, takes the current task's place on the counters.
    pub(super) fn switch_contexts(&mut self, next: Option<&Task>) {
        let incoming = next.and_then(|next| context_of(&next.0));
        let now = self.pmu.now();
        // Dropped when the locks are released.
        let mut outgoing = None;
        {
            let Self {
                pmu,
                ctx: vcpu,
                task,
                task_ctx,
                ..
            } = self;
            let mut vcpu = vcpu.lock();
            vcpu.tick(now);
            let waits = vcpu.rotate;
            if let Some(ctx) = &*task_ctx {
                let mut out = ctx.lock();
                out.tick(now);
                take_all(pmu, &mut out);
                if let (Some(task), Some(next), Some(incoming)) = (&*task, next, &incoming) {
                    let mut other = incoming.lock();
                    if trade(&mut out, &mut other) {
                        task.0.exchange(&next.0);
                        pmu.perf
                            .tell(Some(pmu.vcpu), Some(task.id()), None, Step::Swap(next.id()));
                        drop((out, other, vcpu));
                        pmu.notify();
                        return;
                    }
                }
                let sight = pmu.sight(None, true);
                pmu.class_out(&mut out, Class::Flexible, &sight);
                pmu.class_out(&mut out, Class::Pinned, &sight);
                out.deactivate(now);
                drop(out);
                outgoing = task_ctx.take();
            }
            let mut rank = waits.then_some(Rank::VcpuFlexible);
            let mut guard = incoming.as_deref().map(Context::lock);
            let mut inner = guard.as_deref_mut();
            if let (Some(ctx), Some(next)) = (&mut inner, next)
                && ctx.attached() > 0
                && ctx.holder.is_task(&next.0)
            {
                ctx.activate(pmu.vcpu, now);
                *task_ctx = incoming.clone();
                let first = if ctx.has(Class::Pinned) {
                    Rank::TaskPinned
                } else {
                    Rank::TaskFlexible
                };
                rank = Some(rank.map_or(first, |rank| rank.min(first)));
            } else {
                inner = None;
            }
            if let Some(rank) = rank {
                let sight = pmu.sight(None, true);
                let mut both = Both {
                    vcpu: &mut vcpu,
                    task: inner,
                };
                pmu.resched(&mut both, rank, &sight);
            }
        }
        drop(outgoing);
        self.pmu.notify();
    }

    /// Installs an event that is in no list yet, if its task is the current one.
    pub(super) fn install_here(&mut self, event: &Event) -> Reply {
        if Arc::ptr_eq(&event.ctx, &self.ctx) {
            return self.install_vcpu_event(event);
        }
        let now = self.pmu.now();
        let reply = {
            let mut vcpu = self.ctx.lock();
            let mut ctx = event.ctx.lock();
            let Some(task) = ctx.holder.task() else {
                return Reply::Gone;
            };
            let here = self.task.as_ref().is_some_and(|own| own.id() == task.id);
            if here {
                if ctx.active.is_none() {
                    ctx.activate(self.pmu.vcpu, now);
                    self.task_ctx = Some(Arc::clone(&event.ctx));
                }
                let mut both = Both {
                    vcpu: &mut vcpu,
                    task: Some(&mut ctx),
                };
                join(&mut self.pmu, &mut both, Level::Task, event.index, now);
                Reply::Done
            } else if task.word.place().vcpu() == self.pmu.vcpu {
                Reply::NotHere
            } else {
                Reply::Moved
            }
        };
        self.pmu.notify();
        reply
    }

    fn install_vcpu_event(&mut self, event: &Event) -> Reply {
        if !self.online {
            return Reply::Gone;
        }
        let now = self.pmu.now();
        self.locked(|pmu, both| join(pmu, both, Level::Vcpu, event.index, now));
        Reply::Done
    }
}

/// Puts an event into the lists of an active context, and onto a counter if it wants to.
fn join<S: CounterSource, C: Clock, O: PerfObserver>(
    pmu: &mut Pmu<S, C, O>,
    both: &mut Both<'_>,
    level: Level,
    index: usize,
    now: Nanos,
) {
    both.tick(now);
    if let Some(ctx) = both.level(level) {
        ctx.attach(index);
    }
    pmu.schedule(both, level, index);
}

/// Takes all counts of a task's context whose task is about to leave (W1).
fn take_all<S: CounterSource, C: Clock, O: PerfObserver>(pmu: &mut Pmu<S, C, O>, ctx: &mut Ctx) {
    let sight = pmu.sight(None, true);
    for user in pmu.slots.users().into_iter().flatten() {
        if user.level == Level::Task {
            pmu.collect(ctx, user.index, &sight);
        }
    }
}

/// Exchanges the tasks of two contexts, if they may be (W2).
fn trade(out: &mut Ctx, other: &mut Ctx) -> bool {
    let free = out.unswappable() == 0 && other.unswappable() == 0;
    let trades = free && out.equivalent(other);
    if trades {
        core::mem::swap(&mut out.holder, &mut other.holder);
    }
    trades
}
