// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The system calls: all the `unsafe` there is in this crate.

// Linux is reached by pointers and numbers that only it can check. What is asked of it here touches
// no memory of ours but the variables named beside each call.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, pid_t};
use perf_event_open_sys as perf;
use perf_event_open_sys::bindings::{PERF_FLAG_FD_CLOEXEC, perf_event_attr};

use super::request::Request;

/// The longest period that Linux takes, about: an overflow that never comes.
pub(super) const NEVER: u64 = 1 << 62;

// Of fcntl(2), and not in the libc crate: the same on every Linux for x86-64.
const F_SETSIG: c_int = 10;
const F_SETOWN_EX: c_int = 15;
const F_OWNER_TID: c_int = 0;

/// `struct f_owner_ex`.
#[repr(C)]
struct Owner {
    kind: c_int,
    id: pid_t,
}

/// Who lends counters: Linux, or a test.
pub(super) trait Backend {
    type Event: PerfEvent;

    /// An event of the calling thread, off, its overflow as good as never; each overflow will be
    /// the signal that the backend was made with.
    fn open(&mut self, request: &Request) -> io::Result<Self::Event>;

    /// The kernel's id of the calling thread.
    fn thread(&self) -> pid_t;
}

/// One event. Dropping it closes it.
pub(super) trait PerfEvent {
    fn enable(&self) -> io::Result<()>;

    fn disable(&self) -> io::Result<()>;

    /// The next overflow comes after `events`, and again each time as many have passed. Only an
    /// event that is off takes it exactly: one that counts software events overflows at the next of
    /// them, and has the old period once more.
    fn set_period(&self, events: u64) -> io::Result<()>;

    /// The count so far, or `None` if the event lost its place on the hardware.
    fn read(&self) -> io::Result<Option<u64>>;
}

/// Linux.
#[derive(Debug)]
pub(super) struct Linux {
    signal: c_int,
}

impl Linux {
    pub(super) const fn new(signal: c_int) -> Self {
        Self { signal }
    }
}

impl Backend for Linux {
    type Event = LinuxEvent;

    fn open(&mut self, request: &Request) -> io::Result<LinuxEvent> {
        let event = LinuxEvent::open(request)?;
        event.signal_to(self.thread(), self.signal)?;
        Ok(event)
    }

    fn thread(&self) -> pid_t {
        // SAFETY: gettid has no preconditions.
        unsafe { libc::gettid() }
    }
}

#[derive(Debug)]
pub(super) struct LinuxEvent(OwnedFd);

impl LinuxEvent {
    fn open(request: &Request) -> io::Result<Self> {
        let mut attributes = perf_event_attr {
            type_: request.kind,
            // The structure has some 140 bytes.
            size: u32::try_from(size_of::<perf_event_attr>()).unwrap_or(0),
            config: request.config,
            ..perf_event_attr::default()
        };
        attributes.__bindgen_anon_1.sample_period = NEVER;
        attributes.set_disabled(1);
        // On a counter of its own or not at all: multiplexed, it would miss events silently.
        attributes.set_pinned(1);
        attributes.set_exclude_user(u64::from(!request.usr));
        attributes.set_exclude_kernel(u64::from(!request.os));
        attributes.set_exclude_hv(1);
        attributes.set_exclude_host(u64::from(request.guest_only));
        // SAFETY: the attributes are a valid local that tells its own size, and ask for counting
        // alone: nothing that writes to memory.
        let fd = unsafe {
            perf::perf_event_open(&raw mut attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC.into())
        };
        done(fd)?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes each overflow a `signal` to `thread`.
    fn signal_to(&self, thread: pid_t, signal: c_int) -> io::Result<()> {
        let fd = self.0.as_raw_fd();
        let owner = Owner {
            kind: F_OWNER_TID,
            id: thread,
        };
        // SAFETY: the descriptor is open, and the owner a valid local that is only read.
        done(unsafe { libc::fcntl(fd, F_SETOWN_EX, &raw const owner) })?;
        // SAFETY: the descriptor is open; F_SETSIG takes a number.
        done(unsafe { libc::fcntl(fd, F_SETSIG, signal) })?;
        // SAFETY: the descriptor is open; F_SETFL takes flags.
        done(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC) })
    }
}

impl PerfEvent for LinuxEvent {
    fn enable(&self) -> io::Result<()> {
        // SAFETY: the descriptor is an open perf event's; ENABLE takes no pointer.
        done(unsafe { perf::ioctls::ENABLE(self.0.as_raw_fd(), 0) })
    }

    fn disable(&self) -> io::Result<()> {
        // SAFETY: the descriptor is an open perf event's; DISABLE takes no pointer.
        done(unsafe { perf::ioctls::DISABLE(self.0.as_raw_fd(), 0) })
    }

    fn set_period(&self, events: u64) -> io::Result<()> {
        // Not the crate's own PERIOD: that passes the number where Linux expects its address.
        let request = perf::bindings::PERIOD.into();
        // SAFETY: the descriptor is an open perf event's; PERIOD reads the local behind the pointer.
        done(unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw const events) })
    }

    fn read(&self) -> io::Result<Option<u64>> {
        let mut count = 0_u64;
        let size = size_of_val(&count);
        // SAFETY: the buffer is a local of `size` bytes, and any bytes are a number.
        let length = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), size) };
        match usize::try_from(length) {
            Ok(0) => Ok(None),
            Ok(length) if length == size => Ok(Some(count)),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

fn done(result: c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
