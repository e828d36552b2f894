// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Keeps KVM from rewriting the kernel's code while the lab runs.
//!
//! KVM guards rarely used paths with *static keys*: jumps that are patched in the running kernel
//! when the first user comes or the last one goes. QEMU's TCG does not always let all CPUs see
//! such a patch in time: a CPU then executes the breakpoint that stands in for the patched
//! instruction, finds nobody to handle it, and the kernel dies ("Oops: int3", seen in
//! `finish_task_switch` where the key of preemption notifiers is). Virtual machines that exist
//! from start to end and use every such path keep the keys up: nothing is patched after boot.

use kvm_ioctls::{Error, Kvm, VcpuFd, VmFd};

/// APIC base with the APIC disabled in hardware (IA32_APIC_BASE bit 11 clear).
const APIC_DISABLED: u64 = 0xfee0_0000;

/// The virtual machines that keep the keys up; they never run.
#[derive(Debug)]
pub(crate) struct Pinned {
    _vcpus: [VcpuFd; 2],
    _vms: [VmFd; 2],
}

/// Uses every path behind a static key, until the result is dropped.
pub(crate) fn pin() -> Result<Pinned, Error> {
    let kvm = Kvm::new()?;
    // A vCPU with a local APIC that is never enabled, neither by software nor by hardware.
    let with_apic = kvm.create_vm()?;
    with_apic.create_irq_chip()?;
    let disabled = with_apic.create_vcpu(0)?;
    let mut sregs = disabled.get_sregs()?;
    sregs.apic_base = APIC_DISABLED;
    disabled.set_sregs(&sregs)?;
    // And one without any.
    let without_apic = kvm.create_vm()?;
    let bare = without_apic.create_vcpu(0)?;
    Ok(Pinned {
        _vcpus: [disabled, bare],
        _vms: [with_apic, without_apic],
    })
}
