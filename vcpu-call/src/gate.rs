// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A lock without data whose waiting owners keep serving.
//!
//! [`ServingGate::word`] says it all to whoever comes alone; the queue knows who waits.
//!
//! - The word is [`FREE`], [`HELD`], or [`AWAITED`]: held, and whoever leaves must look at the
//!   queue.
//! - A waiter stands in the queue from before it first sleeps until it has entered or given up.
//!   It tries to enter under the queue's lock, and leaves `AWAITED` behind either way: if it fails,
//!   for itself; if it enters, for those behind it, should there be any.
//! - Whoever leaves wakes the first in the queue. That one stays there, in case somebody else enters
//!   before it: then `AWAITED` makes that one wake it again.

use std::collections::VecDeque;
use std::fmt;

use crate::sync::{AtomicU8, Mutex, Ordering};
use crate::{Park, Waker};

const FREE: u8 = 0;
const HELD: u8 = 1;
const AWAITED: u8 = 2;

/// A section that one thread at a time is in, and whose waiters serve their mailboxes: so it may be
/// held across calls. [`ServingLock`](crate::ServingLock) is this with data.
///
/// ```
/// use vcpu_call::{Calls, ServingGate};
///
/// let calls: Calls<(), ()> = Calls::new(1, |_| ());
/// let mut me = calls.outside();
/// let gate = ServingGate::new();
/// let inside = gate.enter(&mut me);
/// // `me` is free for calls here.
/// drop(inside);
/// ```
pub struct ServingGate {
    word: AtomicU8,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    next_ticket: u64,
}

struct Waiter {
    ticket: u64,
    waker: Waker,
}

/// Being inside a [`ServingGate`]; dropped, it leaves.
#[must_use = "dropped at once, it holds nothing"]
pub struct Inside<'a> {
    gate: &'a ServingGate,
}

/// A place in the queue, given up if a panic ends the wait.
struct Place<'a> {
    gate: &'a ServingGate,
    ticket: u64,
}

impl ServingGate {
    /// A gate nobody is inside.
    pub fn new() -> Self {
        Self {
            word: AtomicU8::new(FREE),
            queue: Mutex::new(Queue::default()),
        }
    }

    /// Waits until nobody is inside and enters. `by` serves its mailbox meanwhile.
    ///
    /// A thread that is inside already would wait for itself for ever, and serve.
    pub fn enter(&self, by: &mut (impl Park + ?Sized)) -> Inside<'_> {
        if !self.word.replaced(FREE, HELD, Ordering::Acquire) {
            self.wait(by);
        }
        Inside { gate: self }
    }

    #[cold]
    fn wait(&self, by: &mut (impl Park + ?Sized)) {
        let place = self.line_up(by.waker());
        while !place.try_enter() {
            by.park();
        }
        // It was given up on entering.
        std::mem::forget(place);
    }

    fn line_up(&self, waker: Waker) -> Place<'_> {
        let mut queue = self.queue.lock();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiters.push_back(Waiter { ticket, waker });
        Place { gate: self, ticket }
    }

    fn leave(&self) {
        if self.word.swap(FREE, Ordering::Release) == AWAITED {
            self.wake_first();
        }
    }

    #[cold]
    fn wake_first(&self) {
        let first = self.queue.lock().first();
        if let Some(waker) = first {
            waker.wake();
        }
    }
}

impl Place<'_> {
    fn try_enter(&self) -> bool {
        let mut queue = self.gate.queue.lock();
        if self.gate.word.swap(AWAITED, Ordering::Acquire) != FREE {
            return false;
        }
        queue.remove(self.ticket);
        true
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.gate.queue.lock().remove(self.ticket);
        // The wake that this waiter may have got is the next one's now.
        self.gate.wake_first();
    }
}

impl Queue {
    fn first(&self) -> Option<Waker> {
        self.waiters.front().map(|waiter| waiter.waker.clone())
    }

    fn remove(&mut self, ticket: u64) {
        self.waiters.retain(|waiter| waiter.ticket != ticket);
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.gate.leave();
    }
}

impl Default for ServingGate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ServingGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingGate").finish_non_exhaustive()
    }
}

impl fmt::Debug for Inside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}
