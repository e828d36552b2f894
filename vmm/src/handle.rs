// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can be asked of a VM that runs, from any thread.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vcpu_life::{Goal, VcpuState};
use vpmu_kvm::PerfCore;

use crate::hotplug::{self, HotplugError};
use crate::report::{Exit, ExitReason};
use crate::shared::Shared;
use crate::trace::Tracer;
use crate::vm::VmError;

/// A vCPU of a VM that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VcpuInfo {
    /// Its number, which is its APIC id as well.
    pub id: u32,
    /// What it is doing.
    pub state: VcpuState,
    /// Whether the guest is shown it: it has been added, and the guest has not ejected it.
    pub present: bool,
    /// Whether the guest is asked to give it back.
    pub removal_requested: bool,
}

/// A VM that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmInfo {
    /// All vCPUs that there can be, in the order of their ids.
    pub vcpus: Vec<VcpuInfo>,
    /// What runs the vCPUs: `kvm`.
    pub accel: &'static str,
    /// The model of the PMU that the guest found; none if it has none.
    pub pmu: Option<String>,
    /// For how long the vCPUs have been let go.
    pub uptime: Duration,
    /// How the run ended, once it has.
    pub ended: Option<Exit>,
}

/// A VM that runs, for any thread: add and remove vCPUs, pause, resume and end it, count on it.
///
/// All handles are of the same VM. They keep it in memory and do not keep it running.
///
/// ```no_run
/// use std::time::Duration;
///
/// let running = vmm::VmBuilder::new()
///     .vcpus(1)
///     .max_vcpus(2)
///     .kernel_file("kernel.elf")
///     .build()?
///     .start()?;
/// let vm = running.handle();
/// let added = vm.add_vcpu(None)?;
/// // The guest hears of it, starts it, and gives it back when it is asked to.
/// vm.remove_vcpu(added, Duration::from_secs(5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct VmHandle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) obey_limit: Duration,
}

impl fmt::Debug for VmHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmHandle")
            .field("vcpus", &self.shared.cpus)
            .finish_non_exhaustive()
    }
}

impl VmHandle {
    /// What the VM is doing.
    pub fn info(&self) -> VmInfo {
        let hotplug = &self.shared.hotplug;
        let vcpu = |(state, number): (VcpuState, u8)| VcpuInfo {
            id: number.into(),
            state,
            present: hotplug.is_present(number),
            removal_requested: hotplug.removal_requested(number),
        };
        let end = self.shared.ending.get();
        let until = end.as_ref().map_or_else(Instant::now, |end| end.at);
        VmInfo {
            vcpus: self
                .shared
                .cpus
                .states()
                .into_iter()
                .zip(0..)
                .map(vcpu)
                .collect(),
            accel: self.shared.accel,
            pmu: self.shared.pmu.as_ref().map(|pmu| pmu.model.clone()),
            uptime: until.saturating_duration_since(*self.shared.started()),
            ended: end.map(|end| end.exit),
        }
    }

    /// Makes every vCPU stand still outside the guest. Its counters stand still with it.
    ///
    /// # Errors
    ///
    /// [`VmError::Ended`] if there is nothing left to pause, [`VmError::Stuck`] if a vCPU does
    /// not obey.
    pub fn pause(&self) -> Result<(), VmError> {
        self.ask(Goal::Pause)
    }

    /// Lets every vCPU run again.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub fn resume(&self) -> Result<(), VmError> {
        self.ask(Goal::Run)
    }

    /// Adds vCPU `id`, or the lowest that is not there, as after power-up; gives which it was. The
    /// guest is told of it by the hotplug controller, and starts it.
    ///
    /// # Errors
    ///
    /// [`HotplugError`] says why not; the VM goes on as before. One that takes too long to come up
    /// ([`VmError::Stuck`]) comes all the same, and the guest is told of it then.
    pub fn add_vcpu(&self, id: Option<u32>) -> Result<u32, HotplugError> {
        hotplug::add(&self.shared, id, self.obey_limit)
    }

    /// Asks the guest to give vCPU `id` back, and waits until it has done so, for `limit` at most. A
    /// vCPU is never taken by force: a guest that answers later still gets rid of it, and one that
    /// never answers keeps it.
    ///
    /// # Errors
    ///
    /// [`HotplugError::NotHonoured`] and [`HotplugError::Refused`] if the guest keeps it, others if
    /// it could not be asked.
    pub fn remove_vcpu(&self, id: u32, limit: Duration) -> Result<(), HotplugError> {
        hotplug::remove(&self.shared, id, limit)
    }

    /// How many vCPUs there can be.
    pub fn max_vcpus(&self) -> u32 {
        hotplug::max(&self.shared)
    }

    /// What a vCPU is doing; one that cannot be is absent.
    pub fn state(&self, vcpu: u32) -> VcpuState {
        self.shared.cpus.state(vcpu as usize)
    }

    /// Waits until `there` is true of a vCPU's state, for `limit` at most; whether it was.
    pub fn wait_state(
        &self,
        vcpu: u32,
        limit: Duration,
        there: impl Fn(VcpuState) -> bool,
    ) -> bool {
        self.shared.cpus.wait_state(vcpu as usize, limit, there).1
    }

    /// Waits until the run has ended, for `limit` at most; whether it has.
    pub fn wait_ended(&self, limit: Duration) -> bool {
        self.shared.ending.wait(limit)
    }

    /// Whether the run has ended. Its threads may still be at it.
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended()
    }

    /// Ends the run with [`ExitReason::Stopped`], unless it has ended already. Does not wait.
    pub fn stop(&self) {
        self.end(Exit::new(ExitReason::Stopped));
    }

    /// Ends the run as `exit` says, unless it has ended already. Does not wait.
    pub fn end(&self, exit: Exit) {
        self.shared.end(exit);
    }

    /// Makes every vCPU leave the guest once; it goes back by itself.
    pub fn kick_all(&self) {
        self.shared.cpus.kick_all();
    }

    /// The perf core that counts on the vCPUs: by it the host opens events of its own. None if the
    /// guest has no PMU.
    pub fn perf(&self) -> Option<&PerfCore<Tracer>> {
        self.shared.machine.perf().map(AsRef::as_ref)
    }

    fn ask(&self, goal: Goal) -> Result<(), VmError> {
        self.shared.cpus.ask_all(goal);
        self.shared.cpus.wait_all(goal, self.obey_limit)?;
        if self.has_ended() {
            Err(VmError::Ended)
        } else {
            Ok(())
        }
    }
}
