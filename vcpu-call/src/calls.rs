// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All the mailboxes of a VM, and who may speak for one.

use std::fmt;

use crate::mailbox::{Mailbox, NotRun};
use crate::sync::Arc;
use crate::{Ipi, Outside, Vcpu, VcpuId};

/// Why a vCPU cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The number is [`Calls::len`] or above.
    #[error("There is no vCPU {0}")]
    NoSuchVcpu(VcpuId),
    /// A [`Vcpu`] with this number is alive.
    #[error("vCPU {0} has its thread already")]
    Claimed(VcpuId),
}

/// The calls among the vCPUs of one VM. Clones are handles to the same.
///
/// `F` is the function as a value: an enum of the VMM, or a `Box<dyn FnOnce(&mut MyVcpu) -> R +
/// Send>`. `R` is its result.
///
/// ```
/// use vcpu_call::{Calls, ClaimError, NotRun, VcpuId};
///
/// let calls: Calls<u32, u32> = Calls::new(2, |_| ());
/// let mut vcpu = calls.vcpu(VcpuId(0))?;
/// assert_eq!(calls.vcpu(VcpuId(0)).unwrap_err(), ClaimError::Claimed(VcpuId(0)));
/// assert_eq!(calls.outside().call(VcpuId(0), 7), Err(NotRun::Offline));
/// vcpu.go_online();
/// assert!(calls.is_online(VcpuId(0)));
/// assert_eq!(vcpu.call(VcpuId(0), 7, |n| n + 1), Ok(8));
/// # Ok::<(), ClaimError>(())
/// ```
pub struct Calls<F, R>(Arc<Shared<F, R>>);

struct Shared<F, R> {
    mailboxes: Box<[Arc<Mailbox<F, R>>]>,
    ipi: Box<dyn Ipi>,
}

impl<F, R> Calls<F, R> {
    /// The vCPUs `0..vcpus`, all of them offline, kicked by `ipi`.
    pub fn new(vcpus: u32, ipi: impl Ipi + 'static) -> Self {
        Self(Arc::new(Shared {
            mailboxes: (0..vcpus).map(|_| Arc::new(Mailbox::new())).collect(),
            ipi: Box::new(ipi),
        }))
    }

    /// How many vCPUs there can be.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`new` took the number as u32"
    )]
    pub fn len(&self) -> u32 {
        self.0.mailboxes.len() as u32
    }

    /// Whether there can be no vCPU at all.
    pub fn is_empty(&self) -> bool {
        self.0.mailboxes.is_empty()
    }

    /// Whether calls to this vCPU are accepted. It may have changed before you look at the answer.
    pub fn is_online(&self, id: VcpuId) -> bool {
        self.mailbox(id).is_some_and(|mailbox| mailbox.is_open())
    }

    /// Queues `f` at `target`, and kicks it if it may be in its guest; the answer comes to the mailbox `caller`.
    pub(crate) fn send(
        &self,
        caller: &Arc<Mailbox<F, R>>,
        target: VcpuId,
        f: F,
    ) -> Result<(), NotRun> {
        let mailbox = self.mailbox(target).ok_or(NotRun::Offline)?;
        mailbox.post(f, caller, caller.begin())?;
        if mailbox.is_inside() {
            self.0.ipi.send(target);
        }
        Ok(())
    }

    fn mailbox(&self, id: VcpuId) -> Option<&Arc<Mailbox<F, R>>> {
        self.0.mailboxes.get(id.index())
    }
}

impl<F: Send + 'static, R: Send + 'static> Calls<F, R> {
    /// The end of the vCPU's own thread: it serves, and it calls. There is one at a time; after it
    /// was dropped the vCPU can be claimed again.
    ///
    /// # Errors
    /// [`ClaimError::NoSuchVcpu`], and [`ClaimError::Claimed`] while another one is alive.
    pub fn vcpu(&self, id: VcpuId) -> Result<Vcpu<F, R>, ClaimError> {
        let mailbox = self.mailbox(id).ok_or(ClaimError::NoSuchVcpu(id))?;
        if !mailbox.claim() {
            return Err(ClaimError::Claimed(id));
        }
        Ok(Vcpu::new(id, Arc::clone(mailbox), self.clone()))
    }

    /// An end for a thread that is no vCPU's: it calls only.
    pub fn outside(&self) -> Outside<F, R> {
        Outside::new(self.clone())
    }
}

impl<F, R> Clone for Calls<F, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F, R> fmt::Debug for Calls<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vcpus = self.0.mailboxes.len();
        f.debug_struct("Calls")
            .field("vcpus", &vcpus)
            .finish_non_exhaustive()
    }
}
