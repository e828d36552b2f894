// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Switching the guest's announcements on, and telling it that a trap waits (R24).
//!
//! A guest announces its context switches only while somebody wants to know, since each one costs an
//! exit. It cannot be made to wait for a quiet moment, so both sides use the same protocol: store,
//! fence, look.
//!
//! - **A1** At each switch the guest stores its new current task in its vCPU's page, passes a full
//!   fence, and looks at the flag: raised, it announces the switch.
//! - **A2** The host raises the flag, passes a full fence, kicks every vCPU and reads its page. A
//!   switch that did not see the flag is seen in the page.
//! - **A3** A trap is queued before its flag is raised. The guest's kernel looks at the flag with
//!   interrupts off, right before it returns to user mode; a raise that comes after that look is
//!   followed by a kick, which brings the vCPU out before its next user instruction.

use std::boxed::Box;
use std::vec::Vec;

use vcpu_call::VcpuId;

use super::PerfError;
use super::order::full_fence;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// A word of one side that the other side looks at after it stored its own.
///
/// For A3: the host's flag says that a trap waits, the vCPU's says that the guest went on to user
/// mode. Whoever comes second sees the first, so either the guest takes the trap or the host kicks.
///
/// ```
/// use vpmu::context::announce::Flag;
///
/// let (trap_waits, in_user_mode) = (Flag::new(), Flag::new());
/// assert!(!in_user_mode.raise_and_look(&trap_waits), "the guest goes on");
/// assert!(trap_waits.raise_and_look(&in_user_mode), "the host kicks");
/// ```
#[derive(Debug)]
pub struct Flag(AtomicU32);

impl Default for Flag {
    fn default() -> Self {
        Self::new()
    }
}

impl Flag {
    /// A flag that is down.
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Raises this flag and then looks at the `other`: store, fence, load.
    pub fn raise_and_look(&self, other: &Self) -> bool {
        self.raise();
        full_fence();
        other.is_raised()
    }

    /// Raises it, and looks at nothing.
    fn raise(&self) {
        self.0.store(1, Ordering::Release);
    }

    /// Takes it down.
    pub fn lower(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether it is up.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }
}

/// The flag that asks for announcements, and the pages of all vCPUs.
///
/// ```
/// use vcpu_call::VcpuId;
/// use vpmu::context::announce::Announcements;
///
/// let vm = Announcements::new(2);
/// // Nobody asks: the guest switches without an exit.
/// assert_eq!(vm.guest_switches(VcpuId(1), 42), Ok(false));
/// // Somebody asks, and finds what is current by now.
/// let mut kicked = Vec::new();
/// let current = vm.turn_on(|vcpu| kicked.push(vcpu));
/// assert_eq!(current, [0, 42]);
/// assert_eq!(kicked, [VcpuId(0), VcpuId(1)]);
/// // From here on every switch is announced.
/// assert_eq!(vm.guest_switches(VcpuId(0), 43), Ok(true));
/// ```
#[derive(Debug)]
pub struct Announcements {
    wanted: Flag,
    /// The guest's name of the current task of each vCPU.
    pages: Box<[AtomicU64]>,
}

impl Announcements {
    /// Nothing is announced; 0 is current on each of `vcpus`.
    pub fn new(vcpus: u32) -> Self {
        Self {
            wanted: Flag::new(),
            pages: (0..vcpus).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// What the guest's kernel does at a switch on `vcpu` to the task that it calls `task` (A1);
    /// whether it has to announce it.
    ///
    /// # Errors
    /// [`PerfError::NoSuchVcpu`] if there is no such vCPU.
    pub fn guest_switches(&self, vcpu: VcpuId, task: u64) -> Result<bool, PerfError> {
        let page = self.pages.get(vcpu.index());
        let page = page.ok_or(PerfError::NoSuchVcpu(vcpu))?;
        page.store(task, Ordering::Release);
        full_fence();
        Ok(self.wanted.is_raised())
    }

    /// Asks for announcements, kicks every vCPU, and returns what is current on each (A2).
    pub fn turn_on(&self, mut kick: impl FnMut(VcpuId)) -> Vec<u64> {
        self.wanted.raise();
        full_fence();
        let vcpus = (0..).map(VcpuId).zip(&self.pages);
        vcpus
            .map(|(vcpu, page)| {
                kick(vcpu);
                page.load(Ordering::Acquire)
            })
            .collect()
    }

    /// Asks for no more announcements.
    pub fn turn_off(&self) {
        self.wanted.lower();
    }
}
