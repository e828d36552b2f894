// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU as it is after power-up, whatever its guest did to it since.
//!
//! KVM has no reset that user space could ask for: it gives the state of a vCPU that was just made,
//! and takes it back. What is left out belongs to the whole VM, or to the PMU of vpmu-kvm.

use std::ops::RangeInclusive;

use kvm_bindings::{
    KVM_MAX_MSR_ENTRIES, KVM_MP_STATE_UNINITIALIZED, KVM_VCPUEVENT_VALID_NMI_PENDING,
    KVM_VCPUEVENT_VALID_SHADOW, KVM_VCPUEVENT_VALID_SMM, Msrs, kvm_debugregs, kvm_lapic_state,
    kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd};
use vmm_sys_util::errno;
use vpmu::MsrId;

use super::error::{KvmError, REPORT, call};

/// IA32_TIME_STAMP_COUNTER. KVM takes a 0 from user space for the moment at which the vCPU was made:
/// its counter is the same as the others' then.
const TSC: u32 = 0x10;
/// IA32_APIC_BASE: among the special registers.
const APIC_BASE: u32 = 0x1b;
/// KVM's wall clocks: the VM's, not the vCPU's.
const WALL_CLOCKS: [u32; 2] = [0x11, 0x4b56_4d00];
/// Hyper-V's, most of them the VM's. No guest of ours sees them: CPUID does not offer them.
const HYPER_V: RangeInclusive<u32> = 0x4000_0000..=0x4000_0fff;
/// What KVM keeps of each vCPU and does not list: IA32_DEBUGCTL, memory types (Intel SDM vol. 3A,
/// 12.11) and 32 banks of machine checks (vol. 3B, 16.3.2).
const UNLISTED: [RangeInclusive<u32>; 8] = [
    0x1d9..=0x1d9,
    0x200..=0x20f,
    0x250..=0x250,
    0x258..=0x259,
    0x268..=0x26f,
    0x2ff..=0x2ff,
    0x280..=0x29f,
    0x400..=0x47f,
];

/// All that KVM says of a vCPU that was just made.
pub(super) struct Fresh {
    regs: kvm_regs,
    sregs: kvm_sregs,
    xcrs: kvm_xcrs,
    xsave: kvm_xsave,
    debug: kvm_debugregs,
    lapic: kvm_lapic_state,
    msrs: Vec<Msrs>,
    events: kvm_vcpu_events,
}

impl Fresh {
    /// The state of `vcpu`, which was just made and has its CPUID and, if it has a PMU, its
    /// IA32_MISC_ENABLE. For every vCPU but the boot CPU: it has to wait for INIT and SIPI.
    ///
    /// # Errors
    /// Names the ioctl that failed.
    pub(super) fn of(vcpu: &VcpuFd, kvm: &Kvm) -> Result<Self, KvmError> {
        Ok(Self {
            regs: vcpu.get_regs().map_err(call("KVM_GET_REGS", REPORT))?,
            sregs: vcpu.get_sregs().map_err(call("KVM_GET_SREGS", REPORT))?,
            xcrs: vcpu.get_xcrs().map_err(call("KVM_GET_XCRS", REPORT))?,
            xsave: vcpu.get_xsave().map_err(call("KVM_GET_XSAVE", REPORT))?,
            debug: vcpu
                .get_debug_regs()
                .map_err(call("KVM_GET_DEBUGREGS", REPORT))?,
            lapic: vcpu.get_lapic().map_err(call("KVM_GET_LAPIC", REPORT))?,
            msrs: restorable_msrs(vcpu, kvm)?,
            // No exception, interrupt, NMI or SMI, and no INIT latched.
            events: kvm_vcpu_events {
                flags: KVM_VCPUEVENT_VALID_NMI_PENDING
                    | KVM_VCPUEVENT_VALID_SHADOW
                    | KVM_VCPUEVENT_VALID_SMM,
                ..Default::default()
            },
        })
    }

