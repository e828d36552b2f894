// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest of one loop on raw KVM, with a PMU, with bare MSR exits, or with neither.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvm_bindings::{
    KVM_CAP_X86_USER_SPACE_MSR, KVM_MAX_CPUID_ENTRIES, KVM_MSR_EXIT_REASON_FILTER, kvm_enable_cap,
    kvm_regs, kvm_segment, kvm_userspace_memory_region,
};
use kvm_ioctls::{
    Kvm, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VcpuExit, VcpuFd, VmFd,
};
use vcpu_call::VcpuId;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap};
use vpmu::PmuModel;
use vpmu::msr::{IA32_PERFEVTSEL0, IA32_PMC0};
use vpmu_kvm::{
    CoreSource, Exit, GuestMemory, PerfCore, PmuOptions, VcpuPmuKvm, cpuid, kick,
    kick::{KickGuard, Kicker},
    prepare_vm, run_plain,
};

use crate::code;

const MEMORY: usize = 2 << 20;
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PD: u64 = 0x3000;
const GDT: u64 = 0x4000;
const IDT: u64 = 0x5000;
const CODE: u64 = 0x8000;
const HANDLER: u64 = 0xa000;
/// What [`Guest::spin`] counts at.
const COUNT: u32 = 0xc000;
const STACK: u64 = 0xf000;
const KERNEL_CS: u16 = 8;

/// Who serves the guest's PMU accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Our PMU, on the perf core as in `perfvisor`.
    Pmu,
    /// Our PMU, straight on the clock.
    PmuWithoutCore,
    /// Filtered MSRs whose handler does nothing.
    BareMsrs,
    /// Nobody: as `--pmu none`.
    None,
}

/// What a guest is given before its loop, by WRMSRs of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Nothing was ever enabled.
    Untouched,
    /// A counter was enabled and disabled: the trap is armed, nothing counts.
    ArmedIdle,
    /// A cycle counter runs.
    Counting,
}

enum Pmu {
    None,
    OnCore(Box<VcpuPmuKvm<CoreSource>>),
    OnClock(Box<VcpuPmuKvm>),
}

/// One guest. Used on the thread that made it.
pub(crate) struct Guest {
    // Dropped in this order: the guard points into the vCPU's kvm_run page.
    pmu: Pmu,
    guard: KickGuard,
    vcpu: VcpuFd,
    _vm: Arc<VmFd>,
    memory: Ram,
}

/// How far a spinning guest has got.
pub(crate) struct Progress(GuestMemoryMmap);

impl Progress {
    /// A number that changes all the time while it is in the guest.
    pub(crate) fn now(&self) -> Result<u32> {
        let count = GuestAddress(COUNT.into());
        Ok(self.0.load(count, Ordering::Relaxed)?)
    }
}

struct Ram(GuestMemoryMmap);

impl GuestMemory for Ram {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> bool {
        self.0.read_slice(buf, GuestAddress(gpa)).is_ok()
    }
}

