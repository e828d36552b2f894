// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a kick takes: from the signal to the moment at which the vCPU's thread is out of its guest.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvm_ioctls::Kvm;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use vpmu_kvm::kick::Kicker;

use crate::guest::{Guest, Kind, Progress};

/// Kicks that one figure is the mean of.
const KICKS: u32 = 10;
/// A guest that is not entered for so long never will be.
const LOST: Duration = Duration::from_secs(60);

/// The calling thread.
const MYSELF: Pid = Pid::from_raw(0);

/// A guest that does nothing but be kicked.
pub(crate) struct Kicks {
    /// Where the kicker runs meanwhile, and where it may at other times.
    kicker_on: CpuSet,
    anywhere: CpuSet,
    progress: Progress,
    kicker: Kicker,
    /// How often the guest is let go, and how often it has come out.
    asked: Arc<AtomicU64>,
    out: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Kicks {
    /// Makes the guest; it waits outside.
    pub(crate) fn start() -> Result<Self> {
        let anywhere = sched_getaffinity(MYSELF)?;
        let [kicker_on, guest_on] = two_of(&anywhere)?;
        let asked = Arc::new(AtomicU64::new(0));
        let out = Arc::new(AtomicU64::new(0));
        let (made, is_made) = channel();
        let thread = {
            let (asked, out) = (Arc::clone(&asked), Arc::clone(&out));
            thread::spawn(move || {
                sched_setaffinity(MYSELF, &guest_on)?;
                let mut guest = Guest::new(&Kvm::new().context("/dev/kvm")?, Kind::None)?;
                let spinner = guest.spinner()?;
                // Whoever made it may have failed meanwhile.
                let _ = made.send(spinner);
                loop {
                    match asked.load(Ordering::Acquire) {
                        END => return Ok(()),
                        rounds if rounds == out.load(Ordering::Relaxed) => thread::park(),
                        _ => {
                            guest.spin()?;
                            out.fetch_add(1, Ordering::Release);
                        }
                    }
                }
            })
        };
        let Ok((progress, kicker)) = is_made.recv() else {
            return match thread.join() {
                Ok(Err(error)) => Err(error),
                _ => bail!("The guest to be kicked was not made"),
            };
        };
        Ok(Self {
            kicker_on,
            anywhere,
            progress,
            kicker,
            asked,
            out,
            thread,
        })
    }

    /// What a kick takes, in ns.
    pub(crate) fn time(&self) -> Result<f64> {
        sched_setaffinity(MYSELF, &self.kicker_on)?;
        let kicks: Result<Vec<_>> = (0..KICKS).map(|_| self.once()).collect();
        sched_setaffinity(MYSELF, &self.anywhere)?;
        let sum: Duration = kicks?.iter().sum();
        Ok(sum.as_secs_f64() * 1e9 / f64::from(KICKS))
    }

    fn once(&self) -> Result<Duration> {
        let before = self.progress.now()?;
        let round = self.asked.fetch_add(1, Ordering::Release) + 1;
        self.thread.thread().unpark();
        // Only a kick of a guest that runs is one.
        let start = Instant::now();
        while self.progress.now()? == before {
            if start.elapsed() > LOST {
                bail!("The guest to be kicked does not run");
            }
            thread::yield_now();
        }
        let start = Instant::now();
        self.kicker.kick()?;
        // A kicker that sleeps would be measured as well.
        while self.out.load(Ordering::Acquire) != round {
            if self.has_ended() {
                bail!("The guest to be kicked has ended");
            }
            hint::spin_loop();
        }
        Ok(start.elapsed())
    }

    fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Two of these CPUs, as a set each: a kicker that shares its CPU with the guest would be measured until
/// the host takes the CPU from it. The same one twice if there is only one.
fn two_of(all: &CpuSet) -> Result<[CpuSet; 2]> {
    let mut cpus = (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu) == Ok(true));
    let first = cpus.next().context("This thread may run nowhere")?;
    let only = |cpu| {
        let mut set = CpuSet::new();
        set.set(cpu).map(|()| set)
    };
    Ok([only(first)?, only(cpus.next().unwrap_or(first))?])
}

/// In place of how often the guest is let go: never again.
const END: u64 = u64::MAX;

impl Drop for Kicks {
    fn drop(&mut self) {
        self.asked.store(END, Ordering::Release);
        self.thread.thread().unpark();
        // It is in the guest, or about to forget kicks and go there, if a figure could not be had.
        while !self.has_ended() {
            let _ = self.kicker.kick();
            thread::yield_now();
        }
    }
}
