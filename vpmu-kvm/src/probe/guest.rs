// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The probe guest: a few instructions in long mode, at CPL 0 and at CPL 3.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use kvm_bindings::{
    KVM_MAX_CPUID_ENTRIES, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vmm_sys_util::errno;
use vpmu::PmuModel;

use super::report::{Access, RdpmcFault};
use crate::error::{CREATE, Error, REPORT, kvm};
use crate::kick::{self, KickGuard};
use crate::timer::{KickTimer, monotonic_ns};
use crate::vcpu::{Exit, Handled, PmuOptions, VcpuPmuKvm, run_plain};
use crate::{GuestMemory, cpuid, lapic, prepare_vm};

/// Everything the probe does is over in milliseconds; a guest that still runs then is stuck.
const DEADLINE_NS: u64 = 3_000_000_000;
/// RDPMC indices: the general-purpose counters, fixed ones (bit 30), the "fast" bit 31.
const INDICES: [u32; 8] = [0, 1, 2, 3, 7, 1 << 30, 1 << 30 | 1, 1 << 31];
/// What the probe puts into a counter and expects from RDPMC: bits in both halves.
const VALUE: u32 = 0x8765_4321;
const EXPECTED: u64 = 0xffff_8765_4321;

const MEMORY: usize = 2 << 20;
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PD: u64 = 0x3000;
const GDT: u64 = 0x4000;
const IDT: u64 = 0x5000;
const TSS: u64 = 0x6000;
const CODE: u64 = 0x8000;
const HANDLER: u64 = 0xa000;
const KERNEL_STACK: u64 = 0xf000;
const USER_STACK: u64 = 0x1_2000;
/// Selectors; their descriptors are in `GDT_ENTRIES` in this order from 8 on.
const KERNEL_CS: u16 = 0x08;
const KERNEL_DS: u16 = 0x10;
const USER_DS: u16 = 0x1b;
const USER_CS: u16 = 0x23;
const TR: u16 = 0x28;
/// Flat 64-bit segments (Intel SDM vol. 3A, 3.4.5), accessed; then the TSS, two entries long.
const GDT_ENTRIES: [u64; 7] = [
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
    0x0000_8b00_0000_0067 | TSS << 16,
    0,
];
/// Ports that the code below writes to: the instruction went through, or its #GP was handled.
const THROUGH: u16 = 0x10;
const FAULTED: u16 = 0x13;
/// CR0: PE, MP, ET, NE, WP, PG. CR4: PAE, PCE, so that CPL 3 may RDPMC. EFER: LME, LMA.
const CR0: u64 = 0x8001_0033;
const CR4_PAE: u64 = 1 << 5;
const CR4_PCE: u64 = 1 << 8;
const EFER: u64 = 0x500;
/// RFLAGS: bit 1 is always set; IOPL 3 lets CPL 3 write to the ports.
const RFLAGS: u64 = 2 | 3 << 12;
/// APIC base with x2APIC mode (bits 10, 11) on the boot CPU (bit 8).
const APIC_BASE: u64 = 0xfee0_0d00;

/// RDPMC, then `out THROUGH, al`; `jmp .` in case the exit is ignored.
const RDPMC: &[u8] = &[0x0f, 0x33, 0xe6, 0x10, 0xeb, 0xfe];
/// HLT raises #GP at CPL 3.
const HLT: &[u8] = &[0xf4, 0xe6, 0x10, 0xeb, 0xfe];
/// `out FAULTED, al`.
const HANDLER_CODE: &[u8] = &[0xe6, 0x13, 0xeb, 0xfe];
/// Three WRMSRs: enable counter 0 on cycles, disable it, write it; then as `RDPMC`.
const PROGRAM_AND_RDPMC: &[u8] = &[
    0x31, 0xd2, // xor edx, edx
    0xb9, 0x86, 0x01, 0, 0, // mov ecx, IA32_PERFEVTSEL0
    0xb8, 0x3c, 0x00, 0x43, 0, // mov eax, EN | OS | USR | cycles
    0x0f, 0x30, // wrmsr
    0x31, 0xc0, // xor eax, eax
    0x0f, 0x30, // wrmsr
    0xb9, 0xc1, 0x00, 0, 0, // mov ecx, IA32_PMC0
    0xb8, 0x21, 0x43, 0x65, 0x87, // mov eax, VALUE
    0x0f, 0x30, // wrmsr
    0x31, 0xc9, // xor ecx, ecx
    0x0f, 0x33, // rdpmc
    0xe6, 0x10, // out THROUGH, al
    0xeb, 0xfe, // jmp .
];

