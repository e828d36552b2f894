// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A KVM loop of one's own, and what it takes to give its guest a PMU.
//!
//! The guest is some eighty bytes of real-mode code. It programs two of AMD's counters, spins, takes
//! three PMIs by an interrupt handler, and prints by port writes. What a VMM adds for the PMU is
//! marked `PMU` below; all the rest is any VMM's.
//!
//! ```text
//! cargo run -p vpmu-kvm --example embed
//! ```
//!
//! docs/embedding.md walks through it.

use std::arch::global_asm;
use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vpmu::PmuModel;
use vpmu_kvm::{Exit, GuestMemory, PmuOptions, VcpuPmuKvm, cpuid, kick, prepare_vm};

/// PMU: which one the guest sees. A Linux guest has to be given its host's vendor's.
const MODEL: PmuModel = PmuModel::AMD_V2;

/// Where the guest's code lies. Its data and stack have pages of their own.
const CODE: u64 = 0x1000;
const RAM: usize = 0x1_0000;
/// The vector of the guest's PMI handler, and where in the code that is.
const PMI_VECTOR: u64 = 0x40;
const PMI_HANDLER: u64 = CODE + 0x80;
/// APIC base with x2APIC mode (bits 10, 11) on the boot CPU (bit 8).
const APIC_BASE: u64 = 0xfee0_0d00;

// The guest. AMD's event 76H is cycles not in halt (APM volume 2, "Performance Monitoring
// Counters"); port 10H takes a status, 14H a count, 18H says that it is done.
global_asm!(
    ".pushsection .rodata.embed_guest, \"a\"",
    // Global, since the linker joins several object files; hidden, since nobody else does.
    ".globl embed_guest, embed_guest_end",
    ".hidden embed_guest, embed_guest_end",
    ".code16",
    "embed_guest:",
    "   xor edx, edx",
    "   mov ecx, 0x80f", // The APIC: enabled,
    "   mov eax, 0x1ff",
    "   wrmsr",
    "   mov ecx, 0x834", // PMIs come as vector 40H.
    "   mov eax, 0x40",
    "   wrmsr",
    "   mov ecx, 0xc0010202", // Counter 1: cycles in user and kernel mode, and no more.
    "   mov eax, 0x430076",
    "   wrmsr",
    "   call 3f", // Counter 0: the same, a PMI after a million.
    "   mov ecx, 0xc0010200",
    "   mov eax, 0x530076",
    "   wrmsr",
    "   sti",
    "2: cmp byte ptr [0x500], 3", // Spin until three came.
    "   jb 2b",
    "   cli",
    "   mov ecx, 0xc0010203",
    "   rdmsr",
    "   out 0x14, eax",
    "   out 0x18, al",
    "   hlt",
    "3: mov ecx, 0xc0010201",
    "   mov eax, -1000000",
    "   mov edx, 0xffff",
    "   wrmsr",
    "   xor edx, edx",
    "   ret",
    ".org embed_guest + 0x80, 0xf4",
    "   mov ecx, 0xc0000300", // The handler: which counters overflowed?
    "   rdmsr",
    "   out 0x10, eax",
    "   mov ecx, 0xc0000302",
    "   wrmsr",
    "   call 3b",
    "   mov ecx, 0x80b", // End of interrupt.
    "   xor eax, eax",
    "   wrmsr",
    "   inc byte ptr [0x500]",
    "   iret",
    "embed_guest_end:",
    ".code64",
    ".popsection",
);

unsafe extern "C" {
    static embed_guest: u8;
    static embed_guest_end: u8;
}

fn guest_code() -> &'static [u8] {
    let (start, end) = (&raw const embed_guest, &raw const embed_guest_end);
    // SAFETY: the two symbols enclose the bytes assembled above, which nobody writes to.
    unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// PMU: how its RDPMC trap looks into the guest's memory.
struct Ram<'a>(&'a GuestMemoryMmap);

impl GuestMemory for Ram<'_> {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> bool {
        self.0.read_slice(buf, GuestAddress(gpa)).is_ok()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout().lock())
}

/// Runs the guest and prints what it counts to `out`.
pub(crate) fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM)])?;
    memory.write_slice(guest_code(), GuestAddress(CODE))?;
    // The interrupt vector table of real mode: segment 0, offset of the handler.
    memory.write_obj(u32::try_from(PMI_HANDLER)?, GuestAddress(PMI_VECTOR * 4))?;

    let kvm = Kvm::new()?;
    let vm = Arc::new(create_vm(&kvm, &memory)?);
    let mut vcpu = create_vcpu(&kvm, &vm)?;

    // PMU: kicks, by which its timer ends KVM_RUN, and the PMU itself.
    kick::install()?;
    let guard = kick::bind(&mut vcpu)?;
    let options = PmuOptions::new(MODEL, vcpu.get_tsc_khz()?, 0);
    let mut pmu = VcpuPmuKvm::new(Arc::clone(&vm), &guard, &options)?;

    writeln!(out, "The guest has the PMU {MODEL}")?;
    loop {
        guard.clear(); // PMU: forget earlier kicks, then look at one's own requests, then run.
        // PMU: instead of `vcpu.run()`.
        let exit = match pmu.run(&mut vcpu, &Ram(&memory))? {
            Exit::Vcpu(exit) => exit,
            _ => continue, // The PMU was served, or its time has come.
        };
        match exit {
            VcpuExit::IoOut(0x10, status) => {
                writeln!(out, "A PMI, with status {:#x}", number(status))?;
            }
            VcpuExit::IoOut(0x14, count) => writeln!(out, "{} cycles", number(count))?,
            VcpuExit::IoOut(0x18, _) => break,
            other => return Err(format!("unexpected exit {other:?}").into()),
        }
    }
    let stats = pmu.stats().pmu;
    writeln!(
        out,
        "The host saw {} overflows and delivered {} PMIs, at most {} cycles late",
        stats.overflows, stats.pmis, stats.skid.max
    )?;
    Ok(())
}

fn create_vm(kvm: &Kvm, memory: &GuestMemoryMmap) -> Result<VmFd, Box<dyn Error>> {
    let vm = kvm.create_vm()?;
    prepare_vm(kvm, &vm, Some(MODEL))?; // PMU: its MSRs leave KVM; KVM's own PMU is off.
    vm.create_irq_chip()?;
    let region = kvm_userspace_memory_region {
        memory_size: u64::try_from(RAM)?,
        userspace_addr: u64::try_from(memory.get_host_address(GuestAddress(0))?.addr())?,
        ..Default::default()
    };
    // SAFETY: the memory is mapped for as long as the VM lives: `run` drops it last.
    unsafe { vm.set_user_memory_region(region) }?;
    Ok(vm)
}

fn create_vcpu(kvm: &Kvm, vm: &VmFd) -> Result<VcpuFd, Box<dyn Error>> {
    let vcpu = vm.create_vcpu(0)?;
    let mut leaves = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
    cpuid::apply(&mut leaves, Some(MODEL)); // PMU: what CPUID says of it.
    vcpu.set_cpuid2(&leaves)?;
    let mut sregs = vcpu.get_sregs()?;
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    sregs.apic_base = APIC_BASE;
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&kvm_regs {
        rip: CODE,
        rsp: 0x8000,
        rflags: 2,
        ..Default::default()
    })?;
    Ok(vcpu)
}

/// What the guest wrote to a port.
fn number(data: &[u8]) -> u64 {
    data.iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
