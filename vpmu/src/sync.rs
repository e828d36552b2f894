// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The only door to locks, atomics and threads.
//!
//! Everything else takes them from here, and clippy holds it to that. Built with `--cfg loom` or
//! `--cfg shuttle` the same names are those of the model checkers, so that the code that ships is
//! the code that is checked.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

#[cfg(not(any(loom, shuttle)))]
use std::{sync, thread};

#[cfg(loom)]
use loom::{sync, thread};

#[cfg(all(shuttle, not(loom)))]
use shuttle::{sync, thread};

pub(crate) use sync::atomic::Ordering;

pub(crate) type AtomicU32 = sync::atomic::AtomicU32;
pub(crate) type AtomicU64 = sync::atomic::AtomicU64;
pub(crate) type MutexGuard<'a, T> = sync::MutexGuard<'a, T>;

/// A handle; the real one under the model checkers as well, because handles order nothing here.
pub(crate) type Arc<T> = std::sync::Arc<T>;
pub(crate) type Weak<T> = std::sync::Weak<T>;

/// A number that is only ever shown or compared with itself: nothing is ordered by it, so the model
/// checkers need not see it.
pub(crate) type Tally = core::sync::atomic::AtomicU64;

/// A mutex that does not know poison: whoever panicked with a guard in hand did so between two
/// consistent states or not at all, and the other vCPUs go on.
#[derive(Debug)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The sequentially consistent fence.
pub(crate) fn full_fence() {
    sync::atomic::fence(Ordering::SeqCst);
}

/// Lets others go first: for the retry that only somebody else's progress can end.
pub(crate) fn yield_now() {
    thread::yield_now();
}
