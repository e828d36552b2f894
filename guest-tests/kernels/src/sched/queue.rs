// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The tasks that wait for a vCPU: first in, first out.

use super::{MAX_TASKS, Tid};

pub(super) struct Queue {
    slots: [Tid; MAX_TASKS],
    len: usize,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self {
            slots: [Tid(0); MAX_TASKS],
            len: 0,
        }
    }

    /// Puts a task at the end; a task is in one queue at most, so there is room.
    pub(super) fn push(&mut self, task: Tid) {
        self.slots[self.len] = task;
        self.len += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the first one.
    pub(super) fn pop(&mut self) -> Option<Tid> {
        let first = *self.slots[..self.len].first()?;
        self.take(0);
        Some(first)
    }

    /// Takes this one; whether it was there.
    pub(super) fn remove(&mut self, task: Tid) -> bool {
        let place = self.slots[..self.len].iter().position(|&slot| slot == task);
        if let Some(place) = place {
            self.take(place);
        }
        place.is_some()
    }

    fn take(&mut self, place: usize) {
        self.slots.copy_within(place + 1..self.len, place);
        self.len -= 1;
    }
}
