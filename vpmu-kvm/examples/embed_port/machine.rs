// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A machine of 64 KiB whose vCPUs begin in 64-bit mode, with a kernel's and a user's segments.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvm_bindings::{
    KVM_MAX_CPUID_ENTRIES, KVM_MP_STATE_RUNNABLE, kvm_dtable, kvm_mp_state, kvm_segment,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use perf_port::io;
use perf_port::page::SIZE;
use perf_port_host::PortMemory;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vpmu::PmuModel;
use vpmu_kvm::{GuestMemory, cpuid, kick, prepare_vm};

pub(crate) const MODEL: PmuModel = PmuModel::AMD_V2;

/// Where the guest's code begins.
pub(crate) const CODE: u64 = 0x1000;
const PML4: u64 = 0x2000;
const PDPT: u64 = 0x3000;
const LOW: u64 = 0x4000;
const HIGH: u64 = 0x5000;
const GDT: u64 = 0x6000;
const IDT: u64 = 0x7000;
const TSS: u64 = 0x8000;
/// Free for the first vCPU's page of the port.
pub(crate) const PAGE: u64 = 0xb000;
/// Ends of the kernel's stack and of the user's.
pub(crate) const KERNEL_STACK: u64 = 0xe000;
pub(crate) const USER_STACK: u64 = 0xf000;
const RAM: usize = 0x1_0000;
/// The tick page: mapped where it is, as all of the RAM.
pub(crate) const TICK: u64 = (io::TICK_FRAME as u64) * SIZE;

/// Selectors.
const KERNEL_CODE: u16 = 0x08;
const KERNEL_DATA: u16 = 0x10;
pub(crate) const USER_DATA: u16 = 0x1b;
pub(crate) const USER_CODE: u16 = 0x23;

/// The guest's RAM, as the RDPMC trap and the perf port see it.
pub(crate) struct Ram(GuestMemoryMmap);

impl GuestMemory for Ram {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> bool {
        self.0.read_slice(buf, GuestAddress(gpa)).is_ok()
    }
}

/// PORT: whole words, in order, since the guest's other vCPUs read and write them meanwhile.
impl PortMemory for Ram {
    fn load32(&self, gpa: u64) -> Option<u32> {
        self.0.load(GuestAddress(gpa), Ordering::Acquire).ok()
    }

    fn store32(&self, gpa: u64, value: u32) -> bool {
        let stored = self.0.store(value, GuestAddress(gpa), Ordering::Release);
        stored.is_ok()
    }

    fn load64(&self, gpa: u64) -> Option<u64> {
        self.0.load(GuestAddress(gpa), Ordering::Acquire).ok()
    }

    fn store64(&self, gpa: u64, value: u64) -> bool {
        let stored = self.0.store(value, GuestAddress(gpa), Ordering::Release);
        stored.is_ok()
    }
}

impl Ram {
    /// Writes what is in RAM for sure.
    pub(crate) fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
        Ok(self.0.write_slice(bytes, GuestAddress(gpa))?)
    }

    /// Has interrupts and exceptions of this vector handled at `handler`, in the kernel.
    pub(crate) fn set_gate(&self, vector: u8, handler: u64) -> Result<(), Box<dyn Error>> {
        // An interrupt gate (Intel SDM vol. 3A, 6.14.1), for code below 64 KiB.
        let gate = handler | u64::from(KERNEL_CODE) << 16 | 0x8e00 << 32;
        self.write(IDT + 16 * u64::from(vector), &gate.to_le_bytes())
    }
}

/// Fields are dropped in order: the memory outlives the VM that maps it.
pub(crate) struct Machine {
    pub(crate) vcpus: Vec<VcpuFd>,
    pub(crate) vm: Arc<VmFd>,
    pub(crate) ram: Arc<Ram>,
}

