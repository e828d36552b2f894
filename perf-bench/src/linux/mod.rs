// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The peer: Linux's own perf core, through its system calls.
//!
//! Everything excludes kernel and hypervisor, so that an unprivileged process may have it up to
//! `perf_event_paranoid` 2. A machine that refuses even that has no peer, and the rows say so.

pub mod acts;
mod keepalive;
mod trap;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, pid_t};
use perf_event_open_sys as perf;
use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_TASK_CLOCK, PERF_FLAG_FD_CLOEXEC, PERF_TYPE_SOFTWARE, perf_event_attr,
};

pub use keepalive::Keepalive;
pub use trap::{Trap, Trigger};

/// Between two overflows of what samples but is not to overflow: a second, of a task clock.
pub const PERIOD: u64 = 1_000_000_000;

/// Why Linux does not do what is asked of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{call}: {source}")]
    Refused {
        /// Which.
        call: &'static str,
        /// With what.
        source: io::Error,
    },
    /// A read returned something other than one 64-bit count.
    #[error("read: {0} bytes instead of 8")]
    Read(usize),
    /// A trap was lost.
    #[error("{traps} traps for {overflows} overflows")]
    Traps {
        /// How often the handler ran.
        traps: u64,
        /// How often it should have, at the least.
        overflows: u32,
    },
}

/// What the last system call failed with.
fn refused(call: &'static str) -> Error {
    Error::Refused {
        call,
        source: io::Error::last_os_error(),
    }
}

/// Whose event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The calling thread's.
    Own,
    /// That of the thread with this id.
    Thread(pid_t),
}

/// A perf event of Linux. Dropping it closes it.
#[derive(Debug)]
pub struct Event {
    file: File,
}

impl Event {
    /// A counting task clock, enabled: what is installed when it is opened.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn task_clock(target: Target) -> Result<Self, Error> {
        Self::open(
            attributes(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK),
            target,
        )
    }

    /// A task clock that samples every [`PERIOD`], disabled. Only what samples can be refreshed.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn sampling_task_clock(target: Target) -> Result<Self, Error> {
        let mut attributes = attributes(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK);
        attributes.__bindgen_anon_1.sample_period = PERIOD;
        attributes.set_disabled(1);
        Self::open(attributes, target)
    }

    fn open(mut attributes: perf_event_attr, target: Target) -> Result<Self, Error> {
        let thread = match target {
            Target::Own => 0,
            Target::Thread(id) => id,
        };
        // SAFETY: the attributes are a valid local that tells its own size. They ask for counting
        // and, in `trap`, for a signal that has a handler: nothing that touches memory.
        let fd = unsafe {
            perf::perf_event_open(
                &raw mut attributes,
                thread,
                -1,
                -1,
                PERF_FLAG_FD_CLOEXEC.into(),
            )
        };
        if fd < 0 {
            return Err(refused("perf_event_open"));
        }
        // SAFETY: the descriptor is new and nobody else's.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { file: owned.into() })
    }

    /// Lets it count.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enable(&self) -> Result<(), Error> {
        // SAFETY: the descriptor is an open perf event's; ENABLE takes no pointer.
        let result = unsafe { perf::ioctls::ENABLE(self.file.as_raw_fd(), 0) };
        done(result, "PERF_EVENT_IOC_ENABLE")
    }

    /// Stops it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn disable(&self) -> Result<(), Error> {
        // SAFETY: the descriptor is an open perf event's; DISABLE takes no pointer.
        let result = unsafe { perf::ioctls::DISABLE(self.file.as_raw_fd(), 0) };
        done(result, "PERF_EVENT_IOC_DISABLE")
    }

    /// Lets it count until `overflows` more have happened.
    ///
    /// # Errors
    /// When the kernel refuses, as it does for an event that does not sample.
    pub fn refresh(&self, overflows: u16) -> Result<(), Error> {
        // SAFETY: the descriptor is an open perf event's; REFRESH takes a number.
        let result =
            unsafe { perf::ioctls::REFRESH(self.file.as_raw_fd(), c_int::from(overflows)) };
        done(result, "PERF_EVENT_IOC_REFRESH")
    }

    /// Its count: ns for a task clock.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn read(&self) -> Result<u64, Error> {
        let mut count = [0; 8];
        let length = (&self.file)
            .read(&mut count)
            .map_err(|source| Error::Refused {
                call: "read",
                source,
            })?;
        if length != count.len() {
            return Err(Error::Read(length));
        }
        Ok(u64::from_ne_bytes(count))
    }
}

fn done(result: c_int, call: &'static str) -> Result<(), Error> {
    if result < 0 {
        return Err(refused(call));
    }
    Ok(())
}

/// An event of that kind, user mode only.
fn attributes(kind: u32, config: u32) -> perf_event_attr {
    let mut attributes = perf_event_attr {
        type_: kind,
        // The structure has some 140 bytes.
        size: u32::try_from(size_of::<perf_event_attr>()).unwrap_or(0),
        config: config.into(),
        ..perf_event_attr::default()
    };
    attributes.set_exclude_kernel(1);
    attributes.set_exclude_hv(1);
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `None` where the machine has no perf events, which is no fault of this code's.
    fn open(event: Result<Event, Error>) -> Option<Event> {
        match event {
            Ok(event) => Some(event),
            Err(error) => {
                eprintln!("not available: {error}");
                None
            }
        }
    }

    #[test]
    fn an_open_task_clock_counts() {
        let Some(event) = open(Event::task_clock(Target::Own)) else {
            return;
        };
        let first = event.read().unwrap();
        let mut second = event.read().unwrap();
        while second == first {
            second = event.read().unwrap();
        }
        assert!(second > first);
    }

    #[test]
    fn a_refreshed_task_clock_counts_until_it_is_disabled() {
        let Some(event) = open(Event::sampling_task_clock(Target::Own)) else {
            return;
        };
        assert_eq!(event.read().unwrap(), 0, "it was opened disabled");
        event.refresh(1).unwrap();
        while event.read().unwrap() == 0 {}
        event.disable().unwrap();
        let count = event.read().unwrap();
        assert_eq!(event.read().unwrap(), count);
        event.enable().unwrap();
        while event.read().unwrap() == count {}
    }

    #[test]
    fn what_is_refused_says_by_which_call() {
        // No thread has this id.
        let error = Event::task_clock(Target::Thread(pid_t::MAX)).unwrap_err();
        assert!(
            error.to_string().starts_with("perf_event_open: "),
            "{error}"
        );
        let Some(event) = open(Event::task_clock(Target::Own)) else {
            return;
        };
        let error = event.refresh(1).unwrap_err();
        assert!(
            error.to_string().starts_with("PERF_EVENT_IOC_REFRESH: "),
            "{error}"
        );
    }
}
