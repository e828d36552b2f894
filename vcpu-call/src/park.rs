// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Going to sleep, and being woken.

use std::fmt;

use crate::sync::Arc;

/// What a [`Waker`] rings: the mailbox of a participant, whatever it carries.
pub(crate) trait Ring: Send + Sync {
    fn ring(&self);
}

/// Wakes one participant from its `park`, from any thread.
///
/// ```
/// use vcpu_call::Calls;
///
/// let calls: Calls<(), ()> = Calls::new(1, |_| ());
/// let mut me = calls.outside();
/// let waker = me.waker();
/// std::thread::scope(|threads| {
///     threads.spawn(|| waker.wake());
///     me.park();
/// });
/// ```
#[derive(Clone)]
pub struct Waker(Arc<dyn Ring>);

impl Waker {
    pub(crate) fn new(ring: Arc<dyn Ring>) -> Self {
        Self(ring)
    }

    /// Makes the participant's `park` return: the one it is in, or else its next one. Several wakes
    /// before that are one. It does not make a vCPU leave its guest.
    pub fn wake(&self) {
        self.0.ring();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

/// A thread that can sleep and, if it is a vCPU's, serves its mailbox meanwhile.
///
/// [`Outside`](crate::Outside) is one. For a vCPU its owner says what serving means:
///
/// ```
/// use vcpu_call::{Calls, Park, Vcpu, VcpuId, Waker};
///
/// struct MyVcpu {
///     calls: Vcpu<u32, ()>,
///     sum: u32,
/// }
///
/// impl Park for MyVcpu {
///     fn waker(&self) -> Waker {
///         self.calls.waker()
///     }
///
///     fn park(&mut self) {
///         let sum = &mut self.sum;
///         self.calls.park(|amount| *sum += amount);
///     }
/// }
///
/// let calls = Calls::new(1, |_| ());
/// let mut vcpu = MyVcpu { calls: calls.vcpu(VcpuId(0)).unwrap(), sum: 0 };
/// vcpu.calls.go_online();
/// std::thread::scope(|threads| {
///     let call = threads.spawn(|| calls.outside().call(VcpuId(0), 7));
///     while vcpu.sum == 0 {
///         vcpu.park();
///     }
///     assert_eq!(call.join().unwrap(), Ok(()));
/// });
/// assert_eq!(vcpu.sum, 7);
/// ```
pub trait Park {
    /// What makes [`park`](Self::park) return.
    fn waker(&self) -> Waker;

    /// Blocks until woken, serving meanwhile. A wake that came earlier counts; it may also return
    /// for no reason.
    fn park(&mut self);
}
