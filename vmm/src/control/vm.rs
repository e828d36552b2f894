// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM that runs, as the control socket reaches it.

use std::fmt;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use vcpu_life::VcpuState;
use vpmu::context::HostThread;
use vpmu_kvm::Monotonic;

use super::{
    CpuState, ErrorKind, EventDesk, Events, Host, Info, Refusal, RunState, Until, VcpuLine,
};
use crate::kvm::PMU_SOURCE;
use crate::{HotplugError, Tracer, VmError, VmHandle};

type Caller = Box<dyn Fn() -> HostThread + Send + Sync>;

/// A VM that runs, to be served by a [`ControlServer`](super::ControlServer).
///
/// ```no_run
/// use std::sync::Arc;
/// use vmm::control::{ControlServer, VmHost};
///
/// let running = vmm::VmBuilder::new().kernel_file("kernel.elf").build()?.start()?;
/// let host = Arc::new(VmHost::new(running.handle()));
/// let _server = ControlServer::start("/run/user/1000/vm.sock", host)?;
/// running.wait(None)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct VmHost {
    vm: VmHandle,
    events: Option<Events<Monotonic, Tracer, Caller>>,
}

impl VmHost {
    /// Of this VM. The events that clients open are closed when the host is dropped with its VM.
    pub fn new(vm: VmHandle) -> Self {
        let events = vm.perf().map(|core| {
            let perf = core.perf().clone();
            let vm = vm.clone();
            let caller: Caller = Box::new(move || match vm.perf() {
                Some(core) => core.host_thread(),
                None => unreachable!("a VM keeps its perf core"),
            });
            let events = Events::new(perf, caller, PMU_SOURCE);
            match core.port() {
                Some(port) => events.with_tasks(Arc::new(port.clone())),
                None => events,
            }
        });
        Self { vm, events }
    }

    fn run_state(&self) -> RunState {
        if self.vm.has_ended() {
            RunState::Ended
        } else if self.vm.state(0) == VcpuState::Paused {
            RunState::Paused
        } else {
            RunState::Running
        }
    }
}

impl fmt::Debug for VmHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmHost")
            .field("vm", &self.vm)
            .finish_non_exhaustive()
    }
}

impl Host for VmHost {
    fn info(&self) -> Result<Info, Refusal> {
        let info = self.vm.info();
        let line = |vcpu: &crate::VcpuInfo| VcpuLine {
            vcpu: vcpu.id,
            state: word_of(vcpu.state),
            removal_asked: vcpu.removal_requested,
        };
        Ok(Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: process::id(),
            accel: info.accel.to_owned(),
            state: self.run_state(),
            uptime_ms: u64::try_from(info.uptime.as_millis()).unwrap_or(u64::MAX),
            source: info.pmu.is_some().then(|| PMU_SOURCE.to_owned()),
            pmu: info.pmu,
            vcpus: info.vcpus.iter().map(line).collect(),
            events: 0,
        })
    }

    fn add_vcpu(&self) -> Result<u32, Refusal> {
        Ok(self.vm.add_vcpu(None)?)
    }

    fn remove_vcpu(&self, vcpu: u32, limit: Duration) -> Result<(), Refusal> {
        Ok(self.vm.remove_vcpu(vcpu, limit)?)
    }

    fn pause(&self) -> Result<(), Refusal> {
        Ok(self.vm.pause()?)
    }

    fn resume(&self) -> Result<(), Refusal> {
        Ok(self.vm.resume()?)
    }

    fn stop(&self) -> Result<(), Refusal> {
        self.vm.stop();
        Ok(())
    }

    fn wait(&self, until: Until, limit: Duration) -> Result<bool, Refusal> {
        let (vcpu, wanted) = match until {
            Until::Vm(RunState::Ended) => return Ok(self.vm.wait_ended(limit)),
            Until::Vm(RunState::Running) => (0, CpuState::Running),
            Until::Vm(RunState::Paused) => (0, CpuState::Paused),
            Until::Vcpu(vcpu, wanted) => (vcpu, wanted),
        };
        let max = self.vm.max_vcpus();
        if vcpu >= max {
            return Err(HotplugError::NoSuchVcpu { vcpu, max }.into());
        }
        let there = self
            .vm
            .wait_state(vcpu, limit, |state| word_of(state) == wanted);
        if !there && self.vm.has_ended() {
            return Err(VmError::Ended.into());
        }
        Ok(there)
    }

    fn events(&self) -> Option<&dyn EventDesk> {
        self.events.as_ref().map(|events| events as &dyn EventDesk)
    }
}

/// The protocol's word for a state.
fn word_of(state: VcpuState) -> CpuState {
    match state {
        VcpuState::Absent => CpuState::Absent,
        VcpuState::Starting => CpuState::Starting,
        VcpuState::Running => CpuState::Running,
        VcpuState::Paused => CpuState::Paused,
        VcpuState::Stopping => CpuState::Stopping,
        VcpuState::Offline => CpuState::Offline,
        _ => CpuState::Finished,
    }
}

impl From<HotplugError> for Refusal {
    fn from(error: HotplugError) -> Self {
        let kind = match error {
            HotplugError::Vm(error) => return error.into(),
            HotplugError::NoSuchVcpu { .. } => ErrorKind::NoSuchVcpu,
            HotplugError::NotHonoured { .. } | HotplugError::Refused(_) => ErrorKind::NotHonoured,
            _ => ErrorKind::Refused,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<VmError> for Refusal {
    fn from(error: VmError) -> Self {
        let kind = match error {
            VmError::Ended => ErrorKind::Ended,
            VmError::Stuck(_) => ErrorKind::Timeout,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_own_word() {
        for state in VcpuState::ALL {
            assert_eq!(word_of(state).word(), state.name());
        }
    }

    #[test]
    fn an_error_says_what_kind_it_is() {
        let kind = |error: HotplugError| Refusal::from(error).kind;
        assert_eq!(kind(HotplugError::BootVcpu), ErrorKind::Refused);
        assert_eq!(kind(HotplugError::Refused(1)), ErrorKind::NotHonoured);
        assert_eq!(kind(HotplugError::Vm(VmError::Ended)), ErrorKind::Ended);
        let none = HotplugError::NoSuchVcpu { vcpu: 4, max: 4 };
        assert_eq!(kind(none), ErrorKind::NoSuchVcpu);
    }
}
