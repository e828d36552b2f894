// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Whose debug exception was it? While the trap is armed KVM hands all of them to user space.

use kvm_bindings::{kvm_debug_exit_arch, kvm_regs, kvm_sregs};

use super::paging;
use super::proof::RFLAGS_TF;
use crate::GuestMemory;

/// DR6.B3: the breakpoint in DR3 was met (Intel SDM vol. 3B, 18.2.3).
const DR6_B3: u64 = 1 << 3;
/// DR6.B0-B3: any breakpoint was met.
const DR6_B: u64 = 0xf;
/// DR6.BS: a single step.
pub(crate) const DR6_BS: u64 = 1 << 14;
/// INT1, also ICEBP.
const ICEBP: u8 = 0xf1;
/// POPF: may clear RFLAGS.TF and is stepped all the same.
const POPF: u8 = 0x9d;

/// Why a debug exit came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The guest's own single step.
    Step,
    /// The guest's own ICEBP.
    Icebp,
    /// The breakpoint on the #GP handler.
    Breakpoint,
    /// KVM stepped over an instruction of its own accord, to open the window for an NMI.
    Kvm,
}

/// The cause of `exit`, of a guest in the state that the exit left it in.
pub(crate) fn cause(
    exit: &kvm_debug_exit_arch,
    regs: &kvm_regs,
    sregs: &kvm_sregs,
    mem: &impl GuestMemory,
) -> Cause {
    let previous = || {
        let mut opcode = [0];
        let read = paging::read(sregs, mem, exit.pc.wrapping_sub(1), &mut opcode);
        (read == 1).then_some(opcode[0])
    };
    // BS alone may be stale or KVM's: the step was the guest's if it was stepping. A step is a
    // trap after its instruction and comes before a breakpoint on the next.
    let stepping = || regs.rflags & RFLAGS_TF != 0 || previous() == Some(POPF);
    if exit.dr6 & DR6_BS != 0 && stepping() {
        return Cause::Step;
    }
    if exit.dr6 & DR6_B3 != 0 {
        return Cause::Breakpoint;
    }
    // ICEBP sets neither BS nor a breakpoint bit.
    if exit.dr6 & (DR6_BS | DR6_B) == 0 && previous() == Some(ICEBP) {
        return Cause::Icebp;
    }
    Cause::Kvm
}