/// What the probe guest showed.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) rdpmc: Vec<RdpmcFault>,
    /// The breakpoint fired on a #GP from CPL 0 and from CPL 3.
    pub(super) breakpoint: [bool; 2],
    pub(super) msr_exits: bool,
    pub(super) emulated: [bool; 2],
    pub(super) passed_on: bool,
    pub(super) pce_respected: bool,
    pub(super) lvtpc_is_an_msr: bool,
    pub(super) tsc_rate: bool,
    pub(super) stuck: bool,
}

/// Runs the probe guest on a VM without vCPUs. On a thread of its own.
pub(super) fn run(kvm_fd: &Kvm, vm: &Arc<VmFd>) -> Result<Findings, Error> {
    let memory = Memory::new()?;
    memory.lay_out();
    let model = PmuModel::INTEL_V2;
    prepare_vm(kvm_fd, vm, Some(model))?;
    vm.create_irq_chip()
        .map_err(kvm("KVM_CREATE_IRQCHIP", REPORT))?;
    let region = kvm_userspace_memory_region {
        memory_size: MEMORY as u64,
        userspace_addr: memory.base.as_ptr().addr() as u64,
        ..Default::default()
    };
    // SAFETY: the mapping is ours, as large as said, and outlives the vCPU, which is dropped first.
    unsafe { vm.set_user_memory_region(region) }
        .map_err(kvm("KVM_SET_USER_MEMORY_REGION", REPORT))?;
    let mut vcpu = vm.create_vcpu(0).map_err(kvm("KVM_CREATE_VCPU", CREATE))?;
    let mut cpuid = kvm_fd
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(kvm("KVM_GET_SUPPORTED_CPUID", REPORT))?;
    cpuid::apply(&mut cpuid, Some(model));
    vcpu.set_cpuid2(&cpuid)
        .map_err(kvm("KVM_SET_CPUID2", REPORT))?;

    kick::install()?;
    let guard = kick::bind(&mut vcpu)?;
    let now = monotonic_ns();
    let deadline = now + DEADLINE_NS;
    let mut timer = KickTimer::new(&guard)?;
    timer.fire_by(now, deadline)?;
    // A guest whose TSC rate is not known still shows what the trap does.
    let tsc_khz = vcpu.get_tsc_khz();
    let mut probe = Probe {
        pmu: VcpuPmuKvm::new(
            Arc::clone(vm),
            &guard,
            &PmuOptions::new(model, tsc_khz.unwrap_or(1_000_000), 0),
        )?,
        vcpu: &mut vcpu,
        guard: &guard,
        memory: &memory,
        deadline,
        findings: Findings::default(),
    };
    probe.faults()?;
    probe.trap()?;
    let mut findings = probe.findings;
    findings.tsc_rate = tsc_khz.is_ok();
    findings.lvtpc_is_an_msr = lapic::lvtpc_is_an_msr(&vcpu)?;
    Ok(findings)
}

/// How a run of a few instructions ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Through,
    Faulted,
    Other,
}

struct Probe<'a> {
    pmu: VcpuPmuKvm,
    vcpu: &'a mut VcpuFd,
    guard: &'a KickGuard,
    memory: &'a Memory,
    deadline: u64,
    findings: Findings,
}

