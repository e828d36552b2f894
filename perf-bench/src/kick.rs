// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kicks without KVM: a signal to a vCPU's thread, as a VMM sends it, and a stand-in for the guest
//! that the signal makes it leave.

use std::cell::Cell;
use std::hint;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering, compiler_fence};
use std::thread;

use libc::{c_int, c_void, pid_t, siginfo_t};
use vcpu_call::{Ipi, VcpuId};
use vmm_sys_util::errno;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

thread_local! {
    /// Kicks that this thread's handler took.
    static KICKS: AtomicU64 = const { AtomicU64::new(0) };
}

extern "C" fn on_kick(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    KICKS.with(|kicks| kicks.fetch_add(1, Ordering::Relaxed));
}

/// Installs the handler, once a process and before the first kick. Again is harmless.
///
/// # Errors
/// When the kernel refuses it.
pub fn install() -> io::Result<()> {
    register_signal_handler(SIGRTMIN(), on_kick).map_err(errno::Error::into)
}

/// Kicks a thread of this process.
///
/// # Errors
/// When there is no such thread, or the kernel's queue of signals is full.
pub fn send(thread: pid_t) -> io::Result<()> {
    // SAFETY: tgkill takes three integers, and the signal has a handler.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGRTMIN()) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the calling thread runs in the guest's stead: it spins until a kick comes.
///
/// As with KVM: [`clear`](Self::clear), look at the requests, [`run`](Self::run). A kick that comes
/// in between makes `run` return at once.
///
/// ```
/// use perf_bench::kick::{self, Guest};
/// use perf_bench::threads;
///
/// kick::install()?;
/// let guest = Guest::new();
/// kick::send(threads::id())?;
/// guest.run();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Guest {
    cleared: Cell<u64>,
    /// Kicks are counted for each thread.
    not_send: PhantomData<*const ()>,
}

impl Guest {
    /// The calling thread's guest, not kicked.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cleared: Cell::new(kicks()),
            not_send: PhantomData,
        }
    }

    /// Forgets earlier kicks.
    pub fn clear(&self) {
        self.cleared.set(kicks());
        // The handler runs on this very thread: only the compiler could move the caller's look at
        // its requests above this.
        compiler_fence(Ordering::SeqCst);
    }

    /// Runs until the thread is kicked, or was after [`clear`](Self::clear).
    pub fn run(&self) {
        while kicks() == self.cleared.get() {
            hint::spin_loop();
        }
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

fn kicks() -> u64 {
    KICKS.with(|kicks| kicks.load(Ordering::Relaxed))
}

/// Kicks vCPUs by signals to their threads. A clone kicks the same ones.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Each vCPU's thread; 0 where none runs, which no thread's id is.
    threads: Arc<[AtomicI32]>,
}

impl Signals {
    /// For so many vCPUs, none of which has a thread yet.
    #[must_use]
    pub fn new(vcpus: u32) -> Self {
        Self {
            threads: (0..vcpus).map(|_| AtomicI32::new(0)).collect(),
        }
    }

    /// From now on kicks of `vcpu` go to `thread`. Tell before the vCPU is online.
    ///
    /// # Panics
    /// If there is no such vCPU.
    pub fn bind(&self, vcpu: VcpuId, thread: pid_t) {
        self.threads[vcpu.index()].store(thread, Ordering::Release);
    }
}

impl Ipi for Signals {
    fn send(&self, target: VcpuId) {
        let thread = self.threads[target.index()].load(Ordering::Acquire);
        // A vCPU without a thread has nobody in its guest, and a thread that is gone has left it.
        // A full queue empties itself.
        while thread != 0
            && send(thread).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {
            thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads;

    #[test]
    fn a_kick_between_clear_and_run_is_not_lost() {
        install().unwrap();
        let guest = Guest::new();
        guest.clear();
        send(threads::id()).unwrap();
        // Would otherwise never return.
        guest.run();
    }

    #[test]
    fn signals_reach_the_bound_thread_only() {
        install().unwrap();
        let signals = Signals::new(2);
        signals.bind(VcpuId(1), threads::id());
        let before = kicks();
        Ipi::send(&signals, VcpuId(0));
        assert_eq!(kicks(), before);
        Ipi::send(&signals, VcpuId(1));
        // A signal to oneself is taken before the system call returns.
        assert_eq!(kicks(), before + 1);
    }
}
