// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a context switch does to the contexts of both tasks.
//!
//! - **W1** Everything that the outgoing task caused is taken from the counters while it still is
//!   the current one.
//! - **W2** Two tasks whose contexts are copies of each other trade them, and the counters run on;
//!   but not while a trap is on its way in one of them, or somebody relies on one staying.
//! - **W3** Whether the incoming task has events is asked inside its context's lock.

use super::Task;
use super::call::{Offer, Reply};
use super::cpu::{Cpu, context_of};
use super::ctx::{Class, Context, Ctx};
use super::observe::{PerfObserver, Step};
use super::perf::Clock;
use super::pmu::{Both, Pmu, Rank};
use super::slots::Level;
use crate::CounterSource;
use crate::sync::Arc;

impl<S: CounterSource, C: Clock, O: PerfObserver> Cpu<S, C, O> {
    /// `next`, already claimed, takes the current task's place on the counters.
    pub(super) fn switch_contexts(&mut self, next: Option<&Task>) {
        let incoming = next.and_then(|next| context_of(&next.0));
        self.pmu.look();
        let traded = {
            let Self {
                pmu,
                ctx,
                task,
                task_ctx,
                ..
            } = self;
            let mut vcpu = pmu.vcpu_events.then(|| ctx.lock());
            if let Some(vcpu) = &mut vcpu {
                vcpu.tick(pmu.now);
            }
            let mut out = task_ctx.as_deref().map(Context::lock);
            if let Some(out) = &mut out {
                out.tick(pmu.now);
                take_all(pmu, out);
            }
            let mut into = incoming.as_deref().map(Context::lock);
            let traded = match (&mut out, &mut into) {
                (Some(out), Some(into)) => trade(out, into),
                _ => false,
            };
            if traded {
                if let (Some(task), Some(next)) = (task, next) {
                    task.0.exchange(&next.0);
                    let swap = Step::Swap(next.id());
                    pmu.perf.tell(Some(pmu.vcpu), Some(task.id()), None, swap);
                }
            } else {
                if let Some(out) = &mut out {
                    leave(pmu, out);
                }
                drop(out);
                let next = next.zip(into.as_deref_mut());
                let next = next.and_then(|(next, ctx)| ctx.holder.is_task(&next.0).then_some(ctx));
                enter(pmu, vcpu.as_deref_mut(), next);
            }
            traded
        };
        if !traded {
            self.task_ctx = incoming;
        }
        self.pmu.notify();
    }

    /// Installs an event that is in no list yet, if its task is the current one.
    pub(super) fn install_here(&mut self, offer: &Offer<'_>) -> Reply {
        if Arc::ptr_eq(offer.ctx, &self.ctx) {
            return self.install_vcpu_event(offer);
        }
        let current = self.task.as_ref().map(Task::id);
        if offer.task.is_none() || current != offer.task {
            return self.not_here(offer);
        }
        self.pmu.look();
        let reply = {
            let Self { pmu, ctx, .. } = self;
            let mut vcpu = pmu.vcpu_events.then(|| ctx.lock());
            let mut task = offer.ctx.lock();
            if let Some(vcpu) = &mut vcpu {
                vcpu.tick(pmu.now);
            }
            task.tick(pmu.now);
            let index = match task.admit(offer, pmu.slots.count()) {
                Ok(index) => index,
                Err(why) => return why.into(),
            };
            if task.active.is_none() {
                task.activate(pmu.vcpu, pmu.now);
            }
            let mut both = Both {
                vcpu: vcpu.as_deref_mut(),
                task: Some(&mut task),
            };
            pmu.schedule(&mut both, Level::Task, index);
            Reply::Installed(index)
        };
        if !self.is_task_ctx(offer.ctx) {
            self.task_ctx = Some(Arc::clone(offer.ctx));
        }
        self.pmu.notify();
        reply
    }

    /// Why an event cannot be installed here: its task is not the current one.
    fn not_here(&self, offer: &Offer<'_>) -> Reply {
        let ctx = offer.ctx.lock();
        if ctx.holder.task_id() != offer.task {
            return Reply::Traded;
        }
        let place = ctx.holder.task().map(|task| task.word.place());
        match place {
            Some(place) if place.vcpu() != self.pmu.vcpu => Reply::Moved,
            _ => Reply::NotHere,
        }
    }

    fn install_vcpu_event(&mut self, offer: &Offer<'_>) -> Reply {
        self.pmu.vcpu_events = true;
        self.locked(|pmu, both| {
            let slots = pmu.slots.count();
            let Some(ctx) = both.level(Level::Vcpu) else {
                return Reply::NotHere;
            };
            match ctx.admit(offer, slots) {
                Ok(index) => {
                    pmu.schedule(both, Level::Vcpu, index);
                    Reply::Installed(index)
                }
                Err(why) => why.into(),
            }
        })
    }
}

/// The outgoing task's events leave the counters.
fn leave<S: CounterSource, C: Clock, O: PerfObserver>(pmu: &mut Pmu<S, C, O>, out: &mut Ctx) {
    let sight = pmu.sight(None, true);
    pmu.class_out(out, Class::Flexible, &sight);
    pmu.class_out(out, Class::Pinned, &sight);
    out.deactivate(pmu.now);
}

/// The incoming task's events, if it has any, and the vCPU's that wait share the counters that are
/// free now (W3).
fn enter<S: CounterSource, C: Clock, O: PerfObserver>(
    pmu: &mut Pmu<S, C, O>,
    vcpu: Option<&mut Ctx>,
    next: Option<&mut Ctx>,
) {
    let waits = vcpu.as_ref().is_some_and(|vcpu| vcpu.rotate);
    let mut rank = waits.then_some(Rank::VcpuFlexible);
    let mut next = next.filter(|ctx| ctx.attached() > 0);
    if let Some(ctx) = &mut next {
        ctx.activate(pmu.vcpu, pmu.now);
        let class = if ctx.has(Class::Pinned) {
            Class::Pinned
        } else {
            Class::Flexible
        };
        let first = Rank::of(Level::Task, class);
        rank = Some(rank.map_or(first, |rank| rank.min(first)));
    }
    if let Some(rank) = rank {
        let sight = pmu.sight(None, true);
        let mut both = Both { vcpu, task: next };
        pmu.resched(&mut both, rank, &sight);
    }
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
    let trades = free && out.active.is_some() && out.equivalent(other);
    if trades {
        core::mem::swap(&mut out.holder, &mut other.holder);
    }
    trades
}
