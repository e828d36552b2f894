// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A machine that runs: watched, held, ended, and cleaned up after in every case.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vcpu_life::{Goal, VcpuState};

use crate::handle::VmHandle;
use crate::report::{Exit, ExitReason, RunReport, VcpuReport};
use crate::shared::Shared;
use crate::trace::Tracing;
use crate::vcpu::{NewVcpu, chain};
use crate::vm::{Vm, VmError};

/// How long serial output may take to get out once nobody wants to wait for it.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// A machine whose vCPUs have threads, until its run is ended and the threads are joined.
///
/// Dropped, it stops as [`stop`](Self::stop) does.
pub struct RunningVm {
    pub(crate) shared: Arc<Shared>,
    console: Option<JoinHandle<()>>,
    reports: Vec<VcpuReport>,
    pub(crate) obey_limit: Duration,
    tracing: Option<Tracing>,
}

impl fmt::Debug for RunningVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningVm")
            .field("vcpus", &self.shared.cpus)
            .field("ended", &self.shared.ending)
            .finish_non_exhaustive()
    }
}

impl RunningVm {
    /// Starts the threads of `vm` and lets its vCPUs go together.
    pub(crate) fn start(vm: Vm) -> Result<Self, VmError> {
        let mut running = Self {
            shared: vm.shared,
            console: None,
            reports: Vec::new(),
            obey_limit: vm.obey_limit,
            tracing: vm.tracing,
        };
        // An error from here on drops `running`, which ends and joins what was started.
        running.start_console(vm.serial)?;
        running.start_vcpus(vm.vcpus)?;
        let cpus = &running.shared.cpus;
        cpus.wait_all(Goal::Pause, running.obey_limit)?;
        *running.shared.started() = Instant::now();
        cpus.ask_all(Goal::Run);
        // Nobody is to take a VM for paused that has just been started.
        cpus.wait_all(Goal::Run, running.obey_limit)?;
        Ok(running)
    }

    /// What can be asked of the VM from any thread.
    pub fn handle(&self) -> VmHandle {
        VmHandle {
            shared: Arc::clone(&self.shared),
            obey_limit: self.obey_limit,
        }
    }

    /// As [`VmHandle::pause`].
    ///
    /// # Errors
    ///
    /// [`VmError::Ended`] if there is nothing left to pause, [`VmError::Stuck`] if a vCPU does
    /// not obey.
    pub fn pause(&self) -> Result<(), VmError> {
        self.handle().pause()
    }

    /// As [`VmHandle::resume`].
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub fn resume(&self) -> Result<(), VmError> {
        self.handle().resume()
    }

    /// Makes every vCPU leave the guest once; it goes back by itself.
    pub fn kick_all(&self) {
        self.shared.cpus.kick_all();
    }

    /// What each vCPU that there can be is doing, in the order of their ids.
    pub fn states(&self) -> Vec<VcpuState> {
        self.shared.cpus.states()
    }

