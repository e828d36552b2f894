// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest of a few instructions in real mode.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::sync::Arc;

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vpmu::PmuModel;
use vpmu_kvm::{GuestMemory, PmuOptions, cpuid, kick, prepare_vm};

/// Where its code is.
pub(crate) const CODE: u64 = 0x1000;
const RAM: usize = 0x1_0000;
/// APIC base with x2APIC mode (bits 10, 11) on the boot CPU (bit 8).
const APIC_BASE: u64 = 0xfee0_0d00;

/// `jmp .`
pub(crate) const SPIN: &[u8] = &[0xeb, 0xfe];

/// Fields are dropped in order: the memory outlives the VM that maps it.
pub(crate) struct Guest {
    pub(crate) vcpu: VcpuFd,
    pub(crate) vm: Arc<VmFd>,
    pub(crate) ram: Ram,
}

/// The guest's memory, as the RDPMC trap reads it.
pub(crate) struct Ram(GuestMemoryMmap);

impl GuestMemory for Ram {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> bool {
        self.0.read_slice(buf, GuestAddress(gpa)).is_ok()
    }
}

impl Ram {
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        self.0.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    /// Has exceptions and interrupts of this vector handled at `handler`.
    pub(crate) fn set_vector(&self, vector: u64, handler: u32) {
        let entry = GuestAddress(vector * 4);
        self.0.write_obj(handler, entry).unwrap();
    }
}

/// The registers with which its code begins.
pub(crate) fn entry() -> kvm_regs {
    kvm_regs {
        rip: CODE,
        rsp: 0x8000,
        rflags: 2,
        ..Default::default()
    }
}

/// A guest without a PMU.
pub(crate) fn guest(code: &[u8]) -> Guest {
    with_pmu(code, None)
}

/// A guest with a PMU, of which the caller makes the rest.
pub(crate) fn with_pmu(code: &[u8], model: Option<PmuModel>) -> Guest {
    let kvm = Kvm::new().unwrap();
    let vm = Arc::new(kvm.create_vm().unwrap());
    if model.is_some() {
        prepare_vm(&kvm, &vm, model).unwrap();
        vm.create_irq_chip().unwrap();
    }
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
    memory.write_slice(code, GuestAddress(CODE)).unwrap();
    let region = kvm_userspace_memory_region {
        memory_size: RAM as u64,
        userspace_addr: memory.get_host_address(GuestAddress(0)).unwrap().addr() as u64,
        ..Default::default()
    };
    // SAFETY: the region is mapped for as long as the guest lives.
    unsafe { vm.set_user_memory_region(region) }.unwrap();
    let vcpu = vm.create_vcpu(0).unwrap();
    if model.is_some() {
        let mut leaves = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
        cpuid::apply(&mut leaves, model);
        vcpu.set_cpuid2(&leaves).unwrap();
    }
    let mut sregs = vcpu.get_sregs().unwrap();
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    if model.is_some() {
        sregs.apic_base = APIC_BASE;
    }
    vcpu.set_sregs(&sregs).unwrap();
    vcpu.set_regs(&entry()).unwrap();
    kick::install().unwrap();
    Guest {
        vcpu,
        vm,
        ram: Ram(memory),
    }
}

impl Guest {
    pub(crate) fn options(&self, model: PmuModel) -> PmuOptions {
        PmuOptions::new(model, self.vcpu.get_tsc_khz().unwrap(), 0)
    }
}

/// `wrmsr` of a value that fits 32 bits.
pub(crate) fn wrmsr(msr: u32, value: u32) -> Vec<u8> {
    let load = [
        &[0x66, 0xb9][..],
        &msr.to_le_bytes(),
        &[0x66, 0xb8],
        &value.to_le_bytes(),
    ];
    [&load.concat()[..], &[0x66, 0x31, 0xd2, 0x0f, 0x30]].concat()
}

/// `rdmsr`, then `out port, eax`.
pub(crate) fn rdmsr_to(port: u8, msr: u32) -> Vec<u8> {
    let load = [&[0x66, 0xb9][..], &msr.to_le_bytes()].concat();
    [&load[..], &[0x0f, 0x32, 0x66, 0xe7, port]].concat()
}

/// `out port, al`
pub(crate) fn out(port: u8) -> Vec<u8> {
    vec![0xe6, port]
}
