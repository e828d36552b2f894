// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU's thread that is in its guest.

use std::hint;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use libc::pid_t;

use crate::kick::{self, Guest};
use crate::measure::{Failure, Side};
use crate::threads;

/// How whoever kicks waits until the kicked thread says that it has left its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// In the kernel, as one that waits for a call does.
    Asleep,
    /// At the price of a CPU.
    Spinning,
}

/// A thread that spins in its stand-in guest, leaves it at every kick, and is stopped when this is
/// dropped.
///
/// ```
/// use perf_bench::running::{Running, Wait};
/// use perf_bench::threads::Cpus;
///
/// let cpu = Cpus::allowed()?.ours;
/// let vcpu = Running::start(cpu, |_thread| || { /* here requests would be served */ })?;
/// vcpu.kick(Wait::Asleep)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    id: pid_t,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// Whether the thread is in its guest, or about to enter it with nothing left to do before.
    inside: AtomicBool,
    /// Acknowledgements asked for, and given.
    asked: AtomicU64,
    acknowledged: AtomicU64,
    kicker: Thread,
}

impl Running {
    /// Starts one on `cpu`. On that thread `begin` is given the thread's id and returns what is
    /// done before each entry; it has run when this returns.
    ///
    /// # Errors
    /// When the handler cannot be installed or the thread not be started there.
    pub fn start<E: FnMut()>(
        cpu: usize,
        begin: impl FnOnce(pid_t) -> E + Send + 'static,
    ) -> io::Result<Self> {
        kick::install()?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            inside: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            kicker: thread::current(),
        });
        let (tell, told) = channel();
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("running".into())
            .spawn(move || run(cpu, begin, &tell, &theirs))?;
        Ok(Self {
            shared,
            id: told.recv().map_err(io::Error::other)??,
            thread: Some(thread),
        })
    }

    /// The kernel's id of the thread.
    #[must_use]
    pub fn id(&self) -> pid_t {
        self.id
    }

    /// Waits until the thread is in its guest: what comes then has to make it leave.
    fn await_entry(&self) {
        while !self.shared.inside.load(Ordering::Acquire) {
            hint::spin_loop();
        }
    }

    /// A side of a comparison whose every `act` begins when the thread is in its guest. An act that
    /// needs a kick is dear enough to be timed alone.
    pub fn side<'a>(&'a self, mut act: impl FnMut() -> Result<(), Failure> + 'a) -> Side<'a> {
        Side::timing_itself(1, move |times| {
            let mut took = Duration::ZERO;
            for _ in 0..times {
                took += self.time(&mut act)?.1;
            }
            Ok(took)
        })
    }

    /// How long `act` takes that begins when the thread is in its guest.
    ///
    /// # Errors
    /// As `act`.
    pub fn time<T>(
        &self,
        act: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<(T, Duration), Failure> {
        self.await_entry();
        let started = Instant::now();
        let result = act()?;
        Ok((result, started.elapsed()))
    }

    /// Kicks it and waits until it has left its guest and says so: the floor under everything that
    /// has to reach a running vCPU. For the thread that started it.
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn kick(&self, wait: Wait) -> io::Result<()> {
        let asked = self.shared.asked.fetch_add(1, Ordering::Release) + 1;
        kick::send(self.id)?;
        while self.shared.acknowledged.load(Ordering::Acquire) != asked {
            match wait {
                Wait::Asleep => thread::park(),
                Wait::Spinning => hint::spin_loop(),
            }
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Were the signal refused, waiting would be for ever. A panic of the thread has been
        // printed already.
        if kick::send(self.id).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn acknowledge(&self) {
        let asked = self.asked.load(Ordering::Acquire);
        if asked != self.acknowledged.load(Ordering::Relaxed) {
            self.acknowledged.store(asked, Ordering::Release);
            self.kicker.unpark();
        }
    }
}

fn run<E: FnMut()>(
    cpu: usize,
    begin: impl FnOnce(pid_t) -> E,
    tell: &Sender<io::Result<pid_t>>,
    shared: &Shared,
) {
    let id = threads::id();
    if let Err(error) = threads::pin(cpu) {
        // Whoever started this waits for the answer.
        let _ = tell.send(Err(error));
        return;
    }
    // Made first: a kick that comes right after the answer must be noticed.
    let guest = Guest::new();
    let mut before_entry = begin(id);
    if tell.send(Ok(id)).is_err() {
        return;
    }
    while !shared.stop.load(Ordering::Acquire) {
        shared.inside.store(true, Ordering::Release);
        guest.run();
        shared.inside.store(false, Ordering::Release);
        guest.clear();
        shared.acknowledge();
        before_entry();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::threads::Cpus;

    #[test]
    fn every_kick_is_acknowledged_however_it_is_waited_for() {
        let cpus = Cpus::allowed().unwrap();
        let running = Running::start(cpus.other.unwrap_or(cpus.ours), |_| || ()).unwrap();
        for wait in [Wait::Asleep, Wait::Spinning] {
            for _ in 0..100 {
                running.kick(wait).unwrap();
            }
        }
        let acknowledged = running.shared.acknowledged.load(Ordering::Relaxed);
        assert_eq!(acknowledged, 200);
    }

    #[test]
    fn a_thread_whose_requests_are_done_enters_again() {
        let cpus = Cpus::allowed().unwrap();
        let running = Running::start(cpus.other.unwrap_or(cpus.ours), |_| || ()).unwrap();
        for _ in 0..100 {
            running.await_entry();
            running.kick(Wait::Spinning).unwrap();
        }
    }

    #[test]
    fn every_kick_is_followed_by_a_look_at_the_requests() {
        let cpus = Cpus::allowed().unwrap();
        let (asked, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (theirs, seen) = (Arc::clone(&asked), Arc::clone(&done));
        let running = Running::start(cpus.other.unwrap_or(cpus.ours), move |_| {
            move || seen.store(theirs.load(Ordering::Acquire), Ordering::Release)
        })
        .unwrap();
        for request in 1..=100 {
            asked.store(request, Ordering::Release);
            kick::send(running.id()).unwrap();
            while done.load(Ordering::Acquire) != request {
                thread::yield_now();
            }
        }
    }
}