    /// Puts `vcpu` back there: the one whose state this is, on its own thread. It waits for INIT and
    /// SIPI then, and takes no interrupt or MSI before its APIC is enabled.
    ///
    /// What the last exit left undone is done first, or the next `KVM_RUN` would do it to the fresh
    /// vCPU. `kvm_run.immediate_exit` stays set.
    ///
    /// # Errors
    /// Names the ioctl that failed; the vCPU is of no use then.
    pub(super) fn restore(&self, vcpu: &mut VcpuFd) -> Result<(), KvmError> {
        finish_exit(vcpu)?;
        vcpu.set_mp_state(kvm_mp_state {
            mp_state: KVM_MP_STATE_UNINITIALIZED,
        })
        .map_err(call("KVM_SET_MP_STATE", REPORT))?;
        // The mode of its APIC is in here, and the registers of the APIC depend on that.
        vcpu.set_sregs(&self.sregs)
            .map_err(call("KVM_SET_SREGS", REPORT))?;
        vcpu.set_regs(&self.regs)
            .map_err(call("KVM_SET_REGS", REPORT))?;
        vcpu.set_xcrs(&self.xcrs)
            .map_err(call("KVM_SET_XCRS", REPORT))?;
        // SAFETY: KVM reads more than a `kvm_xsave` only after the process has asked for more state
        // by arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM), which nothing here does; KVM_GET_XSAVE would
        // have failed.
        unsafe { vcpu.set_xsave(&self.xsave) }.map_err(call("KVM_SET_XSAVE", REPORT))?;
        vcpu.set_debug_regs(&self.debug)
            .map_err(call("KVM_SET_DEBUGREGS", REPORT))?;
        for msrs in &self.msrs {
            let set = vcpu.set_msrs(msrs).map_err(call("KVM_SET_MSRS", REPORT))?;
            if set < msrs.as_slice().len() {
                // It took the very same values when the vCPU was new.
                return Err(call("KVM_SET_MSRS", REPORT)(errno::Error::new(
                    libc::EINVAL,
                )));
            }
        }
        vcpu.set_lapic(&self.lapic)
            .map_err(call("KVM_SET_LAPIC", REPORT))?;
        self.forget_events(vcpu)
    }

    /// Drops what other vCPUs did to this one while it was away: an INIT, an NMI, an SMI. A SIPI
    /// without INIT KVM drops itself. For a vCPU that has not run since [`restore`](Self::restore).
    ///
    /// # Errors
    /// If KVM_SET_VCPU_EVENTS failed.
    pub(super) fn forget_events(&self, vcpu: &VcpuFd) -> Result<(), KvmError> {
        vcpu.set_vcpu_events(&self.events)
            .map_err(call("KVM_SET_VCPU_EVENTS", REPORT))
    }
}

/// Lets KVM route IPIs and MSIs to a vCPU that was made while others ran already: it looks at who is
/// there when an APIC is set.
///
/// # Errors
/// Names the ioctl that failed.
pub(super) fn join_apic_map(vcpu: &VcpuFd) -> Result<(), KvmError> {
    let lapic = vcpu.get_lapic().map_err(call("KVM_GET_LAPIC", REPORT))?;
    vcpu.set_lapic(&lapic)
        .map_err(call("KVM_SET_LAPIC", REPORT))
}

/// KVM completes an access to a port, to memory or to an MSR in the `KVM_RUN` after its exit, and one
/// instruction may need several.
fn finish_exit(vcpu: &mut VcpuFd) -> Result<(), KvmError> {
    vcpu.set_kvm_immediate_exit(1);
    loop {
        match vcpu.run() {
            Ok(_) => {}
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => return Ok(()),
            Err(error) => return Err(call("KVM_RUN", REPORT)(error)),
        }
    }
}

