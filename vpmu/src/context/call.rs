// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Functions that run on another vCPU's thread, and whoever asks for them.

use vcpu_call::{NotRun, Park, VcpuId};

use super::ctx::Context;
use super::life::End;
use super::{Event, Task};
use crate::sync::Arc;

/// A function for a vCPU's thread to run: hand it to [`Cpu::run`](super::Cpu::run) there.
#[derive(Clone, Debug)]
pub struct PerfCall(pub(super) Call);

#[derive(Clone)]
pub(super) enum Call {
    /// Install an event that is in no list yet.
    Install(Event),
    /// Do something to an event of a context that is active there.
    Event(Event, Op),
    /// The task exits.
    Exit(Task, Arc<Context>),
    /// The vCPU's own context begins.
    Online,
    /// The vCPU's own context ends, and its task is not current any more.
    Offline,
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

impl core::fmt::Debug for Call {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Install(event) => f.debug_tuple("Install").field(&event.id()).finish(),
            Self::Event(event, op) => f.debug_tuple("Event").field(&event.id()).field(op).finish(),
            Self::Exit(task, _) => f.debug_tuple("Exit").field(&task.id()).finish(),
            Self::Online => f.write_str("Online"),
            Self::Offline => f.write_str("Offline"),
        }
    }
}

/// What became of a [`PerfCall`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerfReply(pub(super) Reply);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Done,
    /// Not done: the task is placed on another vCPU (EAGAIN).
    Moved,
    /// Not done: the task, or the context, is not the current one here (ESRCH).
    NotHere,
    /// Not done, and never will be: the task has exited.
    Gone,
}

/// A thread that asks the engine for something, and may have to wait for a vCPU.
///
/// [`HostThread`](super::HostThread) and [`VcpuThread`](super::VcpuThread) are ready-made. A VMM
/// that sends more than the perf core's calls through one mailbox implements this for its own
/// thread's state: D1 of [`vcpu_call`] asks for one mailbox a thread.
pub trait Caller: Park {
    /// The vCPU whose thread this is.
    fn here(&self) -> Option<VcpuId>;

    /// Runs `call` on the thread of `target` and waits, serving this thread's own calls meanwhile;
    /// on this very thread if it is that.
    ///
    /// # Errors
    /// As [`vcpu_call::Vcpu::call`] does.
    fn call(&mut self, target: VcpuId, call: PerfCall) -> Result<PerfReply, NotRun>;
}
