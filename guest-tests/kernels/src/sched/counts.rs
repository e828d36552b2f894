// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What each vCPU did, for the kernels' checks.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::check_eq;
use crate::tap::Outcome;

/// What a vCPU did since the kernel's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Switches from a task, or none, to another, or none.
    pub switches: u64,
    /// Those of them that were announced by a SWITCH command.
    pub announced: u64,
    /// Those of them that the port refused.
    pub refused_switches: u64,
    /// Exits, executions, migrations and wakes that the port refused. A migration or wake may be
    /// if announcements were switched on since the task's last one.
    pub refused: u64,
    /// Traps that came as an exception.
    pub by_exception: u64,
    /// Traps that USER returned before a return to user mode.
    pub by_user: u64,
    /// USERs that returned none.
    pub for_nothing: u64,
    /// What the port's rules exclude: exceptions without a record, records of other tasks, records
    /// before the one before was acknowledged, returns from no handler. 0 always.
    pub odd: u64,
}

impl Counts {
    /// Whether what a guest that does everything right never sees was not seen on `cpu`.
    ///
    /// # Errors
    /// What was.
    pub fn check(&self, cpu: usize) -> Outcome {
        check_eq!(self.odd, 0, "odd things on CPU {cpu}");
        check_eq!(self.refused_switches, 0, "refused switches of CPU {cpu}");
        Ok(())
    }
}

pub(super) struct Atomic {
    pub(super) switches: AtomicU64,
    pub(super) announced: AtomicU64,
    pub(super) refused_switches: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) by_exception: AtomicU64,
    pub(super) by_user: AtomicU64,
    pub(super) for_nothing: AtomicU64,
    pub(super) odd: AtomicU64,
}

impl Atomic {
    pub(super) const fn new() -> Self {
        Self {
            switches: AtomicU64::new(0),
            announced: AtomicU64::new(0),
            refused_switches: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            by_exception: AtomicU64::new(0),
            by_user: AtomicU64::new(0),
            for_nothing: AtomicU64::new(0),
            odd: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Relaxed);
        Counts {
            switches: of(&self.switches),
            announced: of(&self.announced),
            refused_switches: of(&self.refused_switches),
            refused: of(&self.refused),
            by_exception: of(&self.by_exception),
            by_user: of(&self.by_user),
            for_nothing: of(&self.for_nothing),
            odd: of(&self.odd),
        }
    }
}
