// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the perf core refuses, with the errno a Linux user knows.

use vcpu_call::VcpuId;

use super::TaskId;

/// Why an operation or an announcement was refused. Nothing was changed then.
///
/// EAGAIN is not among them: whatever a race makes unanswerable is tried again inside.
///
/// ```
/// use vpmu::context::PerfError;
///
/// assert_eq!(PerfError::NotCounted.errno(), 2);
/// assert_eq!(PerfError::NotCounted.errno_name(), "ENOENT");
/// assert_eq!(PerfError::Invalid("a group has one task").to_string(), "Invalid: a group has one task");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PerfError {
    /// The task has exited, or its context has (ESRCH).
    #[error("No such task")]
    NoSuchTask,
    /// The vCPU is offline or was never there (ENODEV).
    #[error("vCPU {0} is offline or absent")]
    NoSuchVcpu(VcpuId),
    /// The request contradicts itself or what it asks for (EINVAL).
    #[error("Invalid: {0}")]
    Invalid(&'static str),
    /// No vCPU can count this event, ever (ENOENT).
    #[error("The source cannot count this event")]
    NotCounted,
    /// The event was closed (EBADF).
    #[error("The event is closed")]
    Closed,
    /// The buffer is shorter than the group (ENOSPC).
    #[error("The group has {0} events, more than there is room for")]
    NoSpace(usize),
    /// The vCPU's end is in use already (EBUSY).
    #[error("vCPU {0} is attached already")]
    Attached(VcpuId),
    /// The announced task is current on another vCPU (EBUSY).
    #[error("Task {task} is current on vCPU {vcpu}")]
    Current {
        /// The task.
        task: TaskId,
        /// Where it is current.
        vcpu: VcpuId,
    },
    /// The announced task is not current on this vCPU (EINVAL).
    #[error("Task {0} is not current here")]
    NotCurrent(TaskId),
    /// The announced task is blocked: it has to be woken first (EINVAL).
    #[error("Task {0} is blocked")]
    Blocked(TaskId),
    /// The announced task is not blocked, so nothing can wake it (EINVAL).
    #[error("Task {0} is not blocked")]
    NotBlocked(TaskId),
}

impl PerfError {
    /// The error's number in Linux on x86.
    pub const fn errno(self) -> i32 {
        self.number_and_name().0
    }

    /// The error's name in Linux, such as `ENODEV`.
    pub const fn errno_name(self) -> &'static str {
        self.number_and_name().1
    }

    const fn number_and_name(self) -> (i32, &'static str) {
        match self {
            Self::NotCounted => (2, "ENOENT"),
            Self::NoSuchTask => (3, "ESRCH"),
            Self::Closed => (9, "EBADF"),
            Self::Attached(_) | Self::Current { .. } => (16, "EBUSY"),
            Self::NoSuchVcpu(_) => (19, "ENODEV"),
            Self::Invalid(_) | Self::NotCurrent(_) | Self::Blocked(_) | Self::NotBlocked(_) => {
                (22, "EINVAL")
            }
            Self::NoSpace(_) => (28, "ENOSPC"),
        }
    }
}
