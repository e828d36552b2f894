// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Traps into a guest task: where the guest stands, and what is done about it there.

use std::ops::Range;

use kvm_bindings::{KVM_VCPUEVENT_VALID_PAYLOAD, kvm_vcpu_events};
use kvm_ioctls::VcpuFd;
use perf_port::io::TRAP_VECTOR;

use crate::error::{Error, REPORT, kvm};
use crate::source::VcpuSource;

/// RFLAGS.IF (Intel SDM vol. 1, 3.4.3.3).
const RFLAGS_IF: u64 = 1 << 9;
/// The privilege level of user mode.
const USER: u8 = 3;

/// What became of a trap that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It is taken before the task's next instruction; or the guest's kernel knows of it.
    Yes,
    /// Something else is on its way into the guest: to be tried again after the next entry.
    NotNow,
}

/// Whether the vCPU is in user mode.
///
/// By SS: KVM reports the CPU's privilege level there, whatever SYSRET loaded.
pub(crate) fn in_user_mode(vcpu: &VcpuFd) -> Result<bool, Error> {
    let sregs = vcpu.get_sregs().map_err(kvm("KVM_GET_SREGS", REPORT))?;
    Ok(sregs.ss.dpl == USER)
}

/// Delivers the trap of the current task, which has one. The last exit is finished: registers are as
/// the guest has them.
///
/// In user mode the trap is taken by the task at once, as an interrupt through its gate that passes no
/// interrupt controller and so wants no EOI. KVM injects exceptions as well, but AMD's CPUs refuse
/// vectors that they have no exception for (APM vol. 2, 15.20).
///
/// In kernel mode the kernel is told. If it looked already, and is on its way to user mode, it is put
/// back in front of its look.
pub(crate) fn deliver(vcpu: &VcpuFd, source: &mut impl VcpuSource) -> Result<Delivered, Error> {
    let user = in_user_mode(vcpu)?;
    let mut regs = vcpu.get_regs().map_err(kvm("KVM_GET_REGS", REPORT))?;
    if !user {
        let window = source.raise_trap();
        if let Some(start) = restart(window, regs.rip) {
            regs.rip = start;
            vcpu.set_regs(&regs).map_err(kvm("KVM_SET_REGS", REPORT))?;
        }
        return Ok(Delivered::Yes);
    }
    let mut events = vcpu
        .get_vcpu_events()
        .map_err(kvm("KVM_GET_VCPU_EVENTS", REPORT))?;
    if regs.rflags & RFLAGS_IF == 0 || !takes_interrupt(&events) {
        // What is on its way ends in the kernel, which looks when it returns: perhaps before the
        // next exit.
        let _ = source.raise_trap();
        return Ok(Delivered::NotNow);
    }
    if source.hand_over() {
        inject(&mut events);
        vcpu.set_vcpu_events(&events)
            .map_err(kvm("KVM_SET_VCPU_EVENTS", REPORT))?;
    }
    Ok(Delivered::Yes)
}

/// Whether an interrupt can be put into the vCPU: nothing else is half delivered, behind which KVM
/// would forget it, and no interrupt shadow makes the CPU refuse the entry.
const fn takes_interrupt(events: &kvm_vcpu_events) -> bool {
    events.exception.injected == 0
        && events.exception.pending == 0
        && events.interrupt.injected == 0
        && events.nmi.injected == 0
        && events.interrupt.shadow == 0
}

/// Puts the trap's interrupt into `events`. What other vCPUs may have sent since those were read (an
/// NMI, an INIT, its SIPI) is not set by them: it would be lost.
const fn inject(events: &mut kvm_vcpu_events) {
    events.flags &= KVM_VCPUEVENT_VALID_PAYLOAD;
    events.interrupt.injected = 1;
    events.interrupt.nr = TRAP_VECTOR;
    events.interrupt.soft = 0;
}

/// Where a kernel goes on that is past its look, and not in user mode yet.
fn restart(window: Option<Range<u64>>, rip: u64) -> Option<u64> {
    let window = window.filter(|window| window.contains(&rip))?;
    (window.start != rip).then_some(window.start)
}

#[cfg(test)]
mod tests {
    use kvm_bindings::{
        KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_SHADOW,
        KVM_VCPUEVENT_VALID_SIPI_VECTOR, KVM_VCPUEVENT_VALID_SMM, KVM_VCPUEVENT_VALID_TRIPLE_FAULT,
    };

    use super::*;

    #[test]
    fn a_trap_waits_for_whatever_is_half_delivered() {
        let idle = kvm_vcpu_events::default();
        assert!(takes_interrupt(&idle));
        let busy: [fn(&mut kvm_vcpu_events); 5] = [
            |events| events.exception.injected = 1,
            |events| events.exception.pending = 1,
            |events| events.interrupt.injected = 1,
            |events| events.nmi.injected = 1,
            |events| events.interrupt.shadow = 2,
        ];
        for (nth, make) in busy.iter().enumerate() {
            let mut events = idle;
            make(&mut events);
            assert!(!takes_interrupt(&events), "{nth}");
        }
        let mut events = idle;
        events.nmi.pending = 1;
        assert!(takes_interrupt(&events), "it comes afterwards");
    }

    #[test]
    fn what_others_send_meanwhile_is_not_overwritten() {
        let mut events = kvm_vcpu_events {
            flags: KVM_VCPUEVENT_VALID_NMI_PENDING
                | KVM_VCPUEVENT_VALID_SIPI_VECTOR
                | KVM_VCPUEVENT_VALID_SHADOW
                | KVM_VCPUEVENT_VALID_SMM
                | KVM_VCPUEVENT_VALID_PAYLOAD
                | KVM_VCPUEVENT_VALID_TRIPLE_FAULT,
            ..kvm_vcpu_events::default()
        };
        inject(&mut events);
        assert_eq!(events.flags, KVM_VCPUEVENT_VALID_PAYLOAD);
        let interrupt = events.interrupt;
        assert_eq!(
            (interrupt.injected, interrupt.nr, interrupt.soft),
            (1, TRAP_VECTOR, 0)
        );
    }

    #[test]
    fn only_a_kernel_within_its_last_look_starts_it_over() {
        let window = Some(0x1000..0x1010);
        assert_eq!(restart(window.clone(), 0x0fff), None);
        assert_eq!(restart(window.clone(), 0x1000), None, "it is there");
        assert_eq!(restart(window.clone(), 0x1001), Some(0x1000));
        assert_eq!(restart(window.clone(), 0x100f), Some(0x1000));
        assert_eq!(restart(window, 0x1010), None, "past the IRET");
        assert_eq!(restart(None, 0x1001), None);
    }
}
