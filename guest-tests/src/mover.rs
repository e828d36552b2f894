// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Moves the threads of this process between the host's CPUs, as a busy scheduler would.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, gettid};

/// How long the threads stay where they are: a few exits of a vCPU.
const STAY: Duration = Duration::from_millis(1);

/// What came of the moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    /// The process may use one CPU only.
    OneCpu,
    /// So often was a thread put on another CPU.
    Times(u64),
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    times: AtomicU64,
}

/// Moves all threads of this process but its own, until it is asked to stop.
#[derive(Debug)]
pub(crate) struct Mover {
    shared: Arc<Shared>,
    thread: JoinHandle<Moves>,
}

impl Mover {
    /// Starts to move.
    #[must_use]
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let on_thread = Arc::clone(&shared);
        Self {
            shared,
            thread: thread::spawn(move || run(&on_thread)),
        }
    }

    /// Stops, and says what came of it.
    pub(crate) fn stop(self) -> Moves {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Had it panicked, it would have moved nothing more.
        self.thread.join().unwrap_or(Moves::Times(0))
    }
}

fn run(shared: &Shared) -> Moves {
    let all = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    let cpus: Vec<CpuSet> = (0..CpuSet::count())
        .filter(|&cpu| all.is_set(cpu).unwrap_or(false))
        .filter_map(only)
        .collect();
    if cpus.len() < 2 {
        return Moves::OneCpu;
    }
    let mut round = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        for (index, thread) in threads().into_iter().enumerate() {
            // A thread may have ended meanwhile.
            if sched_setaffinity(thread, &cpus[(round + index) % cpus.len()]).is_ok() {
                shared.times.fetch_add(1, Ordering::Relaxed);
            }
        }
        round += 1;
        // The rhythm of the moves; nothing waits for it.
        thread::sleep(STAY);
    }
    for thread in threads() {
        // As before; a thread that has ended needs nothing.
        let _ = sched_setaffinity(thread, &all);
    }
    Moves::Times(shared.times.load(Ordering::Relaxed))
}

/// The set of `cpu` alone.
fn only(cpu: usize) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    set.set(cpu).ok()?;
    Some(set)
}

/// The threads of this process but the one that asks, in the order of their ids.
fn threads() -> Vec<Pid> {
    let own = gettid();
    let mut threads: Vec<Pid> = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|&thread| thread != own)
        .collect();
    threads.sort_unstable();
    threads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_moved_and_put_back() {
        let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let several = (0..CpuSet::count())
            .filter(|&cpu| before.is_set(cpu).unwrap())
            .count()
            > 1;
        let mover = Mover::start();
        while several && mover.shared.times.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        match mover.stop() {
            Moves::OneCpu => assert!(!several),
            Moves::Times(times) => assert!(several && times > 0),
        }
        assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), before);
    }
}
