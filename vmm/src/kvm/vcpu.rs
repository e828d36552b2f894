// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One vCPU on KVM: its exits.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use devices::PioBus;
use kvm_bindings::{
    KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_EMULATION, KVM_INTERNAL_ERROR_SIMUL_EX,
    KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET,
    KVM_SYSTEM_EVENT_SHUTDOWN,
};
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use vcpu_call::{Park, VcpuId, Waker};
use vcpu_life::Kick;
use vm_memory::{Bytes, GuestAddress};
use vpmu::context::Clock;
use vpmu::{EventFilter, Nanos, PmuModel, Vendor};
use vpmu_kvm::kick::{self, KickGuard, Kicker};
use vpmu_kvm::{
    CoreSource, GuestMemory, Handled, Monotonic, PerfCore, PmuOptions, VcpuPmuKvm, run_plain,
    thread_cpu_ns,
};

use super::error::{KvmError, REPORT, call};
use super::exits::{ExitCounts, Kind};
use super::fresh::Fresh;
use super::registers;
use crate::memory::GuestRam;
use crate::report::{Exit, ExitReason, VcpuReport};
use crate::trace::{PmuTrace, Tracer, VcpuTrace};
use crate::vcpu::{NewVcpu, Step, Vcpu, VcpuError};

/// A vCPU without a thread.
pub(super) struct NewKvmVcpu {
    pub(super) vcpu: VcpuFd,
    pub(super) vm: Arc<VmFd>,
    pub(super) ram: GuestRam,
    pub(super) id: u32,
    /// What it is after power-up; None for the boot CPU, which is never added again.
    pub(super) fresh: Option<Fresh>,
    pub(super) counts: Counts,
    pub(super) tracer: Tracer,
}

/// What counts on a vCPU, as planned.
pub(super) enum Counts {
    /// A PMU.
    ByPlan(PmuPlan),
    /// Nothing; its thread parks here.
    Nothing(vcpu_call::Vcpu<(), ()>),
}

/// What a vCPU's PMU is to be: the same for all of a VM.
#[derive(Clone)]
pub(super) struct PmuPlan {
    pub(super) model: PmuModel,
    pub(super) core: Arc<PerfCore<Tracer>>,
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
            fresh,
            counts,
            tracer,
        } = *self;
        let guard = kick::bind(&mut vcpu)?;
        let counter = match counts {
            Counts::Nothing(mail) => Counter::Nothing(mail),
            Counts::ByPlan(plan) => {
                let tsc_khz = vcpu
                    .get_tsc_khz()
                    .map_err(call("KVM_GET_TSC_KHZ", REPORT))?;
                let mut options = PmuOptions::new(plan.model, tsc_khz, id);
                if let Some(interval) = plan.min_rearm {
                    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
                    options.min_rearm = Nanos(nanos);
                }
                let source = plan.core.bind(VcpuId(id), &guard, tsc_khz)?;
                let mut pmu = VcpuPmuKvm::with_source_and_observer(
                    vm,
                    &guard,
                    &options,
                    source,
                    tracer.pmu(id),
                )?;
                pmu.registers().set_filter(plan.filter);
                Counter::Pmu(Box::new(pmu), plan.model.vendor())
            }
        };
        Ok(Box::new(KvmVcpu {
            counter,
            guard,
            vcpu,
            ram: Ram(ram),
            id,
            fresh,
            exits: Exits {
                counts: ExitCounts::default(),
                trace: tracer.vcpu(id),
                left: 0,
                in_hand: false,
                handling: 0,
            },
            bound_at_ns: thread_cpu_ns(),
        }))
    }
}

/// What counts on a vCPU.
enum Counter {
    /// A PMU of this vendor.
    Pmu(Box<VcpuPmuKvm<CoreSource<Tracer>, PmuTrace>>, Vendor),
    /// Nothing.
    Nothing(vcpu_call::Vcpu<(), ()>),
}

/// A vCPU on its thread. The guard comes before the vCPU: it points into its `kvm_run` page.
struct KvmVcpu {
    counter: Counter,
    guard: KickGuard,
    vcpu: VcpuFd,
    ram: Ram,
    id: u32,
    fresh: Option<Fresh>,
    exits: Exits,
    bound_at_ns: u64,
}

/// What becomes of the vCPU's exits: counts, the time that they take, and a trace, which shares its
/// looks at the clock with that.
struct Exits {
    counts: ExitCounts,
    trace: VcpuTrace,
    /// When it left the guest last.
    left: u64,
    /// The last exit is still being handled.
    in_hand: bool,
    /// Nanoseconds spent on handling exits.
    handling: u64,
}

impl Exits {
    /// It is about to enter the guest.
    fn enter(&mut self, counter: &Counter) {
        if self.trace.wants_plot()
            && let Counter::Pmu(pmu, _) = counter
        {
            self.trace.plot(&pmu.stats().pmu);
        }
        let now = Monotonic.now().0;
        self.handled(now);
        self.trace.enter(now);
    }

    /// It is back.
    fn leave(&mut self) {
        self.left = Monotonic.now().0;
        self.in_hand = true;
    }

    /// Why it is back.
    fn add(&mut self, kind: Kind) {
        self.trace.exit(self.left, kind.name());
        self.counts.add(kind);
    }

    /// It goes on to something else than the next entry.
    fn put_down(&mut self) {
        if self.in_hand {
            self.handled(Monotonic.now().0);
        }
    }