impl Probe<'_> {
    /// Which RDPMC indices fault while nothing of ours is armed.
    fn faults(&mut self) -> Result<(), Error> {
        for (cpl, index) in [0, 3]
            .into_iter()
            .flat_map(|cpl| INDICES.map(|index| (cpl, index)))
        {
            self.set_up(cpl, RDPMC, index, CR4_PCE)?;
            let access = match self.run_plain()? {
                End::Through => Access::Answered,
                End::Faulted => Access::Faults,
                End::Other => Access::Unknown,
            };
            self.findings.rdpmc.push(RdpmcFault { cpl, index, access });
        }
        Ok(())
    }

    /// Whether the trap does what it should, end to end.
    fn trap(&mut self) -> Result<(), Error> {
        self.set_up(0, PROGRAM_AND_RDPMC, 0, CR4_PCE)?;
        let mut writes = 0;
        self.findings.emulated[0] = self.run_pmu(&mut writes)? == End::Through && self.value()?;
        self.findings.msr_exits = writes == 3;
        self.findings.breakpoint[0] = self.stops() > 0;

        let before = self.stops();
        self.set_up(3, RDPMC, 0, CR4_PCE)?;
        self.findings.emulated[1] = self.run_pmu(&mut writes)? == End::Through && self.value()?;
        self.findings.breakpoint[1] = self.stops() > before;

        self.set_up(3, HLT, 0, CR4_PCE)?;
        self.findings.passed_on = self.run_pmu(&mut writes)? == End::Faulted;
        self.set_up(3, RDPMC, 0, 0)?;
        self.findings.pce_respected = self.run_pmu(&mut writes)? == End::Faulted;
        Ok(())
    }

    fn stops(&self) -> u64 {
        let trap = self.pmu.stats().trap;
        trap.emulated + trap.passed_on
    }

    /// Whether RDX:RAX is what the counter was given.
    fn value(&self) -> Result<bool, Error> {
        let regs = self.vcpu.get_regs().map_err(kvm("KVM_GET_REGS", REPORT))?;
        Ok(regs.rdx << 32 | regs.rax == EXPECTED)
    }

    fn set_up(&mut self, cpl: u8, code: &[u8], ecx: u32, pce: u64) -> Result<(), Error> {
        self.memory.write(CODE, code);
        let mut sregs = self
            .vcpu
            .get_sregs()
            .map_err(kvm("KVM_GET_SREGS", REPORT))?;
        set_sregs(&mut sregs, cpl, pce);
        self.vcpu
            .set_sregs(&sregs)
            .map_err(kvm("KVM_SET_SREGS", REPORT))?;
        let regs = kvm_regs {
            rip: CODE,
            rsp: if cpl == 0 { KERNEL_STACK } else { USER_STACK },
            rcx: ecx.into(),
            rflags: RFLAGS,
            ..Default::default()
        };
        self.vcpu
            .set_regs(&regs)
            .map_err(kvm("KVM_SET_REGS", REPORT))
    }

    fn run_plain(&mut self) -> Result<End, Error> {
        loop {
            if self.late() {
                return Ok(End::Other);
            }
            match run_plain(self.vcpu)? {
                Exit::Kicked => {}
                exit => return Ok(end(&exit)),
            }
        }
    }

    fn run_pmu(&mut self, writes: &mut u32) -> Result<End, Error> {
        loop {
            if self.late() {
                return Ok(End::Other);
            }
            match self.pmu.run(self.vcpu, self.memory)? {
                Exit::Handled(Handled::WriteMsr) => *writes += 1,
                Exit::Handled(_) | Exit::Kicked => {}
                exit => return Ok(end(&exit)),
            }
        }
    }

    /// Whether the deadline has passed; clears kicks, so that only a later one ends the next run.
    fn late(&mut self) -> bool {
        self.guard.clear();
        let late = monotonic_ns() >= self.deadline;
        self.findings.stuck |= late;
        late
    }
}

fn end(exit: &Exit<'_>) -> End {
    match exit {
        Exit::Vcpu(VcpuExit::IoOut(THROUGH, _)) => End::Through,
        Exit::Vcpu(VcpuExit::IoOut(FAULTED, _)) => End::Faulted,
        _ => End::Other,
    }
}

