// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Making a vCPU thread leave the guest, without a race.
//!
//! A kick is a signal to the vCPU's thread. Its handler sets `kvm_run.immediate_exit`, so it works
//! at whatever moment it arrives: inside `KVM_RUN` the ioctl returns `EINTR`, before it the next
//! `KVM_RUN` returns `EINTR` without entering the guest.
//!
//! The order that makes a VMM's loop race-free: [`KickGuard::clear`], look at the request flags,
//! run. Whoever wants something sets the flag first and kicks then: a kick before the `clear` is
//! seen as a flag, a kick after it as `EINTR`.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering, compiler_fence};
use std::sync::{Arc, Mutex, PoisonError};

use kvm_ioctls::VcpuFd;
use libc::{c_int, c_void, pid_t, siginfo_t};
use vmm_sys_util::errno;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler, unblock_signal};

use crate::error::{Error, REPORT};

thread_local! {
    /// `kvm_run.immediate_exit` of the vCPU that this thread runs; null when it runs none.
    static IMMEDIATE_EXIT: AtomicPtr<u8> = const { AtomicPtr::new(ptr::null_mut()) };
    /// Whether this thread has a `KickGuard`.
    static BOUND: Cell<bool> = const { Cell::new(false) };
}

/// The signal that kicks: the first real-time one, as other Rust VMMs use.
#[must_use]
pub fn signal() -> c_int {
    SIGRTMIN()
}

extern "C" fn on_kick(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    IMMEDIATE_EXIT.with(|flag| {
        let flag = flag.load(Ordering::Relaxed);
        if !flag.is_null() {
            // SAFETY: the pointer is into the kvm_run page of a vCPU that stays mapped while its
            // KickGuard lives, and the guard clears it on this same thread. KVM reads the byte
            // only in KVM_RUN on this thread; a volatile byte store is all that is needed.
            unsafe { flag.write_volatile(1) };
        }
    });
}

/// Installs the signal handler, in place of any other; once a process, before the first vCPU runs.
/// Again is harmless.
///
/// # Errors
/// When the host refuses the handler.
pub fn install() -> Result<(), Error> {
    register_signal_handler(signal(), on_kick).map_err(|source| Error::Host {
        call: "sigaction",
        remedy: "The host must let this process handle the first real-time signal",
        source,
    })
}

/// Binds the calling thread to `vcpu`: from here on kicks reach it.
///
/// The guard must be dropped on this thread and before the `VcpuFd`, whose `kvm_run` page it
/// points into: keep both in one owner, the guard declared first.
///
/// # Errors
/// [`Error::ThreadBound`] if this thread already has a guard, [`Error::Host`] if the host does not let it
/// take the signal.
pub fn bind(vcpu: &mut VcpuFd) -> Result<KickGuard, Error> {
    if BOUND.replace(true) {
        return Err(Error::ThreadBound);
    }
    // Whoever started this process may have left it blocked, and threads inherit that.
    if unblock_signal(signal()).is_err() {
        BOUND.set(false);
        return Err(Error::Host {
            call: "pthread_sigmask",
            remedy: REPORT,
            source: errno::Error::last(),
        });
    }
    let flag = ptr::from_mut(&mut vcpu.get_kvm_run().immediate_exit);
    IMMEDIATE_EXIT.with(|slot| slot.store(flag, Ordering::Relaxed));
    // SAFETY: gettid has no preconditions.
    let tid = unsafe { libc::gettid() };
    Ok(KickGuard {
        flag,
        target: Arc::new(Mutex::new(Some(tid))),
        tid,
    })
}

/// A thread's binding to the vCPU that it runs; see [`bind`]. Not `Send`.
#[derive(Debug)]
pub struct KickGuard {
    flag: *mut u8,
    target: Arc<Mutex<Option<pid_t>>>,
    tid: pid_t,
}

impl KickGuard {
    /// A handle by which others kick this thread.
    #[must_use]
    pub fn kicker(&self) -> Kicker {
        Kicker {
            target: Arc::clone(&self.target),
        }
    }

    /// Forgets earlier kicks. Call it before looking at the request flags, then run.
    pub fn clear(&self) {
        // SAFETY: as in `on_kick`; the guard is dropped before the kvm_run page is unmapped.
        unsafe { self.flag.write_volatile(0) };
        // The handler runs on this very thread: only the compiler could move the caller's look at
        // its request flags above the store.
        compiler_fence(Ordering::SeqCst);
    }

    /// The kernel's id of this thread, for timers that signal it.
    pub(crate) fn tid(&self) -> pid_t {
        self.tid
    }
}

impl Drop for KickGuard {
    fn drop(&mut self) {
        // First no new kicks, then no more use of the page: a signal already under way finds null.
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = None;
        IMMEDIATE_EXIT.with(|slot| slot.store(ptr::null_mut(), Ordering::Relaxed));
        BOUND.set(false);
    }
}

/// Kicks one vCPU's thread, from any thread, for as long as it is bound.
#[derive(Clone, Debug)]
pub struct Kicker {
    target: Arc<Mutex<Option<pid_t>>>,
}

impl Kicker {
    /// Makes the vCPU's thread leave `KVM_RUN`, or the next `KVM_RUN` return at once. Does nothing
    /// once the thread has dropped its guard.
    ///
    /// # Errors
    /// When the host refuses the signal, which it does only if its queue is full.
    pub fn kick(&self) -> Result<(), Error> {
        // The lock is held over the signal, so that the thread cannot end and its id be reused.
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tid) = *target else { return Ok(()) };
        // SAFETY: tgkill takes three integers; the thread is ours and alive, see above.
        let result = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal()) };
        if result == 0 {
            return Ok(());
        }
        Err(Error::Host {
            call: "tgkill",
            remedy: "Raise the limit of pending signals (ulimit -i)",
            source: errno::Error::last(),
        })
    }
}
