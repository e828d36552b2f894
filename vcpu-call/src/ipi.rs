// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which vCPU, and how its thread is made to look into its mailbox.

use std::fmt;

/// The number of a vCPU: `0..n` for the `n` vCPUs of a [`Calls`](crate::Calls).
///
/// ```
/// use vcpu_call::VcpuId;
///
/// assert_eq!(VcpuId(3).to_string(), "3");
/// assert_eq!(["a", "b"][VcpuId(1).index()], "b");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuId(pub u32);

impl VcpuId {
    /// The number as an index into a list of all vCPUs.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for VcpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How the VMM interrupts a vCPU's thread.
///
/// A closure `Fn(VcpuId)` is one:
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use vcpu_call::{Calls, VcpuId};
///
/// // What the run loop of vCPU 0 looks at; a real kick also makes the thread leave its guest.
/// let kicked = Arc::new(AtomicBool::new(false));
/// let ipi = {
///     let kicked = Arc::clone(&kicked);
///     move |_target: VcpuId| kicked.store(true, Ordering::SeqCst)
/// };
/// let calls: Calls<(), ()> = Calls::new(1, ipi);
/// assert_eq!(calls.len(), 1);
/// ```
pub trait Ipi: Send + Sync {
    /// Makes the thread of `target` look at [`Vcpu::pending`](crate::Vcpu::pending) soon, wherever
    /// it is (D3): it leaves the guest, a halt or a pause, or does not enter them. It does not wait
    /// for that.
    ///
    /// Called once for each call that `target` accepted, unless `target` said by then that it is out
    /// of its guest ([`Vcpu::exit_guest`](crate::Vcpu::exit_guest)); on the calling thread, with none of this
    /// crate's locks held but a [`ServingLock`](crate::ServingLock) that the caller may hold. The
    /// target may have answered, and even gone, by then: a kick too many must be harmless.
    fn send(&self, target: VcpuId);
}

impl<T: Fn(VcpuId) + Send + Sync> Ipi for T {
    fn send(&self, target: VcpuId) {
        self(target);
    }
}
