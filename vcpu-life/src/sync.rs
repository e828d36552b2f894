// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The only door to locks, atomics and waits: those of std, or of loom with `--cfg loom`. What ships
//! is what is checked.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this is the door"
)]

#[cfg(loom)]
use loom::sync as imp;
#[cfg(not(loom))]
use std::sync as imp;

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

/// std's in every build: the handles are only counted, nothing is ordered by them.
pub(crate) use std::sync::Arc;
/// A plain enum, the same in every build.
pub(crate) use std::sync::atomic::Ordering;

// Types of our own around all the rest: see clippy.toml.

pub(crate) struct AtomicBool(imp::atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn new(value: bool) -> Self {
        Self(imp::atomic::AtomicBool::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: bool, order: Ordering) {
        self.0.store(value, order);
    }

    pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.swap(value, order)
    }
}

/// A lock that knows no poison: only the crate's own short steps run under it.
pub(crate) struct Mutex<T>(imp::Mutex<T>);

pub(crate) struct MutexGuard<'a, T>(imp::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A condition to wait for under a [`Mutex`].
pub(crate) struct Condvar(imp::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(imp::Condvar::new())
    }

    /// Waits for a notification, for `limit` at most. Loom knows no time: there it waits for the
    /// notification, so that a lost one is a deadlock that it finds.
    #[cfg(not(loom))]
    pub(crate) fn wait_for<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> MutexGuard<'a, T> {
        let (guard, _) = self
            .0
            .wait_timeout(guard.0, limit)
            .unwrap_or_else(PoisonError::into_inner);
        MutexGuard(guard)
    }

    #[cfg(loom)]
    pub(crate) fn wait_for<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _limit: Duration,
    ) -> MutexGuard<'a, T> {
        MutexGuard(self.0.wait(guard.0).unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
