// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Functions that run on another vCPU's thread, and whoever asks for them.

use vcpu_call::{NotRun, Park, VcpuId};

use super::ctx::Context;
use super::event::EventCore;
use super::life::End;
use super::{Event, PerfError, Task, TaskId};
use crate::sync::Arc;

/// A function for a vCPU's thread to run, as it travels in a mailbox: hand it to
/// [`Cpu::run`](super::Cpu::run) there.
#[derive(Clone, Debug)]
pub struct PerfCall(Sent);

/// A function for a vCPU's thread to run, as whoever asks for it has it.
///
/// On the asker's own vCPU it runs as it is; to travel, it becomes a [`PerfCall`].
#[derive(Clone, Copy, Debug)]
pub struct PerfCallRef<'a>(pub(super) Call<'a>);

impl PerfCall {
    /// What it says, to be run.
    pub const fn by_ref(&self) -> PerfCallRef<'_> {
        PerfCallRef(match &self.0 {
            Sent::Install {
                core,
                ctx,
                group,
                task,
            } => Call::Install(Offer {
                core,
                ctx,
                group: group.as_ref(),
                task: *task,
            }),
            Sent::Event(event, op) => Call::Event(event, *op),
            Sent::Exit(task, ctx) => Call::Exit(task, ctx),
            Sent::Online => Call::Online,
            Sent::Offline => Call::Offline,
            Sent::Forget => Call::Forget,
            Sent::Look => Call::Look,
        })
    }
}

impl PerfCallRef<'_> {
    /// The same, fit for travel.
    pub fn to_call(self) -> PerfCall {
        PerfCall(match self.0 {
            Call::Install(offer) => Sent::Install {
                core: Arc::clone(offer.core),
                ctx: Arc::clone(offer.ctx),
                group: offer.group.cloned(),
                task: offer.task,
            },
            Call::Event(event, op) => Sent::Event(event.clone(), op),
            Call::Exit(task, ctx) => Sent::Exit(task.clone(), Arc::clone(ctx)),
            Call::Online => Sent::Online,
            Call::Offline => Sent::Offline,
            Call::Forget => Sent::Forget,
            Call::Look => Sent::Look,
        })
    }
}

#[derive(Clone)]
enum Sent {
    Install {
        core: Arc<EventCore>,
        ctx: Arc<Context>,
        group: Option<Event>,
        task: Option<TaskId>,
    },
    Event(Event, Op),
    Exit(Task, Arc<Context>),
    Online,
    Offline,
    Forget,
    Look,
}

#[derive(Clone, Copy)]
pub(super) enum Call<'a> {
    /// Install an event that is in no list yet.
    Install(Offer<'a>),
    /// Do something to an event of a context that is active there.
    Event(&'a Event, Op),
    /// The task exits.
    Exit(&'a Task, &'a Arc<Context>),
    /// The vCPU's own context begins.
    Online,
    /// The vCPU's own context ends, and its task is not current any more.
    Offline,
    /// What is current there is not known any more.
    Forget,
    /// Look at the guest's page for what is current there.
    Look,
}

/// An event that wants to join a context.
#[derive(Clone, Copy)]
pub(super) struct Offer<'a> {
    pub(super) core: &'a Arc<EventCore>,
    pub(super) ctx: &'a Arc<Context>,
    /// The leader of the group that it joins.
    pub(super) group: Option<&'a Event>,
    /// The task that it is for; none if it is for a vCPU.
    pub(super) task: Option<TaskId>,
}

/// What is done to an event, wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Enable,
    Disable,
    Refresh(u64),
    Period(u64),
    Reset,
    Read,
    Remove(End),
}

impl core::fmt::Debug for Sent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        PerfCall(self.clone()).by_ref().0.fmt(f)
    }
}

impl core::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Install(offer) => f.debug_tuple("Install").field(&offer.core.id).finish(),
            Self::Event(event, op) => f.debug_tuple("Event").field(&event.id()).field(op).finish(),
            Self::Exit(task, _) => f.debug_tuple("Exit").field(&task.id()).finish(),
            Self::Online => f.write_str("Online"),
            Self::Offline => f.write_str("Offline"),
            Self::Forget => f.write_str("Forget"),
            Self::Look => f.write_str("Look"),
        }
    }
}

/// What became of a [`PerfCall`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerfReply(pub(super) Reply);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Done,
    /// The event has this place in its context now.
    Installed(usize),
    /// Not done: the task is placed on another vCPU (EAGAIN).
    Moved,
    /// Not done: the task, or the context, is not the current one here (ESRCH).
    NotHere,
    /// Not done: the context is another task's by now.
    Traded,
    /// Not done, and never will be.
    Refused(PerfError),
}

/// A thread that asks the engine for something, and may have to wait for a vCPU.
///
/// [`HostThread`](super::HostThread) and [`VcpuThread`](super::VcpuThread) are ready-made. A VMM
/// that sends more than the perf core's calls through one mailbox implements this for its own
/// thread's state: D1 of [`vcpu_call`] asks for one mailbox a thread.
pub trait Caller: Park {
    /// The vCPU whose thread this is.
    fn here(&self) -> Option<VcpuId>;

    /// Runs `call` on the thread of `target` and waits, serving this thread's own calls meanwhile.
    /// On this very thread, if it is that, it runs as it is: [`Cpu::run`](super::Cpu::run).
    ///
    /// # Errors
    /// As [`vcpu_call::Vcpu::call`] does.
    fn call(&mut self, target: VcpuId, call: PerfCallRef<'_>) -> Result<PerfReply, NotRun>;
}
