// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The running VM as the clerk sees it.

use std::time::Duration;

use vcpu_call::VcpuId;
use vmm::{HotplugError, Tracer, VcpuState, VmError, VmHandle};
use vpmu::context::{self, Attr, Open, PerfError, Target};
use vpmu::{Event, EventConfig};
use vpmu_kvm::PerfCore;

use super::host::{Count, Failure, Host, State};
use super::wish::Outcome;

impl Host for VmHandle {
    type Watch = context::Event;

    fn add(&self, vcpu: Option<u32>) -> Result<u32, Failure> {
        self.add_vcpu(vcpu).map_err(|error| of_hotplug(&error))
    }

    fn remove(&self, vcpu: u32, limit: Duration) -> Result<(), Failure> {
        self.remove_vcpu(vcpu, limit)
            .map_err(|error| of_hotplug(&error))
    }

    fn pause(&self) -> Result<(), Failure> {
        VmHandle::pause(self).map_err(|error| of_vm(&error))
    }

    fn resume(&self) -> Result<(), Failure> {
        VmHandle::resume(self).map_err(|error| of_vm(&error))
    }

    fn states(&self) -> Vec<State> {
        let vcpus = self.info().vcpus;
        vcpus.into_iter().map(|vcpu| state(vcpu.state)).collect()
    }

    fn watch(&self, vcpu: u32) -> Result<context::Event, Failure> {
        let core = core(self)?;
        let attr = Attr::counting(EventConfig::everywhere(Event::CoreCycles));
        let open = Open::new(attr, Target::Vcpu(VcpuId(vcpu)));
        core.perf()
            .open(&open, &mut core.host_thread())
            .map_err(of_perf)
    }

    fn count(&self, watch: &context::Event) -> Result<Count, Failure> {
        let core = core(self)?;
        let reading = core
            .perf()
            .read(watch, &mut core.host_thread())
            .map_err(of_perf)?;
        let state = core.perf().status(watch).map_err(of_perf)?.state;
        match reading {
            Some(reading) => Ok(Count {
                cycles: reading.count,
                counts_on: matches!(state, context::State::Active(_) | context::State::Inactive),
            }),
            None => Err(fault("the watch is in the state ERROR")),
        }
    }

    fn unwatch(&self, watch: context::Event) -> Result<(), Failure> {
        let core = core(self)?;
        core.perf()
            .close(&watch, &mut core.host_thread())
            .map_err(of_perf)
    }
}

fn core(vm: &VmHandle) -> Result<&PerfCore<Tracer>, Failure> {
    vm.perf().ok_or_else(|| fault("the VM has no PMU"))
}

fn fault(words: impl ToString) -> Failure {
    Failure {
        outcome: Outcome::Fault,
        words: words.to_string(),
    }
}

fn state(state: VcpuState) -> State {
    match state {
        VcpuState::Absent => State::Absent,
        VcpuState::Starting => State::Starting,
        VcpuState::Running => State::Running,
        VcpuState::Paused => State::Paused,
        VcpuState::Stopping => State::Stopping,
        VcpuState::Offline => State::Offline,
        // Of a state that is new since, nothing here is said to be so.
        _ => State::Finished,
    }
}

fn of_hotplug(error: &HotplugError) -> Failure {
    let outcome = match error {
        HotplugError::NoSuchVcpu { .. } => Outcome::NoSuchVcpu,
        HotplugError::BootVcpu => Outcome::BootVcpu,
        HotplugError::Present(_) => Outcome::Present,
        HotplugError::AllPresent(_) => Outcome::AllPresent,
        HotplugError::NotPresent(_) => Outcome::NotPresent,
        HotplugError::Paused => Outcome::Paused,
        HotplugError::NotHonoured { .. } => Outcome::NotHonoured,
        HotplugError::Refused(_) => Outcome::Refused,
        HotplugError::Vm(error) => return of_vm(error),
        _ => Outcome::Fault,
    };
    Failure {
        outcome,
        words: error.to_string(),
    }
}

fn of_vm(error: &VmError) -> Failure {
    let outcome = match error {
        VmError::Ended => Outcome::Ended,
        _ => Outcome::Fault,
    };
    Failure {
        outcome,
        words: error.to_string(),
    }
}

fn of_perf(error: PerfError) -> Failure {
    Failure {
        outcome: Outcome::Perf,
        words: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_its_own_outcome() {
        let second = Duration::from_secs(1);
        for (error, outcome) in [
            (HotplugError::BootVcpu, Outcome::BootVcpu),
            (
                HotplugError::NoSuchVcpu { vcpu: 4, max: 4 },
                Outcome::NoSuchVcpu,
            ),
            (HotplugError::Present(1), Outcome::Present),
            (HotplugError::AllPresent(4), Outcome::AllPresent),
            (HotplugError::NotPresent(1), Outcome::NotPresent),
            (HotplugError::Paused, Outcome::Paused),
            (
                HotplugError::NotHonoured {
                    vcpu: 1,
                    waited: second,
                },
                Outcome::NotHonoured,
            ),
            (HotplugError::Refused(1), Outcome::Refused),
            (HotplugError::Vm(VmError::Ended), Outcome::Ended),
            (HotplugError::Vm(VmError::NoKernel), Outcome::Fault),
        ] {
            let failure = of_hotplug(&error);
            assert_eq!(failure.outcome, outcome, "{error}");
            assert_eq!(failure.words, error.to_string());
        }
    }
}
