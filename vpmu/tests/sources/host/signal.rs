// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The kick, as a signal that stays pending until the test looks.

use std::mem::MaybeUninit;
use std::ptr;

use libc::c_int;

/// A signal that is blocked on this thread: what is sent is found pending.
pub(crate) struct Pending {
    set: libc::sigset_t,
}

impl Pending {
    /// Blocks the first real-time signal on the calling thread, which ends with its test.
    pub(crate) fn block() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set it is given.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            let mut set = set.assume_init();
            libc::sigaddset(&raw mut set, libc::SIGRTMIN());
            set
        };
        // SAFETY: the set is a valid local, and the old mask is not asked for.
        let blocked =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        assert_eq!(blocked, 0, "pthread_sigmask");
        Self { set }
    }

    pub(crate) fn signal(&self) -> c_int {
        libc::SIGRTMIN()
    }

    /// How often the signal is pending; it no longer is then.
    pub(crate) fn take(&self) -> u32 {
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: set and time are valid and only read, and the details are not asked for.
        let next =
            || unsafe { libc::sigtimedwait(&raw const self.set, ptr::null_mut(), &raw const now) };
        let mut taken = 0;
        while next() == self.signal() {
            taken += 1;
        }
        taken
    }
}