    /// Whether the run has ended. Its threads may still be at it.
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended()
    }

    /// Waits until the guest ends the run, then ends as [`finish`](Self::finish) does. After
    /// `limit` the run ends with [`ExitReason::Timeout`].
    ///
    /// Serial output has until `limit` to get out, and a second in any case.
    ///
    /// # Errors
    ///
    /// [`VmError::Stuck`] if a vCPU does not stop.
    pub fn wait(mut self, limit: Option<Duration>) -> Result<RunReport, VmError> {
        let limit = limit.unwrap_or(Duration::MAX);
        let start = Instant::now();
        if !self.shared.ending.wait(limit) {
            self.shared.end(Exit::new(ExitReason::Timeout));
        }
        self.settle()?;
        self.report(limit.saturating_sub(start.elapsed()).max(DRAIN_GRACE))
    }

    /// Ends the run with [`ExitReason::Stopped`], unless it has ended already.
    ///
    /// # Errors
    ///
    /// [`VmError::Stuck`] if a vCPU does not stop.
    pub fn stop(self) -> Result<RunReport, VmError> {
        self.finish(Exit::new(ExitReason::Stopped))
    }

    /// Ends the run as `exit` says, unless it has ended already; joins every thread. Serial
    /// output has a second to get out.
    ///
    /// # Errors
    ///
    /// [`VmError::Stuck`] if a vCPU does not stop. Its thread is left behind: nothing can end it.
    pub fn finish(mut self, exit: Exit) -> Result<RunReport, VmError> {
        self.shared.end(exit);
        self.settle()?;
        self.report(DRAIN_GRACE)
    }

    /// For an event loop: readable whenever it is worth while to call
    /// [`poll_end`](Self::poll_end).
    pub fn progress_fd(&self) -> RawFd {
        self.shared.progress.as_raw_fd()
    }

    /// Whether the run has ended and its serial output is out, so that
    /// [`finish`](Self::finish) will not wait. Waits only for vCPUs to stop.
    ///
    /// # Errors
    ///
    /// [`VmError::Stuck`] if a vCPU does not stop.
    pub fn poll_end(&mut self) -> Result<bool, VmError> {
        // Empty already: somebody else's event, or an old one.
        let _ = self.shared.progress.read();
        if !self.has_ended() {
            return Ok(false);
        }
        self.settle()?;
        Ok(self.shared.console.is_drained())
    }

    fn start_vcpus(&self, vcpus: Vec<Box<dyn NewVcpu>>) -> Result<(), VmError> {
        for (vcpu, id) in vcpus.into_iter().zip(0..) {
            // Nobody else has this VM yet: nobody can have added or ended anything.
            let _ = self.shared.cpus.plug(id as usize);
            self.shared.spawn(id, vcpu, None).map_err(|source| {
                self.shared.cpus.not_made(id as usize);
                VmError::Host {
                    what: "a vCPU thread",
                    source,
                }
            })?;
        }
        Ok(())
    }

    fn start_console(&mut self, sink: Box<dyn Write + Send>) -> Result<(), VmError> {
        let shared = Arc::clone(&self.shared);
        let body = move || {
            let wake = || shared.cpus.wake_all();
            let failed = |error: io::Error| {
                let message = format!("Cannot write the guest's serial output: {}", chain(&error));
                shared.end(Exit::new(ExitReason::HostIo).with_message(message));
            };
            shared.console.drain(sink, wake, failed);
            shared.signal_progress();
        };
        let thread = thread::Builder::new()
            .name("console".into())
            .spawn(body)
            .map_err(|source| VmError::Host {
                what: "a console thread",
                source,
            })?;
        self.console = Some(thread);
        Ok(())
    }

    /// Once the run has ended: waits for the vCPUs, joins their threads, closes the console.
    fn settle(&mut self) -> Result<(), VmError> {
        let stopped = self.shared.cpus.wait_all(Goal::Stop, self.obey_limit);
        for (id, thread) in self.finished_threads() {
            let report = thread.join();
            self.reports.push(report.unwrap_or_else(|_| VcpuReport {
                id,
                ..Default::default()
            }));
        }
        self.shared.console.close();
        if stopped.is_err() {
            // Whoever is told so now does not want to wait again when this is dropped.
            self.obey_limit = Duration::ZERO;
        }
        Ok(stopped?)
    }

    /// Takes the threads that will not be waited for in vain: one that is stuck cannot be ended.
    fn finished_threads(&self) -> Vec<(u32, JoinHandle<VcpuReport>)> {
        let mut threads = self.shared.threads();
        let finished = |id: &u32| self.shared.cpus.state(*id as usize) == VcpuState::Finished;
        let ids: Vec<u32> = threads.keys().copied().filter(finished).collect();
        ids.into_iter()
            .filter_map(|id| threads.remove_entry(&id))
            .collect()
    }

    fn report(mut self, drain_limit: Duration) -> Result<RunReport, VmError> {
        let lost = self.end_console(drain_limit);
        let Some(end) = self.shared.ending.get() else {
            return Err(VmError::Ended);
        };
        let mut exit = end.exit;
        if lost > 0
            && matches!(
                exit.reason,
                ExitReason::GuestExit | ExitReason::GuestShutdown
            )
        {
            let message = format!(
                "{lost} bytes of the guest's serial output could not be written: nobody reads it"
            );
            exit = Exit {
                code: exit.code,
                ..Exit::new(ExitReason::HostIo).with_message(message)
            };
        }
        let wall_time = end.at.saturating_duration_since(*self.shared.started());
        self.reports.sort_by_key(|vcpu| vcpu.id);
        Ok(RunReport {
            accel: self.shared.accel,
            pmu: self.shared.pmu.clone(),
            wall_time_ns: u64::try_from(wall_time.as_nanos()).unwrap_or(u64::MAX),
            vcpus: std::mem::take(&mut self.reports),
            trace: self
                .tracing
                .take()
                .map(|tracing| tracing.finish(DRAIN_GRACE)),
            exit,
        })
    }

    /// Gives output up to `limit` to get out; joins the thread if it is; gives what was lost.
    fn end_console(&mut self, limit: Duration) -> usize {
        let Some(thread) = self.console.take() else {
            return 0;
        };
        if !self.shared.console.wait_drained(limit) {
            return self.shared.console.abandon();
        }
        // It caught the sink's panics and has none of its own.
        let _ = thread.join();
        0
    }
}

impl Drop for RunningVm {
    fn drop(&mut self) {
        self.shared.end(Exit::new(ExitReason::Stopped));
        // Nobody is left to be told about a vCPU that is stuck.
        let _ = self.settle();
        self.end_console(DRAIN_GRACE);
    }
}
