// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One vCPU on KVM: its exits.

use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::PioBus;
use kvm_bindings::{
    KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_EMULATION, KVM_INTERNAL_ERROR_SIMUL_EX,
    KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET,
    KVM_SYSTEM_EVENT_SHUTDOWN,
};
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use vcpu_call::VcpuId;
use vm_memory::{Bytes, GuestAddress};
use vpmu::{EventFilter, Nanos, PmuModel, Vendor};
use vpmu_kvm::kick::{self, KickGuard, Kicker};
use vpmu_kvm::{
    CoreSource, GuestMemory, Handled, PerfCore, PmuOptions, VcpuPmuKvm, run_plain, thread_cpu_ns,
};

use super::error::{KvmError, REPORT, call};
use super::exits::{ExitCounts, Kind};
use super::registers;
use crate::cpus::Kick;
use crate::memory::GuestRam;
use crate::report::{Exit, ExitReason, VcpuReport};
use crate::vcpu::{NewVcpu, Step, Vcpu, VcpuError};

/// A vCPU without a thread.
pub(super) struct NewKvmVcpu {
    pub(super) vcpu: VcpuFd,
    pub(super) vm: Arc<VmFd>,
    pub(super) ram: GuestRam,
    pub(super) id: u32,
    pub(super) pmu: Option<PmuPlan>,
}

/// What a vCPU's PMU is to be: the same for all of a VM.
#[derive(Clone)]
pub(super) struct PmuPlan {
    pub(super) model: PmuModel,
    pub(super) core: Arc<PerfCore>,
    pub(super) min_rearm: Option<Duration>,
    pub(super) filter: Option<Arc<EventFilter>>,
}

impl NewVcpu for NewKvmVcpu {
    fn bind(self: Box<Self>) -> Result<Box<dyn Vcpu>, VcpuError> {
        let Self {
            mut vcpu,
            vm,
            ram,
            id,
            pmu,
        } = *self;
        let guard = kick::bind(&mut vcpu)?;
        let vendor = pmu.as_ref().map(|plan| plan.model.vendor());
        let pmu = match pmu {
            None => None,
            Some(plan) => {
                let tsc_khz = vcpu
                    .get_tsc_khz()
                    .map_err(call("KVM_GET_TSC_KHZ", REPORT))?;
                let mut options = PmuOptions::new(plan.model, tsc_khz, id);
                if let Some(interval) = plan.min_rearm {
                    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
                    options.min_rearm = Nanos(nanos);
                }
                let source = plan.core.bind(VcpuId(id), &guard, tsc_khz)?;
                let mut pmu = VcpuPmuKvm::with_source(vm, &guard, &options, source)?;
                pmu.registers().set_filter(plan.filter);
                Some(pmu)
            }
        };
        Ok(Box::new(KvmVcpu {
            pmu,
            vendor,
            guard,
            vcpu,
            ram: Ram(ram),
            id,
            counts: ExitCounts::default(),
            bound_at_ns: thread_cpu_ns(),
            handling: Duration::ZERO,
        }))
    }
}

/// A vCPU on its thread. The guard comes before the vCPU: it points into its `kvm_run` page.
struct KvmVcpu {
    pmu: Option<VcpuPmuKvm<CoreSource>>,
    /// Whose PMU that is.
    vendor: Option<Vendor>,
    guard: KickGuard,
    vcpu: VcpuFd,
    ram: Ram,
    id: u32,
    counts: ExitCounts,
    bound_at_ns: u64,
    /// Time spent on handling exits.
    handling: Duration,
}

impl Vcpu for KvmVcpu {
    fn kicker(&self) -> Box<dyn Kick> {
        Box::new(KvmKick(self.guard.kicker()))
    }

    fn tend(&mut self) {
        if let Some(pmu) = &mut self.pmu {
            pmu.tend();
        }
    }

    fn forget_kicks(&mut self) {
        self.guard.clear();
    }

