// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A machine that runs: watched, held, ended, and cleaned up after in every case.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::life::{Goal, VcpuState};
use crate::report::{Exit, ExitReason, PmuSummary, RunReport, VcpuReport};
use crate::vcpu::{self, NewVcpu, Shared, chain};
use crate::vm::{Vm, VmError};

/// How long serial output may take to get out once nobody wants to wait for it.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// A machine whose vCPUs have threads, until its run is ended and the threads are joined.
///
/// Dropped, it stops as [`stop`](Self::stop) does.
pub struct RunningVm {
    pub(crate) shared: Arc<Shared>,
    threads: Vec<Option<JoinHandle<VcpuReport>>>,
    console: Option<JoinHandle<()>>,
    reports: Vec<VcpuReport>,
    started: Instant,
    pub(crate) obey_limit: Duration,
    accel: &'static str,
    pmu: Option<PmuSummary>,
}

impl fmt::Debug for RunningVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningVm")
            .field("vcpus", &self.shared.cpus.states())
            .field("ended", &self.shared.cpus.ended())
            .finish_non_exhaustive()
    }
}

impl RunningVm {
    /// Starts the threads of `vm` and lets its vCPUs go together.
    pub(crate) fn start(vm: Vm) -> Result<Self, VmError> {
        let mut running = Self {
            shared: vm.shared,
            threads: Vec::with_capacity(vm.vcpus.len()),
            console: None,
            reports: Vec::new(),
            started: Instant::now(),
            obey_limit: vm.obey_limit,
            accel: vm.accel,
            pmu: vm.pmu,
        };
        // An error below drops `running`, which ends and joins what was started.
        if let Err(error) = running.start_threads(vm.vcpus, vm.serial) {
            for id in running.threads.len()..running.shared.cpus.len() {
                running.shared.cpus.finish(id);
            }
            return Err(error);
        }
        running
            .shared
            .cpus
            .wait_all(Goal::Pause, running.obey_limit)?;
        running.started = Instant::now();
        running.shared.cpus.ask_all(Goal::Run);
        Ok(running)
    }

    /// Makes every vCPU stand still outside the guest.
    ///
    /// # Errors
    ///
    /// [`VmError::Ended`] if there is nothing left to pause, [`VmError::Stuck`] if a vCPU does
    /// not obey.
    pub fn pause(&self) -> Result<(), VmError> {
        self.shared.cpus.ask_all(Goal::Pause);
        self.shared.cpus.wait_all(Goal::Pause, self.obey_limit)?;
        self.not_ended()
    }

    /// Lets every vCPU run again.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub fn resume(&self) -> Result<(), VmError> {
        self.shared.cpus.ask_all(Goal::Run);
        self.shared.cpus.wait_all(Goal::Run, self.obey_limit)?;
        self.not_ended()
    }

    fn not_ended(&self) -> Result<(), VmError> {
        if self.has_ended() {
            Err(VmError::Ended)
        } else {
            Ok(())
        }
    }

    /// Makes every vCPU leave the guest once; it goes back by itself.
    pub fn kick_all(&self) {
        self.shared.cpus.kick_all();
    }

    /// What each vCPU is doing, in the order of their ids.
    pub fn states(&self) -> Vec<VcpuState> {
        self.shared.cpus.states()
    }

    /// Whether the run has ended. Its threads may still be at it.
    pub fn has_ended(&self) -> bool {
        self.shared.cpus.ended().is_some()
    }

    /// A handle by which another thread can end the run.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            shared: Arc::clone(&self.shared),
        }
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
        if !self.shared.cpus.wait_ended(limit) {
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

    fn start_threads(
        &mut self,
        vcpus: Vec<Box<dyn NewVcpu>>,
        serial: Box<dyn Write + Send>,
    ) -> Result<(), VmError> {
        self.start_console(serial)?;
        for (vcpu, id) in vcpus.into_iter().zip(0..) {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new()
                .name(format!("vcpu{id}"))
                .spawn(move || vcpu::thread_main(&shared, id, vcpu))
                .map_err(|source| VmError::Host {
                    what: "a vCPU thread",
                    source,
                })?;
            self.threads.push(Some(thread));
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
        let finished = self.shared.cpus.states();
        for ((thread, state), id) in self.threads.iter_mut().zip(finished).zip(0..) {
            // A thread that is stuck cannot be ended; waiting for it would hang.
            if state == VcpuState::Finished
                && let Some(thread) = thread.take()
            {
                let report = thread.join();
                let report = report.unwrap_or_else(|_| VcpuReport {
                    id,
                    ..Default::default()
                });
                self.reports.push(report);
            }
        }
        self.shared.console.close();
        if stopped.is_err() {
            // Whoever is told so now does not want to wait again when this is dropped.
            self.obey_limit = Duration::ZERO;
        }
        Ok(stopped?)
    }

    fn report(mut self, drain_limit: Duration) -> Result<RunReport, VmError> {
        let lost = self.end_console(drain_limit);
        let Some(end) = self.shared.cpus.ended() else {
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
        Ok(RunReport {
            accel: self.accel,
            pmu: self.pmu.take(),
            wall_time_ns: u64::try_from((end.at - self.started).as_nanos()).unwrap_or(u64::MAX),
            vcpus: std::mem::take(&mut self.reports),
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

/// Ends a run from another thread than the one that waits for it.
#[derive(Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper").finish_non_exhaustive()
    }
}

impl Stopper {
    /// Ends the run as `exit` says, unless it has ended already. Does not wait.
    pub fn end(&self, exit: Exit) {
        self.shared.end(exit);
    }
}
