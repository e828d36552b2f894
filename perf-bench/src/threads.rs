// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Threads that stay where they are put.

use std::fs;
use std::io;
use std::mem;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use libc::{cpu_set_t, pid_t};

/// The CPUs that a measurement uses: the first two that this process may run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// The measuring thread's.
    pub ours: usize,
    /// The other side's; `None` on a machine with one CPU.
    pub other: Option<usize>,
}

impl Cpus {
    /// Looks at what the calling thread may use. Ask before pinning it.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn allowed() -> io::Result<Self> {
        let mut set = empty_set();
        // SAFETY: the set is a valid local of the size that is named.
        let got = unsafe { libc::sched_getaffinity(0, size_of::<cpu_set_t>(), &raw mut set) };
        if got != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut allowed = (0..libc::CPU_SETSIZE.unsigned_abs() as usize)
            // SAFETY: the number is below CPU_SETSIZE.
            .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) });
        let ours = allowed.next().ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            ours,
            other: allowed.next(),
        })
    }
}

fn empty_set() -> cpu_set_t {
    // SAFETY: cpu_set_t is plain data for which all zeros is the empty set.
    unsafe { mem::zeroed() }
}

/// Binds the calling thread to one CPU.
///
/// # Errors
/// When the kernel refuses.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE.unsigned_abs() as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = empty_set();
    // SAFETY: the number is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is a valid local of the size that is named.
    match unsafe { libc::sched_setaffinity(0, size_of::<cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The kernel's id of the calling thread.
#[must_use]
pub fn id() -> pid_t {
    // SAFETY: gettid has no preconditions.
    unsafe { libc::gettid() }
}

/// A thread that waits in the kernel until this is dropped.
#[derive(Debug)]
pub struct Blocked {
    id: pid_t,
    release: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Blocked {
    /// Starts one on `cpu`; it is blocked when this returns.
    ///
    /// # Errors
    /// When it cannot be started, put there or watched.
    pub fn on(cpu: usize) -> io::Result<Self> {
        let (release, released) = channel();
        let (tell, told) = channel();
        let thread = thread::Builder::new()
            .name("blocked".into())
            .spawn(move || blocked(cpu, &tell, &released))?;
        let mut this = Self {
            id: 0,
            release: Some(release),
            thread: Some(thread),
        };
        this.id = told.recv().map_err(io::Error::other)??;
        while !is_sleeping(this.id)? {
            thread::yield_now();
        }
        Ok(this)
    }

    /// The kernel's id of the thread.
    #[must_use]
    pub fn id(&self) -> pid_t {
        self.id
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.release = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to panic about, and nothing would follow from it.
            let _ = thread.join();
        }
    }
}

fn blocked(cpu: usize, tell: &Sender<io::Result<pid_t>>, released: &Receiver<()>) {
    // Whoever asked is waiting for the answer and, later, drops the other end: neither call can
    // fail in a way that matters.
    let _ = tell.send(pin(cpu).map(|()| id()));
    let _ = released.recv();
}

/// Whether a thread of this process waits in the kernel.
fn is_sleeping(thread: pid_t) -> io::Result<bool> {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat"))?;
    // The thread's name, in parentheses, may hold anything.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    Ok(state.is_some_and(|state| state.starts_with('S')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_thread_sleeps_until_it_is_dropped() {
        let blocked = Blocked::on(Cpus::allowed().unwrap().ours).unwrap();
        assert!(is_sleeping(blocked.id()).unwrap());
        let id = blocked.id();
        drop(blocked);
        // Joined, so that the kernel has taken it off the list, or is about to.
        while is_sleeping(id).is_ok_and(|sleeping| sleeping) {
            thread::yield_now();
        }
    }

    #[test]
    fn threads_are_pinned_where_they_are_told() {
        let cpus = Cpus::allowed().unwrap();
        thread::spawn(move || {
            let cpu = cpus.other.unwrap_or(cpus.ours);
            pin(cpu).unwrap();
            let now = Cpus::allowed().unwrap();
            assert_eq!((now.ours, now.other), (cpu, None));
            assert!(pin(usize::MAX).is_err());
        })
        .join()
        .unwrap();
    }
}
