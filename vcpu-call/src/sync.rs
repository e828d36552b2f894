// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The only door to locks, atomics and threads: those of std, or of a model checker with
//! `--cfg loom` or `--cfg shuttle`. What ships is what is checked.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this is the door"
)]

#[cfg(loom)]
use loom::sync as imp;
#[cfg(shuttle)]
use shuttle::sync as imp;
#[cfg(not(any(loom, shuttle)))]
use std::sync as imp;
use std::sync::PoisonError;

use std::ops::{Deref, DerefMut};

/// std's in every build: the handles are only counted, nothing is ordered by them.
pub(crate) use std::sync::Arc;
/// A plain enum, the same in every build.
pub(crate) use std::sync::atomic::Ordering;

// Types of our own around all the rest: a name exported anew would still be std's to clippy, which
// keeps std's out of the other files (clippy.toml).

pub(crate) fn fence(order: Ordering) {
    imp::atomic::fence(order);
}

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
}

/// A guess that decides how to wait and never whether: the model checkers need not see it.
#[derive(Default)]
pub(crate) struct Hint(std::sync::atomic::AtomicBool);

impl Hint {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, value: bool) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// How many times a waiting thread looks before it sleeps: some 20 µs. A model checker has no use
/// for looks that come too early.
pub(crate) const LINGER: u32 = if cfg!(any(loom, shuttle)) { 0 } else { 1_000 };

/// How many times a vCPU that has just served looks for the next call: some 2 µs, in which a caller
/// that has its answer asks again.
pub(crate) const TARRY: u32 = if cfg!(any(loom, shuttle)) { 0 } else { 100 };

pub(crate) fn spin() {
    std::hint::spin_loop();
}

pub(crate) struct AtomicU8(imp::atomic::AtomicU8);

impl AtomicU8 {
    pub(crate) fn new(value: u8) -> Self {
        Self(imp::atomic::AtomicU8::new(value))
    }

    pub(crate) fn swap(&self, value: u8, order: Ordering) -> u8 {
        self.0.swap(value, order)
    }

    /// Whether the value was `current`; it is `new` now. If it was not, nothing is ordered.
    pub(crate) fn replaced(&self, current: u8, new: u8, order: Ordering) -> bool {
        self.0
            .compare_exchange(current, new, order, Ordering::Relaxed)
            .is_ok()
    }
}

/// A lock that knows no poison: no foreign code runs under the crate's own locks, so that a panic
/// cannot leave anything half done there; and what `ServingLock` protects is its user's to judge.
#[derive(Default)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

pub(crate) struct MutexGuard<'a, T>(imp::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
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

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard(self.0.wait(guard.0).unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }
}
