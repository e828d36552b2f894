// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The only door to atomics and fences: those of core, or of the model checker with `--cfg loom`.
//! What ships is what is checked.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this is the door"
)]

#[cfg(not(loom))]
use core::sync::atomic as imp;
#[cfg(loom)]
use loom::sync::atomic as imp;

use imp::Ordering;

/// A word of a page. The other side of it is not of this program: the compiler has to take every
/// access as it is written.
macro_rules! word {
    ($name:ident, $atomic:ident, $value:ty) => {
        #[repr(transparent)]
        pub(crate) struct $name(imp::$atomic);

        impl $name {
            #[cfg(not(loom))]
            pub(crate) const fn new() -> Self {
                Self(imp::$atomic::new(0))
            }

            #[cfg(loom)]
            pub(crate) fn new() -> Self {
                Self(imp::$atomic::new(0))
            }

            pub(crate) fn get(&self) -> $value {
                self.0.load(Ordering::Relaxed)
            }

            pub(crate) fn set(&self, value: $value) {
                self.0.store(value, Ordering::Relaxed);
            }

            /// What was written before the value that is read is seen after it.
            pub(crate) fn get_acquire(&self) -> $value {
                self.0.load(Ordering::Acquire)
            }

            /// The other half of [`get_acquire`](Self::get_acquire).
            pub(crate) fn set_release(&self, value: $value) {
                self.0.store(value, Ordering::Release);
            }
        }
    };
}

word!(Word32, AtomicU32, u32);
word!(Word64, AtomicU64, u64);

/// `N` words of 0.
#[cfg(not(loom))]
pub(crate) const fn words<const N: usize>() -> [Word64; N] {
    [const { Word64::new() }; N]
}

/// `N` words of 0.
#[cfg(loom)]
pub(crate) fn words<const N: usize>() -> [Word64; N] {
    core::array::from_fn(|_| Word64::new())
}

/// The sequentially consistent fence; MFENCE, or an instruction that is as good.
pub(crate) fn full_fence() {
    imp::fence(Ordering::SeqCst);
}
