// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest tasks, as the host knows them.

use core::fmt;

use super::announce::Hold;
use super::ctx::Context;
use super::order::{Place, Publication, Seen, TaskWord};
use crate::sync::{Arc, Mutex, Ordering, Tally};

/// Which task: unique in its engine, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A guest task: what the guest's scheduler switches between. A handle, cheap to clone.
///
/// Made by [`Perf::create_task`](super::Perf::create_task) and [`Perf::fork`](super::Perf::fork),
/// ended by [`Perf::exit`](super::Perf::exit).
#[derive(Clone)]
pub struct Task(pub(super) Arc<TaskCore>);

pub(super) struct TaskCore {
    pub(super) id: TaskId,
    pub(super) word: TaskWord,
    /// Whether `slot` holds a context, readable without its lock.
    pub(super) published: Publication,
    slot: Mutex<Slot>,
    /// A trap was handed to the guest and not acknowledged yet. Only the vCPU's thread that the
    /// task is current on looks at it, and an exit ends it under the context's lock.
    trapped: Tally,
    /// Until then, what it does next has to be announced.
    announced: Mutex<Option<Hold>>,
}

/// The context of a task.
#[derive(Clone)]
pub(super) enum Slot {
    Empty,
    Context(Arc<Context>),
    /// The task has exited. Final.
    Closed,
}

impl Task {
    pub(super) fn new(id: TaskId, vcpu: vcpu_call::VcpuId) -> Self {
        Self(Arc::new(TaskCore {
            id,
            word: TaskWord::new(vcpu),
            published: Publication::new(),
            slot: Mutex::new(Slot::Empty),
            trapped: Tally::new(0),
            announced: Mutex::new(None),
        }))
    }

    /// Which task it is.
    pub fn id(&self) -> TaskId {
        self.0.id
    }

    /// Where the host believes it to be. It may be somewhere else by the time that this returns.
    pub fn place(&self) -> Place {
        self.0.word.place()
    }

    /// How many events are in its lists, those that it inherited among them.
    pub fn events(&self) -> usize {
        match self.0.slot() {
            Slot::Context(ctx) => ctx.lock().attached(),
            Slot::Empty | Slot::Closed => 0,
        }
    }

    /// How many of its events a child would inherit now.
    pub fn inheritable(&self) -> usize {
        match self.0.slot() {
            Slot::Context(ctx) => ctx.lock().inheritable(),
            Slot::Empty | Slot::Closed => 0,
        }
    }

    /// Whether it has exited.
    pub fn has_exited(&self) -> bool {
        self.0.published.seen() == Seen::Closed
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.0.id)
            .field("place", &self.place())
            .finish_non_exhaustive()
    }
}

impl TaskCore {
    /// The task's context, if it has one.
    pub(super) fn slot(&self) -> Slot {
        self.slot.lock().clone()
    }

    /// Gives the task its first context and publishes it. What it has instead, if not nothing.
    pub(super) fn publish(&self, ctx: &Arc<Context>) -> Result<(), Slot> {
        let mut slot = self.slot.lock();
        match &*slot {
            Slot::Empty => {
                *slot = Slot::Context(Arc::clone(ctx));
                self.published.publish();
                Ok(())
            }
            taken => Err(taken.clone()),
        }
    }

    /// Takes the context away for good, and says so. Whoever exits the task has the context's lock,
    /// unless there is no context: then `expected` is `None`, and `false` says that there is one by
    /// now.
    pub(super) fn close(&self, expected: Option<&Arc<Context>>) -> bool {
        let old;
        {
            let mut slot = self.slot.lock();
            match (&*slot, expected) {
                (Slot::Empty, None) => {}
                (Slot::Context(ctx), Some(expected)) if Arc::ptr_eq(ctx, expected) => {}
                _ => return false,
            }
            old = core::mem::replace(&mut *slot, Slot::Closed);
            self.published.close();
        }
        drop(old);
        true
    }

    /// Exchanges the contexts of two tasks that have one. The caller holds both contexts' locks.
    pub(super) fn exchange(&self, other: &Self) {
        core::mem::swap(&mut *self.slot.lock(), &mut *other.slot.lock());
    }

    /// A trap was handed to the guest.
    pub(super) fn trap(&self, announced: Option<Hold>) {
        self.trapped.store(1, Ordering::Relaxed);
        *self.announced.lock() = announced;
    }

    /// No trap is with the guest any more; whether one was.
    pub(super) fn untrap(&self) -> bool {
        let was = self.trapped.swap(0, Ordering::Relaxed) != 0;
        if was {
            self.silence();
        }
        was
    }

    /// What it does next need not be announced on account of the trap that it was handed.
    pub(super) fn silence(&self) {
        let announced = self.announced.lock().take();
        // Not under the lock.
        drop(announced);
    }

    pub(super) fn is_trapped(&self) -> bool {
        self.trapped.load(Ordering::Relaxed) != 0
    }
}
