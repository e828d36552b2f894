// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A spin lock, and values each CPU has for itself.

use core::cell::UnsafeCell;
use core::ops::{Deref, Index};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::{MAX_CPUS, cpu};

/// A lock that spins with interrupts kept out, so that no interrupt handler waits for the code
/// it interrupted. NMI handlers must not take one.
pub struct Lock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` lets one CPU in at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// An open lock.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self {
            held: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `f` with the value.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        cpu::without_interrupts(|| {
            while self
                .held
                .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
            {
                core::hint::spin_loop();
            }
            // SAFETY: the lock is held.
            let result = f(unsafe { &mut *self.value.get() });
            self.held.store(false, Ordering::Release);
            result
        })
    }

    /// Opens the lock whoever holds it: only for a CPU that is about to end the run.
    pub(crate) fn break_open(&self) {
        self.held.store(false, Ordering::Release);
    }
}

/// One `T` for each CPU; dereferences to the current CPU's.
pub struct PerCpu<T>(pub [T; MAX_CPUS]);

impl<T> Deref for PerCpu<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0[cpu::current()]
    }
}

impl<T> Index<usize> for PerCpu<T> {
    type Output = T;

    fn index(&self, cpu: usize) -> &T {
        &self.0[cpu]
    }
}