impl Guest {
    /// A guest in 64-bit mode; binds the calling thread.
    pub(crate) fn new(kvm: &Kvm, kind: Kind) -> Result<Self> {
        let vm = Arc::new(kvm.create_vm().context("KVM_CREATE_VM")?);
        let ours = matches!(kind, Kind::Pmu | Kind::PmuWithoutCore);
        let model = ours.then_some(PmuModel::INTEL_V2);
        prepare_vm(kvm, &vm, model)?;
        if kind == Kind::BareMsrs {
            filter_bare(&vm)?;
        }
        vm.create_irq_chip().context("KVM_CREATE_IRQCHIP")?;
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)])?;
        let region = kvm_userspace_memory_region {
            memory_size: MEMORY as u64,
            userspace_addr: memory.get_host_address(GuestAddress(0))?.addr() as u64,
            ..Default::default()
        };
        // SAFETY: the region is mapped for as long as `memory`, which the guest keeps.
        unsafe { vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;
        let mut vcpu = vm.create_vcpu(0).context("KVM_CREATE_VCPU")?;
        let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
        cpuid::apply(&mut cpuid, model);
        vcpu.set_cpuid2(&cpuid).context("KVM_SET_CPUID2")?;
        let guard = kick::bind(&mut vcpu)?;
        let options = PmuOptions::new(PmuModel::INTEL_V2, vcpu.get_tsc_khz()?, 0);
        let pmu = match kind {
            Kind::Pmu => {
                let core = PerfCore::new(1);
                let source = core.bind(VcpuId(0), &guard, options.tsc_khz)?;
                let vm = Arc::clone(&vm);
                let pmu = VcpuPmuKvm::with_source(vm, &guard, &options, source)?;
                Pmu::OnCore(Box::new(pmu))
            }
            Kind::PmuWithoutCore => {
                let pmu = VcpuPmuKvm::new(Arc::clone(&vm), &guard, &options)?;
                Pmu::OnClock(Box::new(pmu))
            }
            Kind::BareMsrs | Kind::None => Pmu::None,
        };
        let guest = Self {
            pmu,
            guard,
            vcpu,
            _vm: vm,
            memory: Ram(memory),
        };
        guest.lay_out()?;
        Ok(guest)
    }

    /// Programs counter 0 as asked.
    pub(crate) fn prepare(&mut self, counter: Counter) -> Result<()> {
        const CYCLES_ENABLED: u64 = 0x43_003c;
        let selects: &[u64] = match counter {
            Counter::Untouched => &[],
            Counter::ArmedIdle => &[CYCLES_ENABLED, 0],
            Counter::Counting => &[CYCLES_ENABLED],
        };
        for &select in selects {
            self.run(code::wrmsr(), 1, IA32_PERFEVTSEL0.0, select)?;
        }
        Ok(())
    }

    /// Runs a loop on IA32_PMC0's number and says how long it took.
    pub(crate) fn time(&mut self, loop_code: &[u8], turns: u64) -> Result<Duration> {
        self.run(loop_code, turns, IA32_PMC0.0, 0)
    }

    /// Makes it a guest that [`spin`](Self::spin)s; what its progress is seen by, and what ends a spin.
    pub(crate) fn spinner(&self) -> Result<(Progress, Kicker)> {
        let code = code::spin();
        self.memory.0.write_slice(code, GuestAddress(CODE))?;
        let regs = kvm_regs {
            rip: CODE,
            rcx: COUNT.into(),
            rflags: 2,
            ..Default::default()
        };
        self.vcpu.set_regs(&regs).context("KVM_SET_REGS")?;
        let progress = Progress(self.memory.0.clone());
        Ok((progress, self.guard.kicker()))
    }

    /// Runs the guest without a PMU until it is kicked; then goes on where it was.
    pub(crate) fn spin(&mut self) -> Result<()> {
        self.guard.clear();
        match run_plain(&mut self.vcpu)? {
            Exit::Kicked => Ok(()),
            exit => bail!("The spinning guest ended in {exit:?}"),
        }
    }

    fn run(&mut self, loop_code: &[u8], turns: u64, ecx: u32, eax: u64) -> Result<Duration> {
        self.memory.0.write_slice(loop_code, GuestAddress(CODE))?;
        let regs = kvm_regs {
            rip: CODE,
            rsp: STACK,
            rbx: turns,
            rcx: ecx.into(),
            rax: eax,
            rflags: 2,
            ..Default::default()
        };
        self.vcpu.set_regs(&regs).context("KVM_SET_REGS")?;
        let start = Instant::now();
        loop {
            self.guard.clear();
            let exit = match &mut self.pmu {
                Pmu::OnCore(pmu) => pmu.run(&mut self.vcpu, &self.memory)?,
                Pmu::OnClock(pmu) => pmu.run(&mut self.vcpu, &self.memory)?,
                Pmu::None => run_plain(&mut self.vcpu)?,
            };
            match exit {
                Exit::Vcpu(VcpuExit::IoOut(code::DONE, _)) => return Ok(start.elapsed()),
                Exit::Vcpu(VcpuExit::IoOut(..)) | Exit::Handled(_) | Exit::Kicked => {}
                Exit::Vcpu(VcpuExit::X86Rdmsr(exit)) => *exit.data = 0,
                Exit::Vcpu(VcpuExit::X86Wrmsr(_)) => {}
                exit => bail!("The benchmark guest ended in {exit:?}"),
            }
        }
    }

    fn lay_out(&self) -> Result<()> {
        let word = |at: u64, value: u64| self.memory.0.write_obj(value, GuestAddress(at));
        word(PML4, PDPT | 3)?;
        word(PDPT, PD | 3)?;
        word(PD, 0x83)?;
        // The null descriptor, then flat 64-bit code: delivering a #GP loads the gate's CS.
        word(GDT, 0)?;
        word(GDT + u64::from(KERNEL_CS), 0x00af_9b00_0000_ffff)?;
        // Gate 13: somewhere for the trap's breakpoint. No #GP but RDPMC's is ever raised here.
        word(
            IDT + 13 * 16,
            HANDLER | u64::from(KERNEL_CS) << 16 | 0x8e00 << 32,
        )?;
        let mut sregs = self.vcpu.get_sregs().context("KVM_GET_SREGS")?;
        let flat = kvm_segment {
            limit: u32::MAX,
            present: 1,
            s: 1,
            g: 1,
            ..Default::default()
        };
        sregs.cs = kvm_segment {
            selector: KERNEL_CS,
            type_: 0xb,
            l: 1,
            ..flat
        };
        sregs.ss = kvm_segment {
            selector: 16,
            type_: 3,
            db: 1,
            ..flat
        };
        (sregs.ds, sregs.es, sregs.fs, sregs.gs) = (sregs.ss, sregs.ss, sregs.ss, sregs.ss);
        (sregs.gdt.base, sregs.gdt.limit) = (GDT, 2 * 8 - 1);
        (sregs.idt.base, sregs.idt.limit) = (IDT, 14 * 16 - 1);
        (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (0x8001_0033, PML4, 0x20, 0x500);
        self.vcpu.set_sregs(&sregs).context("KVM_SET_SREGS")
    }
}

/// Filters the MSR that the loops use, and nothing else.
fn filter_bare(vm: &VmFd) -> Result<()> {
    let mut cap = kvm_enable_cap {
        cap: KVM_CAP_X86_USER_SPACE_MSR,
        ..Default::default()
    };
    cap.args[0] = KVM_MSR_EXIT_REASON_FILTER.into();
    vm.enable_cap(&cap).context("KVM_CAP_X86_USER_SPACE_MSR")?;
    let range = MsrFilterRange {
        flags: MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
        base: IA32_PMC0.0,
        msr_count: 1,
        bitmap: &[0],
    };
    vm.set_msr_filter(MsrFilterDefaultAction::ALLOW, &[range])
        .context("KVM_X86_SET_MSR_FILTER")
}