/// The MSRs that KVM gives and takes back.
fn restorable_msrs(vcpu: &VcpuFd, kvm: &Kvm) -> Result<Vec<Msrs>, KvmError> {
    let list = kvm
        .get_msr_index_list()
        .map_err(call("KVM_GET_MSR_INDEX_LIST", REPORT))?;
    let listed = list.as_slice().iter().copied();
    let mut indices: Vec<u32> = listed.chain(UNLISTED.into_iter().flatten()).collect();
    indices.retain(|&index| is_of_the_vcpu(index));
    indices.sort_unstable();
    indices.dedup();

    let entry = |index| kvm_msr_entry {
        index,
        ..Default::default()
    };
    let asked: Vec<_> = indices.into_iter().map(entry).collect();
    let got = accepted(&asked, |msrs| {
        vcpu.get_msrs(msrs).map_err(call("KVM_GET_MSRS", REPORT))
    })?;
    let mut taken = accepted(&got, |msrs| {
        vcpu.set_msrs(msrs).map_err(call("KVM_SET_MSRS", REPORT))
    })?;
    taken.push(entry(TSC));
    taken.chunks(KVM_MAX_MSR_ENTRIES).map(msrs).collect()
}

/// Whether the MSR is to be as it was: it is the vCPU's own, and nobody else puts it back.
fn is_of_the_vcpu(index: u32) -> bool {
    !(MsrId(index).is_pmu()
        || HYPER_V.contains(&index)
        || WALL_CLOCKS.contains(&index)
        || [TSC, APIC_BASE].contains(&index))
}

/// The entries that `ioctl` does not stop at, as it leaves them.
fn accepted(
    entries: &[kvm_msr_entry],
    mut ioctl: impl FnMut(&mut Msrs) -> Result<usize, KvmError>,
) -> Result<Vec<kvm_msr_entry>, KvmError> {
    let mut accepted = Vec::with_capacity(entries.len());
    let mut rest = entries;
    while !rest.is_empty() {
        let mut batch = msrs(&rest[..rest.len().min(KVM_MAX_MSR_ENTRIES)])?;
        let done = ioctl(&mut batch)?;
        let refused = usize::from(done < batch.as_slice().len());
        accepted.extend_from_slice(&batch.as_slice()[..done]);
        rest = &rest[done + refused..];
    }
    Ok(accepted)
}

fn msrs(entries: &[kvm_msr_entry]) -> Result<Msrs, KvmError> {
    // It fails only for more entries than KVM takes.
    Msrs::from_entries(entries)
        .map_err(|_| call("KVM_SET_MSRS", REPORT)(errno::Error::new(libc::E2BIG)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_vm_or_to_the_pmu_stays_as_it_is() {
        // A wall clock, Hyper-V's guest id, the counter and select 0 of both vendors.
        for index in [0x11, 0x4b56_4d00, 0x4000_0000, 0xc1, 0x186, 0xc001_0200] {
            assert!(!is_of_the_vcpu(index), "{index:#x}");
        }
        // STAR, the PAT, the TSC's adjustment, the system time and MTRRs.
        for index in [0xc000_0081, 0x277, 0x3b, 0x4b56_4d01, 0x200, 0x2ff] {
            assert!(is_of_the_vcpu(index), "{index:#x}");
        }
    }

    #[test]
    fn what_kvm_stops_at_is_left_out_and_the_rest_asked_for_again() {
        let entries: Vec<_> = (0..600)
            .map(|index| kvm_msr_entry {
                index,
                ..Default::default()
            })
            .collect();
        let refused = [0, 1, 255, 300, 599];
        let mut calls = 0;
        let accepted = accepted(&entries, |batch| {
            calls += 1;
            let batch = batch.as_mut_slice();
            let done = batch
                .iter()
                .take_while(|entry| !refused.contains(&entry.index));
            let done = done.count();
            batch[..done].iter_mut().for_each(|entry| entry.data = 7);
            Ok(done)
        })
        .unwrap();
        let expected: Vec<_> = (0..600).filter(|index| !refused.contains(index)).collect();
        let got: Vec<_> = accepted.iter().map(|entry| entry.index).collect();
        assert_eq!(got, expected);
        assert!(accepted.iter().all(|entry| entry.data == 7));
        assert_eq!(calls, 6, "one for each refusal and one full batch");
    }
}