impl Machine {
    /// With so many vCPUs, whose registers are the caller's to set, and `code`.
    pub(crate) fn new(vcpus: u64, code: &[u8]) -> Result<Self, Box<dyn Error>> {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)])?;
        let region = kvm_userspace_memory_region {
            memory_size: u64::try_from(RAM)?,
            userspace_addr: u64::try_from(memory.get_host_address(GuestAddress(0))?.addr())?,
            ..Default::default()
        };
        let ram = Arc::new(Ram(memory));
        write_tables(&ram)?;
        ram.write(CODE, code)?;

        let kvm = Kvm::new()?;
        let vm = Arc::new(kvm.create_vm()?);
        prepare_vm(&kvm, &vm, Some(MODEL))?;
        vm.create_irq_chip()?;
        // SAFETY: the memory is mapped for as long as the VM lives, see `Machine`.
        unsafe { vm.set_user_memory_region(region) }?;
        let vcpus = (0..vcpus).map(|id| create_vcpu(&kvm, &vm, id));
        let vcpus = vcpus.collect::<Result<_, _>>()?;
        kick::install()?;
        Ok(Self { vcpus, vm, ram })
    }
}

fn write_tables(ram: &Ram) -> Result<(), Box<dyn Error>> {
    // Present, writable, user; 2 MiB at 0 and around the tick page, each where it is.
    let directory = |address: u64| (address >> 30) & 0x1ff;
    let entry = |address: u64| (address >> 21) & 0x1ff;
    let large = |address: u64| address & !0x1f_ffff | 0x87;
    for (table, index, value) in [
        (PML4, 0, PDPT | 7),
        (PDPT, 0, LOW | 7),
        (PDPT, directory(TICK), HIGH | 7),
        (LOW, 0, large(0)),
        (HIGH, entry(TICK), large(TICK)),
    ] {
        ram.write(table + 8 * index, &value.to_le_bytes())?;
    }
    // Flat segments (Intel SDM vol. 3A, 3.4.5).
    for (selector, segment) in [
        (KERNEL_CODE, 0x00af_9b00_0000_ffff_u64),
        (KERNEL_DATA, 0x00cf_9300_0000_ffff),
        (USER_DATA, 0x00cf_f300_0000_ffff),
        (USER_CODE, 0x00af_fb00_0000_ffff),
    ] {
        ram.write(GDT + u64::from(selector & !7), &segment.to_le_bytes())?;
    }
    // RSP0: where the stack of handlers ends (7.7).
    ram.write(TSS + 4, &KERNEL_STACK.to_le_bytes())
}

fn create_vcpu(kvm: &Kvm, vm: &VmFd, id: u64) -> Result<VcpuFd, Box<dyn Error>> {
    let vcpu = vm.create_vcpu(id)?;
    let mut leaves = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
    cpuid::apply(&mut leaves, Some(MODEL));
    cpuid::add_port(&mut leaves); // PORT: how the guest finds it.
    vcpu.set_cpuid2(&leaves)?;
    vcpu.set_mp_state(kvm_mp_state {
        mp_state: KVM_MP_STATE_RUNNABLE,
    })?;
    enter_kernel_mode(&vcpu)?;
    Ok(vcpu)
}

/// 64-bit mode, in the kernel.
fn enter_kernel_mode(vcpu: &VcpuFd) -> Result<(), Box<dyn Error>> {
    let mut sregs = vcpu.get_sregs()?;
    let data = kvm_segment {
        limit: u32::MAX,
        selector: KERNEL_DATA,
        type_: 3,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    (sregs.ds, sregs.es, sregs.ss) = (data, data, data);
    sregs.cs = kvm_segment {
        selector: KERNEL_CODE,
        type_: 0xb,
        db: 0,
        l: 1,
        ..data
    };
    sregs.tr = kvm_segment {
        base: TSS,
        limit: 0x67,
        selector: 0x28,
        type_: 0xb,
        present: 1,
        ..Default::default()
    };
    let table = |base, limit| kvm_dtable {
        base,
        limit,
        ..Default::default()
    };
    (sregs.gdt, sregs.idt) = (table(GDT, 39), table(IDT, 0xfff));
    // PE, ET, PG; PAE; LME, LMA.
    (sregs.cr0, sregs.cr3) = (0x8000_0011, PML4);
    (sregs.cr4, sregs.efer) = (1 << 5, 0x500);
    vcpu.set_sregs(&sregs)?;
    Ok(())
}
