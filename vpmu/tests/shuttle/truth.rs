// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What really happened in the guest, written down without the engine's help.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vcpu_call::VcpuId;
use vpmu::context::Task;

use crate::watch::{add, get};
use crate::world::{Once, VCPUS};

/// A task, and what it did.
pub(crate) struct TaskBook {
    pub(crate) task: Task,
    parent: Option<Arc<TaskBook>>,
    pub(crate) depth: u32,
    /// The stamps of the beginning and the end of its fork.
    forked: (u64, u64),
    /// Nothing but inherited events is opened for it, so that it can be swapped with its children.
    pub(crate) only_inherits: bool,
    /// What happened while it was current, on each vCPU.
    counts: [AtomicU64; VCPUS as usize],
    /// Announcements about it that somebody began and finished.
    begun: AtomicU64,
    finished: AtomicU64,
    /// Somebody makes it exit, or did.
    pub(crate) exiting: Once,
    pub(crate) exited: Once,
    /// It was handed a trap that it has not acknowledged.
    trapped: AtomicBool,
    /// Events that are open for it, those that are being opened included.
    pub(crate) events: AtomicU64,
}

/// A moment in the life of a task.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    begun: u64,
    finished: u64,
}

impl TaskBook {
    pub(crate) fn first(task: Task, only_inherits: bool) -> Self {
        Self {
            task,
            parent: None,
            depth: 0,
            forked: (0, 0),
            only_inherits,
            counts: Default::default(),
            begun: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            exiting: Once::default(),
            exited: Once::default(),
            trapped: AtomicBool::new(false),
            events: AtomicU64::new(0),
        }
    }

    pub(crate) fn forked(task: Task, parent: &Arc<Self>, forked: (u64, u64)) -> Self {
        Self {
            parent: Some(Arc::clone(parent)),
            depth: parent.depth + 1,
            forked,
            ..Self::first(task, parent.only_inherits)
        }
    }

    /// `n` events happen in it.
    pub(crate) fn happen(&self, vcpu: VcpuId, n: u64) {
        add(&self.counts[vcpu.index()], n);
    }

    /// What happened in it, on all vCPUs or on one.
    pub(crate) fn happened(&self, on: Option<VcpuId>) -> u64 {
        match on {
            Some(vcpu) => get(&self.counts[vcpu.index()]),
            None => self.counts.iter().map(get).sum(),
        }
    }

    /// Whether it descends from `root` by forks all of which began after `stamp`.
    pub(crate) fn surely_inherits(&self, root: &Arc<Self>, stamp: u64) -> bool {
        self.descends(root, &|(begin, _)| begin > stamp)
    }

    /// Whether it descends from `root` by forks none of which ended before `stamp`.
    pub(crate) fn maybe_inherits(&self, root: &Arc<Self>, stamp: u64) -> bool {
        self.descends(root, &|(_, end)| end > stamp)
    }

    /// Whether both have an ancestor in common, so that they may hold the same events.
    pub(crate) fn is_related(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self.first_of_all(), other.first_of_all())
    }

    fn first_of_all(self: &Arc<Self>) -> &Arc<Self> {
        match &self.parent {
            Some(parent) => parent.first_of_all(),
            None => self,
        }
    }

    fn descends(&self, root: &Arc<Self>, by: &impl Fn((u64, u64)) -> bool) -> bool {
        self.parent.as_ref().is_some_and(|parent| {
            by(self.forked) && (Arc::ptr_eq(parent, root) || parent.descends(root, by))
        })
    }

    pub(crate) fn begin(&self) {
        add(&self.begun, 1);
    }

    pub(crate) fn finish(&self) {
        add(&self.finished, 1);
    }

    /// Runs an announcement about it.
    pub(crate) fn announcing<R>(&self, f: impl FnOnce() -> R) -> R {
        self.begin();
        let result = f();
        self.finish();
        result
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment {
            begun: get(&self.begun),
            finished: get(&self.finished),
        }
    }

    /// How many announcements about it at most overlapped the time from `then` to now.
    pub(crate) fn overlapped(&self, then: Moment) -> u64 {
        get(&self.begun) - then.finished
    }

    /// Whether it stood still from `then` to now.
    pub(crate) fn stood_still(&self, then: Moment) -> bool {
        then.begun == then.finished && get(&self.begun) == then.begun
    }

    /// Whether nothing was announced about it from `then` to now but by whoever asks, once.
    pub(crate) fn stood_still_but_for_one(&self, then: Moment) -> bool {
        then.begun == then.finished && get(&self.begun) == then.begun + 1
    }

    pub(crate) fn is_trapped(&self) -> bool {
        self.trapped.load(Ordering::Relaxed)
    }

    pub(crate) fn set_trapped(&self, trapped: bool) {
        self.trapped.store(trapped, Ordering::Relaxed);
    }
}
