// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why the port refuses: Linux's numbers on x86.

use core::fmt;

/// Why a command was refused. Nothing was changed then.
///
/// ```
/// use perf_port::Errno;
///
/// assert_eq!(Errno::NoSuchTask.number(), 3);
/// assert_eq!(Errno::from_number(3), Errno::NoSuchTask);
/// assert_eq!(Errno::NoSuchTask.to_string(), "ESRCH");
/// assert_eq!(Errno::from_number(95).to_string(), "errno 95");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Errno {
    /// ENOENT: the event is none that the vCPUs could count.
    NotCounted,
    /// ESRCH: no such task, or it has exited.
    NoSuchTask,
    /// ENXIO: this vCPU has no page.
    NoSuchDevice,
    /// EBADF: no such event, or it was closed.
    BadEvent,
    /// EAGAIN: more calls a second than this vCPU may make. Later it may be told again.
    TryAgain,
    /// ENOMEM: as many tasks or events as there may be.
    NoMemory,
    /// EFAULT: no RAM is where the page would be.
    Fault,
    /// EBUSY: the task is the current one of a vCPU.
    Busy,
    /// ENODEV: the vCPU is offline or absent.
    NoSuchVcpu,
    /// EINVAL: a field that is reserved, unknown, or contradicts another one or what the host knows.
    Invalid,
    /// ENOSPC.
    NoSpace,
    /// ENOSYS: no such operation.
    NoSuchOp,
    /// Another number, 1 to 4095.
    Other(u16),
}

impl Errno {
    const KNOWN: [(Self, u16, &'static str); 12] = [
        (Self::NotCounted, 2, "ENOENT"),
        (Self::NoSuchTask, 3, "ESRCH"),
        (Self::NoSuchDevice, 6, "ENXIO"),
        (Self::BadEvent, 9, "EBADF"),
        (Self::TryAgain, 11, "EAGAIN"),
        (Self::NoMemory, 12, "ENOMEM"),
        (Self::Fault, 14, "EFAULT"),
        (Self::Busy, 16, "EBUSY"),
        (Self::NoSuchVcpu, 19, "ENODEV"),
        (Self::Invalid, 22, "EINVAL"),
        (Self::NoSpace, 28, "ENOSPC"),
        (Self::NoSuchOp, 38, "ENOSYS"),
    ];

    fn known(self) -> Option<(u16, &'static str)> {
        let mut known = Self::KNOWN.iter();
        let found = known.find(|(errno, ..)| *errno == self);
        found.map(|(_, number, name)| (*number, *name))
    }

    /// Its number.
    pub fn number(self) -> u16 {
        match self {
            Self::Other(number) => number,
            known => known.known().map_or(0, |(number, _)| number),
        }
    }

    /// The error of that number.
    pub fn from_number(number: u16) -> Self {
        let mut known = Self::KNOWN.iter();
        let found = known.find(|(_, its, _)| *its == number);
        found.map_or(Self::Other(number), |(errno, ..)| *errno)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "errno {}", self.number()),
        }
    }
}

impl core::error::Error for Errno {}
