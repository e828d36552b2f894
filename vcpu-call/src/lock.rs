// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A lock whose waiting owners keep serving.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::sync::{Mutex, MutexGuard};
use crate::{Inside, Park, ServingGate};

/// A lock that may be held across calls: whoever waits for it serves its mailbox meanwhile, so the
/// holder's call to that vCPU completes.
///
/// It is fair among those who sleep; whoever comes by when it is free may be faster. A panic of its
/// holder does not poison it.
///
/// ```
/// use vcpu_call::{Calls, ServingLock};
///
/// let calls: Calls<(), ()> = Calls::new(1, |_| ());
/// let mut me = calls.outside();
/// let present = ServingLock::new(vec![true]);
/// present.lock(&mut me).push(false);
/// assert_eq!(present.into_inner(), [true, false]);
/// ```
#[derive(Default)]
pub struct ServingLock<T> {
    gate: ServingGate,
    /// Locked inside the gate only, so never contended: safe Rust's way to the data.
    data: Mutex<T>,
}

/// What a [`ServingLock`] protects; dropped, it unlocks.
#[must_use = "dropped at once, it locks nothing"]
pub struct ServingGuard<'a, T> {
    // Dropped in this order.
    data: MutexGuard<'a, T>,
    _inside: Inside<'a>,
}

impl<T> ServingLock<T> {
    /// An unlocked lock.
    pub fn new(data: T) -> Self {
        Self {
            gate: ServingGate::new(),
            data: Mutex::new(data),
        }
    }

    /// Waits until nobody holds the lock and takes it. `by` serves its mailbox meanwhile, but stays
    /// free for calls once the lock is held.
    ///
    /// A thread that holds it already would wait for itself for ever, and serve.
    pub fn lock(&self, by: &mut (impl Park + ?Sized)) -> ServingGuard<'_, T> {
        let inside = self.gate.enter(by);
        ServingGuard {
            data: self.data.lock(),
            _inside: inside,
        }
    }

    /// The data, for whoever has the only reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// The data, out of the lock.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T> Deref for ServingGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> DerefMut for ServingGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}

impl<T> fmt::Debug for ServingLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingLock").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for ServingGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
