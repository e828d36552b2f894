// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! SIGTRAP: traps on their way to a task, and the law that accounts for them.
//!
//! - **T1** An overflow of an event with sigtrap queues a trap, unless one of the same event is on
//!   its way: then it is merged with that, which keeps its address, the first one.
//! - **T2** A trap on its way belongs to the context's task. Nothing takes it back: not switching
//!   out, migration, rotation, disabling or closing. While there is one, the context stays with the
//!   task, and a closed event stays readable to whoever delivers it.
//! - **T3** It is delivered when its task returns to user mode, the oldest first, each after the one
//!   before was acknowledged.
//! - **T4** When the task exits, the traps on their way are dropped and no more are queued.
//! - **T5** The law: `overflows = queued + merged + refused` and `queued = sent + dropped +
//!   pending`, for each event at any time, where `refused` is 0 but for overflows that an exit
//!   found after it closed the queue.

use super::EventId;
use super::ctx::Ctx;
use super::task::TaskId;
use crate::sync::{Ordering, Tally};

/// A SIGTRAP for a task, with code TRAP_PERF.
///
/// The guest's kernel makes a signal of it. Whether SIGTRAP is blocked is its business: it
/// acknowledges when it could deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// The task that was current when the event overflowed.
    pub task: TaskId,
    /// The event; for an inherited one, that which it was inherited from.
    pub event: EventId,
    /// Address of the first overflow since the last trap of this event; 0 if there was none, or if
    /// the event must not show it.
    pub addr: u64,
    /// The event's [`Attr::sigtrap`](super::Attr::sigtrap).
    pub data: u64,
}

/// What became of the overflows of an event with sigtrap (T5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrapCounts {
    /// Overflows that queued a trap.
    pub queued: u64,
    /// Overflows that found a trap of their event on its way.
    pub merged: u64,
    /// Overflows found by an exit, after it closed the queue.
    pub refused: u64,
    /// Traps that were handed to the guest.
    pub sent: u64,
    /// Traps whose task exited first.
    pub dropped: u64,
}

impl TrapCounts {
    /// Traps on their way: queued, and neither sent nor dropped. A closed event stays with its context
    /// until there are none (I15).
    #[must_use]
    pub const fn on_their_way(&self) -> u64 {
        self.queued
            .saturating_sub(self.sent.saturating_add(self.dropped))
    }
}

/// The counts as they are kept: written under the lock of the event's context, read by anybody.
#[derive(Debug, Default)]
pub(super) struct TrapTally {
    queued: Tally,
    merged: Tally,
    refused: Tally,
    sent: Tally,
    dropped: Tally,
}

impl TrapTally {
    pub(super) fn counts(&self) -> TrapCounts {
        TrapCounts {
            queued: self.queued.load(Ordering::Relaxed),
            merged: self.merged.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

fn add(tally: &Tally, n: u64) {
    tally.fetch_add(n, Ordering::Relaxed);
}

/// What became of one or more overflows found at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    New,
    Merged,
    Refused,
}

impl Ctx {
    /// `overflows` (at least one) of the event at `index` happened (T1).
    pub(super) fn queue_trap(&mut self, index: usize, overflows: u64, addr: u64) -> Queued {
        let accepts = self.accepts_traps;
        let entry = self.at(index);
        let Some(tally) = &entry.core.traps else {
            return Queued::Refused;
        };
        if !accepts {
            add(&tally.refused, overflows);
            return Queued::Refused;
        }
        if entry.pending_trap.is_some() {
            add(&tally.merged, overflows);
            return Queued::Merged;
        }
        add(&tally.queued, 1);
        add(&tally.merged, overflows - 1);
        entry.pending_trap = Some(addr);
        self.traps.push_back(index);
        Queued::New
    }

    /// The oldest trap, on its way to `task`, is handed over (T3).
    pub(super) fn send_trap(&mut self, task: TaskId) -> Option<Trap> {
        let index = self.traps.pop_front()?;
        let entry = self.at(index);
        let addr = entry.pending_trap.take().expect("a queued trap");
        if let Some(tally) = &entry.core.traps {
            add(&tally.sent, 1);
        }
        let trap = Trap {
            task,
            event: entry.core.top,
            addr,
            data: entry.core.attr.sigtrap.unwrap_or_default(),
        };
        self.release(index);
        Some(trap)
    }

    /// The task exits (T4). How many traps were dropped.
    pub(super) fn close_traps(&mut self) -> usize {
        self.accepts_traps = false;
        let dropped = self.traps.len();
        while let Some(index) = self.traps.pop_front() {
            let entry = self.at(index);
            entry.pending_trap = None;
            if let Some(tally) = &entry.core.traps {
                add(&tally.dropped, 1);
            }
            self.release(index);
        }
        dropped
    }
}
