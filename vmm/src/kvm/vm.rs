// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM and its vCPUs, before they run.

use std::sync::Arc;
use std::time::Duration;

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VmFd};
use perf_port_host::PortLimits;
use vcpu_call::{Calls, VcpuId};
use vmm_sys_util::eventfd::EventFd;
use vpmu::{EventFilter, PmuModel};
use vpmu_kvm::PerfCore;

use super::cpuid::Topology;
use super::error::{KvmError, REPORT, call};
use super::fresh::{self, Fresh};
use super::vcpu::{Counts, NewKvmVcpu, PmuPlan};
use super::{host, registers};
use crate::boot::BootState;
use crate::memory::GuestRam;
use crate::trace::Tracer;
use crate::vcpu::{Machine, NewVcpu, VcpuError};

/// Three pages that kvm-intel needs for real mode, and one for its page table: in the hole of RAM.
const TSS_ADDRESS: usize = 0xfffb_d000;
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;

/// What a VM is made of.
pub(crate) struct Config {
    pub(crate) ram: GuestRam,
    pub(crate) boot: BootState,
    /// How many vCPUs there can be.
    pub(crate) max_vcpus: u32,
    pub(crate) pmu: Option<PmuModel>,
    pub(crate) min_rearm: Option<Duration>,
    pub(crate) filter: Option<Arc<EventFilter>>,
    /// What the guest may ask for at the perf port, if it has one. There is none without a PMU.
    pub(crate) port: Option<PortLimits>,
    pub(crate) tracer: Tracer,
}

/// A VM that makes vCPUs, at the start and later.
pub(crate) struct KvmMachine {
    kvm: Kvm,
    vm: Arc<VmFd>,
    ram: GuestRam,
    boot: BootState,
    /// What the host's CPU and KVM support, with the VM's PMU.
    supported: CpuId,
    topology: Topology,
    pmu: Option<PmuPlan>,
    tracer: Tracer,
    /// The mailboxes of vCPUs without a PMU: nothing is ever sent there, but their threads park.
    calls: Calls<(), ()>,
}

impl KvmMachine {
    pub(crate) fn new(config: Config) -> Result<Self, KvmError> {
        let kvm = host::open()?;
        let max = kvm.get_max_vcpus();
        if usize::try_from(config.max_vcpus).is_ok_and(|count| count > max) {
            return Err(KvmError::TooManyVcpus {
                count: config.max_vcpus,
                max,
            });
        }
        vpmu_kvm::kick::install()?;
        let vm = create_vm(&kvm, &config)?;
        let mut supported = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(call("KVM_GET_SUPPORTED_CPUID", REPORT))?;
        vpmu_kvm::cpuid::apply(&mut supported, config.pmu);
        if config.pmu.is_some() && config.port.is_some() {
            vpmu_kvm::cpuid::add_port(&mut supported);
        }
        let topology = Topology {
            vcpus: config.max_vcpus,
            tsc_deadline: kvm.check_extension(Cap::TscDeadlineTimer),
        };
        Ok(Self {
            vm: Arc::new(vm),
            supported,
            topology,
            pmu: config.pmu.map(|model| PmuPlan::new(model, &config)),
            calls: Calls::new(config.max_vcpus, |_| ()),
            tracer: config.tracer,
            ram: config.ram,
            boot: config.boot,
            kvm,
        })
    }

    /// Raises interrupt `gsi` whenever `line` is written to.
    pub(crate) fn connect_interrupt(&self, line: &EventFd, gsi: u32) -> Result<(), KvmError> {
        self.vm
            .register_irqfd(line, gsi)
            .map_err(call("KVM_IRQFD", REPORT))
    }

    /// The vCPUs of the start. vCPU 0 is where the kernel is entered.
    pub(crate) fn boot_vcpus(&self, count: u32) -> Result<Vec<Box<dyn NewVcpu>>, KvmError> {
        (0..count)
            .map(|id| -> Result<Box<dyn NewVcpu>, KvmError> { Ok(Box::new(self.create(id)?)) })
            .collect()
    }

