// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Once a VM, before its vCPUs.

use kvm_bindings::{
    KVM_CAP_HALT_POLL, KVM_CAP_PMU_CAPABILITY, KVM_CAP_X86_MSR_FILTER, KVM_CAP_X86_USER_SPACE_MSR,
    KVM_MSR_EXIT_REASON_FILTER, KVM_PMU_CAP_DISABLE, kvm_enable_cap,
};
use kvm_ioctls::{Kvm, VmFd};
use vpmu::PmuModel;

use crate::error::{Error, REPORT, kvm};
use crate::filter;

/// The capabilities a PMU cannot do without: name, number, the kernel that brought it.
pub(crate) const REQUIRED: [(&str, u32, &str); 5] = [
    (
        "KVM_CAP_IMMEDIATE_EXIT",
        kvm_bindings::KVM_CAP_IMMEDIATE_EXIT,
        "4.13",
    ),
    (
        "KVM_CAP_SET_GUEST_DEBUG",
        kvm_bindings::KVM_CAP_SET_GUEST_DEBUG,
        "2.6.30",
    ),
    ("KVM_CAP_SYNC_REGS", kvm_bindings::KVM_CAP_SYNC_REGS, "4.17"),
    (
        "KVM_CAP_X86_USER_SPACE_MSR",
        KVM_CAP_X86_USER_SPACE_MSR,
        "5.10",
    ),
    ("KVM_CAP_X86_MSR_FILTER", KVM_CAP_X86_MSR_FILTER, "5.10"),
];

/// Prepares a VM that has no vCPUs yet for a PMU of ours, or for none.
///
/// KVM's own vPMU is disabled either way: it would answer RDPMC itself. Halt polling is switched
/// off, since it burns the CPU time of a vCPU that is halted. With a model, every access to an MSR of
/// [`PmuModel::msr_ranges`] becomes an exit to user space.
///
/// # Errors
/// [`Error::Missing`] names the capability that the host lacks; [`Error::Kvm`] the call that failed.
pub fn prepare_vm(kvm_fd: &Kvm, vm: &VmFd, model: Option<PmuModel>) -> Result<(), Error> {
    if capability(kvm_fd, KVM_CAP_PMU_CAPABILITY) & KVM_PMU_CAP_DISABLE != 0 {
        enable(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE.into())?;
    }
    if capability(kvm_fd, KVM_CAP_HALT_POLL) != 0 {
        enable(vm, KVM_CAP_HALT_POLL, 0)?;
    }
    let Some(model) = model else {
        return Ok(());
    };
    for (name, number, since) in REQUIRED {
        if capability(kvm_fd, number) == 0 {
            return Err(Error::Missing {
                capability: name,
                since,
            });
        }
    }
    enable(
        vm,
        KVM_CAP_X86_USER_SPACE_MSR,
        KVM_MSR_EXIT_REASON_FILTER.into(),
    )?;
    filter::install(vm, model)
}

/// What `KVM_CHECK_EXTENSION` says; 0 where KVM does not know it.
pub(crate) fn capability(kvm_fd: &Kvm, number: u32) -> u32 {
    u32::try_from(kvm_fd.check_extension_raw(number.into())).unwrap_or(0)
}

fn enable(vm: &VmFd, cap: u32, arg: u64) -> Result<(), Error> {
    let mut request = kvm_enable_cap {
        cap,
        ..Default::default()
    };
    request.args[0] = arg;
    vm.enable_cap(&request)
        .map_err(kvm("KVM_ENABLE_CAP", REPORT))
}