fn set_sregs(sregs: &mut kvm_sregs, cpl: u8, pce: u64) {
    let (cs, ss) = if cpl == 0 {
        (KERNEL_CS, KERNEL_DS)
    } else {
        (USER_CS, USER_DS)
    };
    let flat = kvm_segment {
        limit: 0xffff_ffff,
        present: 1,
        s: 1,
        g: 1,
        dpl: cpl,
        ..Default::default()
    };
    sregs.cs = kvm_segment {
        selector: cs,
        type_: 0xb,
        l: 1,
        ..flat
    };
    sregs.ss = kvm_segment {
        selector: ss,
        type_: 3,
        db: 1,
        ..flat
    };
    for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs] {
        *segment = sregs.ss;
    }
    sregs.tr = kvm_segment {
        base: TSS,
        limit: 0x67,
        selector: TR,
        type_: 0xb,
        present: 1,
        ..Default::default()
    };
    sregs.gdt = table(GDT, GDT_ENTRIES.len() * 8);
    sregs.idt = table(IDT, 14 * 16);
    (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (CR0, PML4, CR4_PAE | pce, EFER);
    sregs.apic_base = APIC_BASE;
}

fn table(base: u64, bytes: usize) -> kvm_dtable {
    kvm_dtable {
        base,
        limit: u16::try_from(bytes - 1).unwrap_or(u16::MAX),
        ..Default::default()
    }
}

/// The probe guest's RAM.
struct Memory {
    base: NonNull<u8>,
}

impl Memory {
    fn new() -> Result<Self, Error> {
        // SAFETY: a fresh anonymous mapping; nothing else is touched.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                MEMORY,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Error::Host {
                call: "mmap",
                remedy: "The probe guest needs 2 MiB of memory",
                source: errno::Error::last(),
            });
        }
        NonNull::new(base.cast())
            .map(|base| Self { base })
            .ok_or(Error::Host {
                call: "mmap",
                remedy: REPORT,
                source: errno::Error::new(libc::EFAULT),
            })
    }

    fn write(&self, gpa: u64, bytes: &[u8]) {
        let Some(at) = range(gpa, bytes.len()) else {
            return;
        };
        // SAFETY: `range` keeps the copy inside the mapping; the guest is not running.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(at), bytes.len()) }
    }

    fn lay_out(&self) {
        const PRESENT_WRITE_USER: u64 = 7;
        const LARGE: u64 = 1 << 7;
        let word = |gpa: u64, value: u64| self.write(gpa, &value.to_le_bytes());
        word(PML4, PDPT | PRESENT_WRITE_USER);
        word(PDPT, PD | PRESENT_WRITE_USER);
        word(PD, LARGE | PRESENT_WRITE_USER);
        for (entry, descriptor) in (0..).zip(GDT_ENTRIES) {
            word(GDT + entry * 8, descriptor);
        }
        // Gate 13: a present interrupt gate; the handler is below 64 KiB.
        word(
            IDT + 13 * 16,
            HANDLER | u64::from(KERNEL_CS) << 16 | 0x8e00 << 32,
        );
        word(TSS + 4, KERNEL_STACK);
        self.write(HANDLER, HANDLER_CODE);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and unused from here on: the vCPU went before.
        unsafe { libc::munmap(self.base.as_ptr().cast(), MEMORY) };
    }
}

impl GuestMemory for Memory {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> bool {
        let Some(at) = range(gpa, buf.len()) else {
            return false;
        };
        // SAFETY: `range` keeps the copy inside the mapping.
        unsafe {
            ptr::copy_nonoverlapping(self.base.as_ptr().add(at), buf.as_mut_ptr(), buf.len());
        }
        true
    }
}

/// The offset of `len` bytes at `gpa`, if all are RAM.
fn range(gpa: u64, len: usize) -> Option<usize> {
    let at = usize::try_from(gpa).ok()?;
    (at.checked_add(len)? <= MEMORY).then_some(at)
}

const _: () = assert!(EXPECTED & 0xffff_ffff == VALUE as u64);