    fn run(&mut self, ports: &PioBus) -> Result<Step, VcpuError> {
        let Self {
            pmu,
            vcpu,
            ram,
            counts,
            handling,
            ..
        } = self;
        let exit = match pmu {
            Some(pmu) => pmu.run(vcpu, ram)?,
            None => run_plain(vcpu)?,
        };
        let _handling = Stopwatch::start(handling);
        match exit {
            vpmu_kvm::Exit::Kicked => counts.add(Kind::Kick),
            vpmu_kvm::Exit::Handled(Handled::ReadMsr) => counts.add(Kind::PmuRead),
            vpmu_kvm::Exit::Handled(Handled::WriteMsr) => counts.add(Kind::PmuWrite),
            vpmu_kvm::Exit::Handled(Handled::Debug) => counts.add(Kind::Debug),
            vpmu_kvm::Exit::Vcpu(VcpuExit::IoOut(port, data)) => {
                counts.add(Kind::IoOut);
                let data = ptr::from_ref(data);
                let unit = io_unit(vcpu);
                // SAFETY: the data lies in the vCPU's mapping behind `kvm_run`, which `io_unit`
                // does not touch, and stays as it is until the vCPU runs again.
                for piece in unsafe { &*data }.chunks(unit) {
                    ports.write(port, piece);
                }
                return Ok(Step::PortWrite);
            }
            vpmu_kvm::Exit::Vcpu(VcpuExit::IoIn(port, data)) => {
                counts.add(Kind::IoIn);
                let data = ptr::from_mut(data);
                let unit = io_unit(vcpu);
                // SAFETY: as above; the exit that lent the data out is gone.
                for piece in unsafe { &mut *data }.chunks_mut(unit) {
                    ports.read(port, piece);
                }
            }
            // Nothing is there: ones, and writes are dropped.
            vpmu_kvm::Exit::Vcpu(VcpuExit::MmioRead(_, data)) => {
                counts.add(Kind::MmioRead);
                data.fill(0xff);
            }
            vpmu_kvm::Exit::Vcpu(VcpuExit::MmioWrite(..)) => counts.add(Kind::MmioWrite),
            // An MSR that is filtered and not the PMU's does not exist.
            vpmu_kvm::Exit::Vcpu(VcpuExit::X86Rdmsr(exit)) => {
                counts.add(Kind::MsrRead);
                *exit.error = 1;
            }
            vpmu_kvm::Exit::Vcpu(VcpuExit::X86Wrmsr(exit)) => {
                counts.add(Kind::MsrWrite);
                *exit.error = 1;
            }
            vpmu_kvm::Exit::Vcpu(VcpuExit::Shutdown) => {
                counts.add(Kind::Other);
                return Ok(Step::End(Exit::new(ExitReason::TripleFault)));
            }
            vpmu_kvm::Exit::Vcpu(VcpuExit::SystemEvent(event, _)) => {
                counts.add(Kind::Other);
                return Ok(Step::End(system_event(event)));
            }
            // Only a signal that is not a kick: the run loop looks and goes on.
            vpmu_kvm::Exit::Vcpu(VcpuExit::Intr) => counts.add(Kind::Other),
            vpmu_kvm::Exit::Vcpu(exit) => {
                counts.add(Kind::Other);
                let mut what = describe(&exit);
                if matches!(exit, VcpuExit::InternalError) {
                    what.push_str(&internal_error(vcpu));
                }
                let registers = registers::describe(vcpu);
                return Err(KvmError::Exit { what, registers }.into());
            }
            _ => counts.add(Kind::Other),
        }
        Ok(Step::Again)
    }

    fn report(&mut self) -> VcpuReport {
        let handling = u64::try_from(self.handling.as_nanos()).unwrap_or(u64::MAX);
        let cpu_time = thread_cpu_ns().saturating_sub(self.bound_at_ns);
        let report = VcpuReport {
            id: self.id,
            guest_time_ns: Some(cpu_time.saturating_sub(handling)),
            exits: self.counts.named(),
            ..Default::default()
        };
        let Some((pmu, vendor)) = self.pmu.as_ref().zip(self.vendor) else {
            return report;
        };
        let stats = pmu.stats();
        VcpuReport {
            rdpmcs: stats.trap.emulated,
            ..report.with_pmu(vendor, &stats.pmu)
        }
    }
}

/// What a port access moves at a time; a string instruction moves many such units.
fn io_unit(vcpu: &mut VcpuFd) -> usize {
    // SAFETY: the last exit was KVM_EXIT_IO, for which this is the union's field.
    let io = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.io };
    usize::from(io.size).max(1)
}

fn system_event(event: u32) -> Exit {
    let exit = Exit::new(ExitReason::GuestShutdown);
    match event {
        KVM_SYSTEM_EVENT_SHUTDOWN => exit,
        KVM_SYSTEM_EVENT_RESET => exit.with_message("It asked for a reset"),
        KVM_SYSTEM_EVENT_CRASH => exit.with_message("It reported a crash"),
        other => exit.with_message(format!("KVM system event {other}")),
    }
}

/// An exit that cannot be served, by its name.
fn describe(exit: &VcpuExit<'_>) -> String {
    match exit {
        VcpuExit::FailEntry(reason, cpu) => format!(
            "KVM_EXIT_FAIL_ENTRY (the CPU refuses the guest's state, reason {reason:#x}, CPU {cpu})"
        ),
        VcpuExit::InternalError => "KVM_EXIT_INTERNAL_ERROR".to_owned(),
        VcpuExit::Unsupported(number) => format!("the unknown exit {number}"),
        other => format!("the unexpected exit {other:?}"),
    }
}

/// Which internal error it was.
fn internal_error(vcpu: &mut VcpuFd) -> String {
    // SAFETY: the last exit was KVM_EXIT_INTERNAL_ERROR, for which this is the union's field.
    let suberror = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.internal.suberror };
    let meaning = match suberror {
        KVM_INTERNAL_ERROR_EMULATION => "an instruction that KVM cannot emulate",
        KVM_INTERNAL_ERROR_SIMUL_EX => "an exception during an exception",
        KVM_INTERNAL_ERROR_DELIVERY_EV => "an exit during the delivery of an event",
        KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON => "an exit of the CPU that KVM does not know",
        _ => "of an unknown kind",
    };
    format!(" (suberror {suberror}: {meaning})")
}

struct KvmKick(Kicker);

impl Kick for KvmKick {
    fn kick(&self) -> bool {
        self.0.kick().is_ok()
    }
}

/// What the RDPMC trap reads the guest's memory through.
struct Ram(GuestRam);

impl GuestMemory for Ram {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> bool {
        self.0.mmap().read_slice(buf, GuestAddress(gpa)).is_ok()
    }
}

/// Adds the time from its making to its end to a sum.
struct Stopwatch<'a> {
    sum: &'a mut Duration,
    start: Instant,
}

impl<'a> Stopwatch<'a> {
    fn start(sum: &'a mut Duration) -> Self {
        Self {
            sum,
            start: Instant::now(),
        }
    }
}

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        *self.sum += self.start.elapsed();
    }
}
