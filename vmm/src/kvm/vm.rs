// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM and its vCPUs, before they run.

use std::sync::Arc;
use std::time::Duration;

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VmFd};
use vcpu_call::VcpuId;
use vmm_sys_util::eventfd::EventFd;
use vpmu::{EventFilter, PmuModel};
use vpmu_kvm::PerfCore;

use super::cpuid::Topology;
use super::error::{KvmError, REPORT, call};
use super::vcpu::{NewKvmVcpu, PmuPlan};
use super::{host, registers};
use crate::boot::BootState;
use crate::cpus::Cpus;
use crate::memory::GuestRam;
use crate::vcpu::NewVcpu;

/// Three pages that kvm-intel needs for real mode, and one for its page table: in the hole of RAM.
const TSS_ADDRESS: usize = 0xfffb_d000;
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;

/// What a VM is made of.
pub(crate) struct Config {
    /// Where its vCPUs wait when they are not in their guest.
    pub(crate) cpus: Arc<Cpus>,
    pub(crate) ram: GuestRam,
    pub(crate) boot: BootState,
    pub(crate) vcpus: u32,
    pub(crate) pmu: Option<PmuModel>,
    pub(crate) min_rearm: Option<Duration>,
    pub(crate) filter: Option<Arc<EventFilter>>,
}

/// A VM whose vCPUs have no threads yet.
pub(crate) struct Machine {
    vm: Arc<VmFd>,
    vcpus: Vec<Box<dyn NewVcpu>>,
}

impl Machine {
    pub(crate) fn new(config: &Config) -> Result<Self, KvmError> {
        let kvm = host::open()?;
        let max = kvm.get_max_vcpus();
        if usize::try_from(config.vcpus).is_ok_and(|count| count > max) {
            return Err(KvmError::TooManyVcpus {
                count: config.vcpus,
                max,
            });
        }
        vpmu_kvm::kick::install()?;
        let vm = create_vm(&kvm, config)?;
        let mut machine = Self {
            vm: Arc::new(vm),
            vcpus: Vec::new(),
        };
        machine.create_vcpus(&kvm, config)?;
        Ok(machine)
    }

    /// Raises interrupt `gsi` whenever `line` is written to.
    pub(crate) fn connect_interrupt(&self, line: &EventFd, gsi: u32) -> Result<(), KvmError> {
        self.vm
            .register_irqfd(line, gsi)
            .map_err(call("KVM_IRQFD", REPORT))
    }

    pub(crate) fn into_vcpus(self) -> Vec<Box<dyn NewVcpu>> {
        self.vcpus
    }

    fn create_vcpus(&mut self, kvm: &Kvm, config: &Config) -> Result<(), KvmError> {
        let mut supported = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(call("KVM_GET_SUPPORTED_CPUID", REPORT))?;
        vpmu_kvm::cpuid::apply(&mut supported, config.pmu);
        let topology = Topology {
            vcpus: config.vcpus,
            tsc_deadline: kvm.check_extension(Cap::TscDeadlineTimer),
        };
        let pmu = config.pmu.map(|model| PmuPlan::new(model, config));
        for id in 0..config.vcpus {
            let vcpu = self.vm.create_vcpu(id.into()).map_err(call(
                "KVM_CREATE_VCPU",
                "give fewer vCPUs, or raise the limit of open files (`ulimit -n`)",
            ))?;
            let cpuid = topology.cpuid_of(&supported, id).ok_or(KvmError::Cpuid)?;
            vcpu.set_cpuid2(&cpuid)
                .map_err(call("KVM_SET_CPUID2", REPORT))?;
            if let Some(model) = config.pmu {
                vpmu_kvm::cpuid::set_misc_enable(&vcpu, model)?;
            }
            // The others wait for INIT and SIPI.
            if id == 0 {
                registers::set_boot_state(&vcpu, config.boot)?;
            }
            self.vcpus.push(Box::new(NewKvmVcpu {
                vcpu,
                vm: Arc::clone(&self.vm),
                ram: config.ram.clone(),
                id,
                pmu: pmu.clone(),
            }));
        }
        Ok(())
    }
}

impl PmuPlan {
    fn new(model: PmuModel, config: &Config) -> Self {
        let cpus = Arc::clone(&config.cpus);
        let wake = move |vcpu: VcpuId| cpus.wake(vcpu.index());
        Self {
            model,
            core: Arc::new(PerfCore::with_wake(config.vcpus, wake)),
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
