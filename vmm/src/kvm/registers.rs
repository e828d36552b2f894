// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The boot CPU's registers, and how registers look in a message.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;

use super::error::{KvmError, REPORT, call};
use crate::boot::BootState;

/// Bit 1 of RFLAGS is always set.
const RFLAGS: u64 = 2;
/// CR0: protected mode; ET is always set.
const CR0: u64 = 1 | 1 << 4;
/// Segment types (Intel SDM vol. 3A, 3.4.5.1 and 3.5): execute/read, read/write, both accessed,
/// and a busy 32-bit TSS.
const CODE: u8 = 0xb;
const DATA: u8 = 3;
const TSS: u8 = 0xb;

/// Puts the boot CPU where the PVH boot protocol wants it: 32-bit protected mode without paging,
/// flat segments, a TSS, EBX to the start info.
pub(super) fn set_boot_state(vcpu: &VcpuFd, boot: BootState) -> Result<(), KvmError> {
    let mut sregs = vcpu.get_sregs().map_err(call("KVM_GET_SREGS", REPORT))?;
    enter_protected_mode(&mut sregs);
    vcpu.set_sregs(&sregs)
        .map_err(call("KVM_SET_SREGS", REPORT))?;
    let regs = kvm_regs {
        rip: boot.entry.into(),
        rbx: boot.start_info.into(),
        rflags: RFLAGS,
        ..Default::default()
    };
    vcpu.set_regs(&regs).map_err(call("KVM_SET_REGS", REPORT))
}

fn enter_protected_mode(sregs: &mut kvm_sregs) {
    let flat = kvm_segment {
        limit: u32::MAX,
        present: 1,
        s: 1,
        db: 1,
        g: 1,
        ..Default::default()
    };
    sregs.cs = kvm_segment {
        selector: 0x8,
        type_: CODE,
        ..flat
    };
    let data = kvm_segment {
        selector: 0x10,
        type_: DATA,
        ..flat
    };
    for segment in [
        &mut sregs.ds,
        &mut sregs.es,
        &mut sregs.fs,
        &mut sregs.gs,
        &mut sregs.ss,
    ] {
        *segment = data;
    }
    sregs.tr = kvm_segment {
        selector: 0x18,
        limit: 0x67,
        type_: TSS,
        present: 1,
        ..Default::default()
    };
    (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (CR0, 0, 0, 0);
}

/// Where the vCPU is, in one line.
pub(super) fn describe(vcpu: &VcpuFd) -> String {
    let (Ok(regs), Ok(sregs)) = (vcpu.get_regs(), vcpu.get_sregs()) else {
        return "its registers cannot be read".to_owned();
    };
    format!(
        "rip={:#x} rsp={:#x} rflags={:#x} rax={:#x} rbx={:#x} rcx={:#x} rdx={:#x} cs={:#x} \
         ss={:#x} cr0={:#x} cr2={:#x} cr3={:#x} cr4={:#x} efer={:#x}",
        regs.rip,
        regs.rsp,
        regs.rflags,
        regs.rax,
        regs.rbx,
        regs.rcx,
        regs.rdx,
        sregs.cs.selector,
        sregs.ss.selector,
        sregs.cr0,
        sregs.cr2,
        sregs.cr3,
        sregs.cr4,
        sregs.efer,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_cpu_is_in_flat_protected_mode_whatever_it_was_in() {
        let mut sregs = kvm_sregs {
            cr0: u64::MAX,
            cr3: u64::MAX,
            cr4: u64::MAX,
            efer: u64::MAX,
            apic_base: 0xfee0_0900,
            ..Default::default()
        };
        enter_protected_mode(&mut sregs);
        assert_eq!(
            (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer),
            (0x11, 0, 0, 0)
        );
        assert_eq!(sregs.apic_base, 0xfee0_0900);
        for segment in [sregs.cs, sregs.ds, sregs.es, sregs.ss] {
            assert_eq!((segment.base, segment.limit, segment.g), (0, u32::MAX, 1));
            assert_eq!(
                (segment.present, segment.s, segment.db, segment.l),
                (1, 1, 1, 0)
            );
        }
        assert_eq!((sregs.tr.type_, sregs.tr.s, sregs.tr.limit), (0xb, 0, 0x67));
    }
}
