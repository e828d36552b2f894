// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest's RAM, as the port needs it.

/// The guest's RAM: words of it, each read and written whole.
///
/// A leaf of the perf core's locks: it neither waits nor calls the port or the perf core. Loads have
/// acquire ordering and stores release, at least: what is seen in one word was stored after what is
/// read in others behind it. All vCPUs may write it at any time.
///
/// ```
/// use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
/// use perf_port_host::PortMemory;
///
/// /// 64 words at 0.
/// struct Small([AtomicU64; 64]);
///
/// impl PortMemory for Small {
///     fn load64(&self, gpa: u64) -> Option<u64> {
///         let word = self.0.get(usize::try_from(gpa / 8).ok()?)?;
///         Some(word.load(Ordering::Acquire))
///     }
///
///     fn store64(&self, gpa: u64, value: u64) -> bool {
///         let word = usize::try_from(gpa / 8).ok().and_then(|at| self.0.get(at));
///         word.inspect(|word| word.store(value, Ordering::Release)).is_some()
///     }
/// #   fn load32(&self, _: u64) -> Option<u32> { None }
/// #   fn store32(&self, _: u64, _: u32) -> bool { false }
/// }
///
/// let ram = Small([const { AtomicU64::new(0) }; 64]);
/// assert!(ram.store64(8, 7));
/// assert_eq!((ram.load64(8), ram.load64(4096)), (Some(7), None));
/// ```
pub trait PortMemory: Send + Sync {
    /// The 32 bits at guest-physical address `gpa`, a multiple of 4; `None` where no RAM is.
    fn load32(&self, gpa: u64) -> Option<u32>;

    /// Stores 32 bits at `gpa`, a multiple of 4; whether RAM is there.
    fn store32(&self, gpa: u64, value: u32) -> bool;

    /// The 64 bits at `gpa`, a multiple of 8; `None` where no RAM is.
    fn load64(&self, gpa: u64) -> Option<u64>;

    /// Stores 64 bits at `gpa`, a multiple of 8; whether RAM is there.
    fn store64(&self, gpa: u64, value: u64) -> bool;
}