    fn handled(&mut self, now: u64) {
        if std::mem::take(&mut self.in_hand) {
            self.handling += now.saturating_sub(self.left);
        }
    }
}

impl Park for KvmVcpu {
    fn waker(&self) -> Waker {
        match &self.counter {
            Counter::Pmu(pmu, _) => pmu.waker(),
            Counter::Nothing(mail) => mail.waker(),
        }
    }

    fn park(&mut self) {
        self.exits.put_down();
        match &mut self.counter {
            Counter::Pmu(pmu, _) => pmu.park(),
            Counter::Nothing(mail) => mail.park(|()| ()),
        }
    }
}

impl Vcpu for KvmVcpu {
    fn kicker(&self) -> Box<dyn Kick> {
        Box::new(KvmKick(self.guard.kicker()))
    }

    fn plug(&mut self) -> Result<(), VcpuError> {
        if let Some(fresh) = &self.fresh {
            fresh.forget_events(&self.vcpu)?;
        }
        if let Counter::Pmu(pmu, _) = &mut self.counter {
            pmu.plug()?;
        }
        Ok(())
    }

    /// What the guest did to the vCPU goes here, so that adding it again is quick.
    fn unplug(&mut self) -> Result<(), VcpuError> {
        if let Counter::Pmu(pmu, _) = &mut self.counter {
            pmu.unplug(&mut self.vcpu)?;
        }
        if let Some(fresh) = &self.fresh {
            fresh.restore(&mut self.vcpu)?;
        }
        Ok(())
    }

    fn forget_kicks(&mut self) {
        self.guard.clear();
    }

    fn run(&mut self, ports: &PioBus) -> Result<Step, VcpuError> {
        let Self {
            counter,
            vcpu,
            ram,
            exits,
            ..
        } = self;
        exits.enter(counter);
        let exit = match counter {
            Counter::Pmu(pmu, _) => pmu.run(vcpu, ram)?,
            Counter::Nothing(_) => run_plain(vcpu)?,
        };
        exits.leave();
        match exit {
            vpmu_kvm::Exit::Kicked => exits.add(Kind::Kick),
            vpmu_kvm::Exit::Handled(Handled::ReadMsr) => exits.add(Kind::PmuRead),
            vpmu_kvm::Exit::Handled(Handled::WriteMsr) => exits.add(Kind::PmuWrite),
            vpmu_kvm::Exit::Handled(Handled::Debug) => exits.add(Kind::Debug),
            vpmu_kvm::Exit::Handled(Handled::Port) => exits.add(Kind::PerfPort),
            vpmu_kvm::Exit::Handled(Handled::Tick) => exits.add(Kind::Tick),
            vpmu_kvm::Exit::Vcpu(VcpuExit::IoOut(port, data)) => {
                exits.add(Kind::IoOut);
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
                exits.add(Kind::IoIn);
                let data = ptr::from_mut(data);
                let unit = io_unit(vcpu);
                // SAFETY: as above; the exit that lent the data out is gone.
                for piece in unsafe { &mut *data }.chunks_mut(unit) {
                    ports.read(port, piece);
                }
            }
            // Nothing is there: ones, and writes are dropped.
            vpmu_kvm::Exit::Vcpu(VcpuExit::MmioRead(_, data)) => {
                exits.add(Kind::MmioRead);
                data.fill(0xff);
            }
            vpmu_kvm::Exit::Vcpu(VcpuExit::MmioWrite(..)) => exits.add(Kind::MmioWrite),
            // An MSR that is filtered and not the PMU's does not exist.
            vpmu_kvm::Exit::Vcpu(VcpuExit::X86Rdmsr(exit)) => {
                exits.add(Kind::MsrRead);
                *exit.error = 1;
            }
            vpmu_kvm::Exit::Vcpu(VcpuExit::X86Wrmsr(exit)) => {
                exits.add(Kind::MsrWrite);
                *exit.error = 1;
            }
            vpmu_kvm::Exit::Vcpu(VcpuExit::Shutdown) => {
                exits.add(Kind::Other);
                return Ok(Step::End(Exit::new(ExitReason::TripleFault)));
            }
            vpmu_kvm::Exit::Vcpu(VcpuExit::SystemEvent(event, _)) => {
                exits.add(Kind::Other);
                return Ok(Step::End(system_event(event)));
            }
            // Only a signal that is not a kick: the run loop looks and goes on.
            vpmu_kvm::Exit::Vcpu(VcpuExit::Intr) => exits.add(Kind::Other),
            vpmu_kvm::Exit::Vcpu(exit) => {
                exits.add(Kind::Other);
                let mut what = describe(&exit);
                if matches!(exit, VcpuExit::InternalError) {
                    what.push_str(&internal_error(vcpu));
                }
                let registers = registers::describe(vcpu);
                return Err(KvmError::Exit { what, registers }.into());
            }
            _ => exits.add(Kind::Other),
        }
        Ok(Step::Again)
    }

    fn report(&mut self) -> VcpuReport {
        self.exits.put_down();
        let handling = self.exits.handling;
        let cpu_time = thread_cpu_ns().saturating_sub(self.bound_at_ns);
        let report = VcpuReport {
            id: self.id,
            guest_time_ns: Some(cpu_time.saturating_sub(handling)),
            exits: self.exits.counts.named(),
            ..Default::default()
        };
        let Counter::Pmu(pmu, vendor) = &self.counter else {
            return report;
        };
        let stats = pmu.stats();
        VcpuReport {
            rdpmcs: stats.trap.emulated,
            ..report.with_pmu(*vendor, &stats.pmu)
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