    fn create(&self, id: u32) -> Result<NewKvmVcpu, KvmError> {
        let vcpu = self.vm.create_vcpu(id.into()).map_err(call(
            "KVM_CREATE_VCPU",
            "give fewer vCPUs, or raise the limit of open files (`ulimit -n`)",
        ))?;
        let cpuid = self.topology.cpuid_of(&self.supported, id);
        vcpu.set_cpuid2(&cpuid.ok_or(KvmError::Cpuid)?)
            .map_err(call("KVM_SET_CPUID2", REPORT))?;
        if let Some(plan) = &self.pmu {
            vpmu_kvm::cpuid::set_misc_enable(&vcpu, plan.model)?;
        }
        // The others wait for INIT and SIPI, at first and whenever they are added again.
        let fresh = if id == 0 {
            registers::set_boot_state(&vcpu, self.boot)?;
            None
        } else {
            Some(Fresh::of(&vcpu, &self.kvm)?)
        };
        let counts = match &self.pmu {
            Some(plan) => Counts::ByPlan(plan.clone()),
            None => {
                let mail = self.calls.vcpu(VcpuId(id));
                Counts::Nothing(mail.map_err(|_| KvmError::VcpuTaken(id))?)
            }
        };
        Ok(NewKvmVcpu {
            vcpu,
            vm: Arc::clone(&self.vm),
            ram: self.ram.clone(),
            id,
            fresh,
            counts,
            tracer: self.tracer.clone(),
        })
    }
}

impl Machine for KvmMachine {
    fn make(&self, id: u32) -> Result<Box<dyn NewVcpu>, VcpuError> {
        let new = self.create(id)?;
        fresh::join_apic_map(&new.vcpu)?;
        Ok(Box::new(new))
    }

    fn perf(&self) -> Option<&Arc<PerfCore<Tracer>>> {
        self.pmu.as_ref().map(|plan| &plan.core)
    }
}

impl PmuPlan {
    fn new(model: PmuModel, config: &Config) -> Self {
        let (vcpus, tracer) = (config.max_vcpus, config.tracer.clone());
        let core = match config.port {
            None => PerfCore::with_observer(vcpus, tracer),
            Some(limits) => {
                PerfCore::with_port(vcpus, tracer, Arc::new(config.ram.clone()), limits)
            }
        };
        Self {
            model,
            core: Arc::new(core),
            min_rearm: config.min_rearm,
            filter: config.filter.clone(),
        }
    }
}

fn create_vm(kvm: &Kvm, config: &Config) -> Result<VmFd, KvmError> {
    let vm = kvm.create_vm().map_err(call(
        "KVM_CREATE_VM",
        "end other virtual machines, or see the host's kernel log",
    ))?;
    vpmu_kvm::prepare_vm(kvm, &vm, config.pmu)?;
    vm.set_identity_map_address(IDENTITY_MAP_ADDRESS)
        .map_err(call("KVM_SET_IDENTITY_MAP_ADDR", REPORT))?;
    vm.set_tss_address(TSS_ADDRESS)
        .map_err(call("KVM_SET_TSS_ADDR", REPORT))?;
    vm.create_irq_chip()
        .map_err(call("KVM_CREATE_IRQCHIP", REPORT))?;
    for ((guest_phys_addr, memory_size, host), slot) in config.ram.regions().zip(0..) {
        let region = kvm_userspace_memory_region {
            slot,
            guest_phys_addr,
            memory_size,
            userspace_addr: host.addr() as u64,
            flags: 0,
        };
        // SAFETY: the region is a mapping of exactly that size, and every vCPU holds a `GuestRam`
        // that keeps it mapped: it outlives the last instruction that a guest can run.
        unsafe { vm.set_user_memory_region(region) }.map_err(call(
            "KVM_SET_USER_MEMORY_REGION",
            "give less memory, or see the host's kernel log",
        ))?;
    }
    Ok(vm)
}
