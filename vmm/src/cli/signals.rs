// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! SIGINT and SIGTERM as something to wait for.

use std::fs::File;
use std::io::{self, Read};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::ptr;

use nix::sys::signal::{SigSet, Signal};

use crate::ExitReason;

/// The two signals, blocked in every thread and readable here.
#[derive(Debug)]
pub(super) struct Signals(File);

impl Signals {
    /// Blocks the signals in this thread and all that it starts from now on: call it first.
    pub(super) fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the calls fill and then read a set of ours; `signalfd` makes a new descriptor,
        // which nobody else owns.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            match libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) {
                0 => {}
                errno => return Err(io::Error::from_raw_os_error(errno)),
            }
            let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(File::from_raw_fd(fd)))
        }
    }

    /// Lets the signals through again: the next one does what it does by itself. Those that have come
    /// are over.
    pub(super) fn let_through(&mut self) {
        while self.take().is_some() {}
        let set: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        // Only fails for what is no set.
        let _ = set.thread_unblock();
    }

    /// What to end the run with, if a signal has come.
    pub(super) fn take(&mut self) -> Option<ExitReason> {
        // The signal's number is the first field, 32 bits wide (signalfd(2)).
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        let read = self.0.read(&mut info).ok()?;
        let number = info.first_chunk().filter(|_| read == info.len())?;
        Some(match i32::from_ne_bytes(*number) {
            libc::SIGTERM => ExitReason::Terminated,
            _ => ExitReason::Interrupted,
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
