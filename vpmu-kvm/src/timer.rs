// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A one-shot monotonic timer that kicks its vCPU's thread.

use std::mem::{MaybeUninit, zeroed};
use std::ptr;

use libc::{CLOCK_MONOTONIC, SIGEV_THREAD_ID, itimerspec, sigevent, timer_t, timespec};
use vmm_sys_util::errno;

use crate::Error;
use crate::kick::{KickGuard, signal};

/// Host time in nanoseconds on `CLOCK_MONOTONIC`.
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(CLOCK_MONOTONIC)
}

/// CPU time of the calling thread in nanoseconds: halted and preempted time is not in it.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = MaybeUninit::<timespec>::zeroed();
    // SAFETY: the pointer is to a timespec of ours; both clocks used here always exist.
    let now = unsafe {
        libc::clock_gettime(clock, now.as_mut_ptr());
        now.assume_init()
    };
    // Neither clock is ever negative, and both fit 64 bits for 500 years.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// A timer whose expiry is a kick of the thread that made it.
///
/// A POSIX timer on the thread's own CPU clock would fit better in name, but expires on scheduler
/// ticks, milliseconds late. CPU time never runs faster than the monotonic clock, so a monotonic
/// timer can only be early: whoever it wakes looks again and arms it anew.
#[derive(Debug)]
pub(crate) struct KickTimer {
    timer: timer_t,
    /// When it will fire, if it is armed.
    deadline: Option<u64>,
}

impl KickTimer {
    pub(crate) fn new(guard: &KickGuard) -> Result<Self, Error> {
        // SAFETY: sigevent is plain data for which all zeros is valid.
        let mut event: sigevent = unsafe { zeroed() };
        event.sigev_notify = SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        event.sigev_notify_thread_id = guard.tid();
        let mut timer: timer_t = ptr::null_mut();
        // SAFETY: both pointers are to locals of the right types, and the timer is kept.
        if unsafe { libc::timer_create(CLOCK_MONOTONIC, &raw mut event, &raw mut timer) } != 0 {
            return Err(Error::Host {
                call: "timer_create",
                remedy: "Raise the limit of pending signals (ulimit -i)",
                source: errno::Error::last(),
            });
        }
        Ok(Self {
            timer,
            deadline: None,
        })
    }

    /// Whether it was armed and that time has come.
    pub(crate) fn expired(&self, now: u64) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Makes sure that the timer fires at `deadline` or earlier. A
    /// deadline before `now` no longer counts as armed.
    pub(crate) fn fire_by(&mut self, now: u64, deadline: u64) -> Result<(), Error> {
        if self
            .deadline
            .is_some_and(|armed| armed > now && armed <= deadline)
        {
            return Ok(());
        }
        let deadline = deadline.max(now + 1);
        self.set(deadline)?;
        self.deadline = Some(deadline);
        Ok(())
    }

    /// Does not fire any more, unless it has just done so.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        self.deadline = None;
        self.set(0)
    }

    /// Sets it to fire at `at`; 0 stops it.
    fn set(&self, at: u64) -> Result<(), Error> {
        let value = timespec {
            tv_sec: i64::try_from(at / 1_000_000_000).unwrap_or(i64::MAX),
            // Below 10^9: it fits.
            tv_nsec: i64::try_from(at % 1_000_000_000).unwrap_or(0),
        };
        let setting = itimerspec {
            it_interval: timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: value,
        };
        // SAFETY: the timer is ours and alive, the setting a valid local.
        let result = unsafe {
            libc::timer_settime(
                self.timer,
                libc::TIMER_ABSTIME,
                &raw const setting,
                ptr::null_mut(),
            )
        };
        if result != 0 {
            return Err(Error::Host {
                call: "timer_settime",
                remedy: crate::error::REPORT,
                source: errno::Error::last(),
            });
        }
        Ok(())
    }
}

impl Drop for KickTimer {
    fn drop(&mut self) {
        // SAFETY: the timer is ours and not used after this.
        unsafe { libc::timer_delete(self.timer) };
    }
}
