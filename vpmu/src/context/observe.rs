// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every step of the engine, told as it happens.

use vcpu_call::VcpuId;

use super::{EventId, Leaves, TaskId};
use crate::Nanos;

/// Sees what the engine does.
///
/// It is told on whatever thread does it, partly with locks held: it must neither wait nor call
/// back. With [`NoObserver`](crate::NoObserver), nothing of it is compiled.
pub trait PerfObserver: Send + Sync {
    /// Whether anybody looks.
    const LOOKS: bool = true;

    /// Whether anybody looks now, for one that is switched at run time. Asked before each step: while
    /// nobody does, a step costs this and not even a look at the clock.
    fn looks(&self) -> bool {
        Self::LOOKS
    }

    /// Something happened.
    fn record(&self, record: &Record);
}

impl PerfObserver for crate::NoObserver {
    const LOOKS: bool = false;

    fn record(&self, _record: &Record) {}
}

impl<O: PerfObserver> PerfObserver for std::sync::Arc<O> {
    const LOOKS: bool = O::LOOKS;

    fn looks(&self) -> bool {
        O::looks(self)
    }

    fn record(&self, record: &Record) {
        O::record(self, record);
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub time: Nanos,
    /// On which vCPU's thread; none for a thread that is no vCPU's.
    pub vcpu: Option<VcpuId>,
    /// The task it is about.
    pub task: Option<TaskId>,
    /// The event it is about.
    pub event: Option<EventId>,
    /// What.
    pub step: Step,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A task came to be; with the task it was forked from.
    Created(Option<TaskId>),
    /// A task executed another program.
    Exec,
    /// A task exited.
    Exited,
    /// A vCPU came online.
    Online,
    /// A vCPU went offline.
    Offline,
    /// A task became the current one.
    SwitchIn,
    /// A task stopped being the current one.
    SwitchOut(Leaves),
    /// The current task and this one traded contexts instead of being switched.
    Swap(TaskId),
    /// A task was placed on this vCPU.
    Migrate(VcpuId),
    /// A task was woken on this vCPU.
    Wake(VcpuId),
    /// An announcement was refused: it contradicts what the host knows.
    Refused,
    /// An event was opened.
    Open,
    /// An event was closed.
    Close,
    /// An installation looks for its task; the how manieth time.
    Round(u32),
    /// A call was sent to this vCPU.
    CallSent(VcpuId),
    /// A call was refused by this vCPU: offline.
    CallRefused(VcpuId),
    /// A call is served here.
    CallServed,
    /// An operation starts over, and why.
    Retry(Retry),
    /// An event went onto this slot.
    SlotIn(usize),
    /// An event left this slot.
    SlotOut(usize),
    /// A pinned group found no counter.
    Failed,
    /// Flexible groups take turns.
    Rotate,
    /// An event overflowed so many times.
    Overflow(u64),
    /// An overflow is held back.
    Throttled,
    /// The limit was reached.
    Limit,
    /// Irq work disables an event at its limit.
    IrqWork,
    /// An overflow queued a trap as task work.
    TrapQueued,
    /// An overflow was merged with a trap on its way.
    TrapMerged,
    /// Task work handed a trap to the guest.
    TrapSent,
    /// So many traps were dropped: their task exits.
    TrapsDropped(usize),
}

/// Why an operation starts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The task was somewhere else when the call was served (EAGAIN).
    Moved,
    /// The task was not current any more, but is somewhere by now (ESRCH, then found running).
    Running,
    /// The context is another task's by now: the two traded theirs.
    Traded,
    /// The vCPU does not schedule the context any more.
    NotHere,
    /// The vCPU went offline meanwhile.
    Offline,
}
