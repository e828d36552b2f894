// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The end for threads that are no vCPU's.

use std::fmt;

use crate::mailbox::Mailbox;
use crate::sync::Arc;
use crate::{Calls, NotRun, Park, VcpuId, Waker};

/// The end for a thread that is no vCPU's, such as the one behind a control socket: nobody calls
/// it, it calls vCPUs.
///
/// ```
/// use vcpu_call::{Calls, NotRun, VcpuId};
///
/// let calls: Calls<(), ()> = Calls::new(1, |_| ());
/// assert_eq!(calls.outside().call(VcpuId(0), ()), Err(NotRun::Offline));
/// assert_eq!(calls.outside().call(VcpuId(1), ()), Err(NotRun::Offline), "no such vCPU");
/// ```
pub struct Outside<F, R> {
    mailbox: Arc<Mailbox<F, R>>,
    calls: Calls<F, R>,
}

impl<F: Send + 'static, R: Send + 'static> Outside<F, R> {
    pub(crate) fn new(calls: Calls<F, R>) -> Self {
        let mailbox = Arc::new(Mailbox::new());
        Self { mailbox, calls }
    }

    /// Runs `f` on the thread of `target` and waits for its result.
    ///
    /// # Errors
    /// [`NotRun::Offline`] if `target` is offline or does not exist; [`NotRun::Lost`] if its thread
    /// ended or panicked before it answered.
    pub fn call(&mut self, target: VcpuId, f: F) -> Result<R, NotRun> {
        self.calls.send(&self.mailbox, target, f)?;
        self.mailbox.next_answer()
    }

    /// Blocks until woken. A wake that came earlier counts; it may also return for no reason.
    pub fn park(&mut self) {
        self.mailbox.sleep();
    }

    /// What makes [`park`](Self::park) return.
    pub fn waker(&self) -> Waker {
        Waker::new(self.mailbox.clone())
    }
}

impl<F: Send + 'static, R: Send + 'static> Park for Outside<F, R> {
    fn waker(&self) -> Waker {
        self.waker()
    }

    fn park(&mut self) {
        self.park();
    }
}

impl<F, R> fmt::Debug for Outside<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}
