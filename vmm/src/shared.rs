// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What all threads of a VM share.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use devices::{CpuHotplugHandle, ExitLatch, PioBus};
use vcpu_life::{Cpus, Goal};
use vmm_sys_util::eventfd::EventFd;

use crate::console::Console;
use crate::ending::Ending;
use crate::hotplug::Removals;
use crate::report::{Exit, PmuSummary, VcpuReport};
use crate::vcpu::{self, Machine, NewVcpu, VcpuError};

type Threads = BTreeMap<u32, JoinHandle<VcpuReport>>;

/// What all threads of a VM share.
pub(crate) struct Shared {
    pub(crate) cpus: Cpus,
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) hotplug: CpuHotplugHandle,
    pub(crate) removals: Arc<Removals>,
    pub(crate) ports: PioBus,
    pub(crate) exit: ExitLatch,
    pub(crate) console: Console,
    pub(crate) ending: Ending,
    /// Raised when the run ends and when the console is drained.
    pub(crate) progress: EventFd,
    /// The vCPUs' threads. Held to start one or to take one out, never to wait for one.
    pub(crate) threads: Mutex<Threads>,
    /// What runs the vCPUs.
    pub(crate) accel: &'static str,
    pub(crate) pmu: Option<PmuSummary>,
    /// When the vCPUs were let go.
    pub(crate) started: Mutex<Instant>,
}

impl Shared {
    /// Ends the run, unless it has ended already.
    pub(crate) fn end(&self, exit: Exit) {
        self.ending.set(exit);
        self.cpus.ask_all(Goal::Stop);
        self.signal_progress();
    }

    /// Whether the run has ended. Its threads may still be at it.
    pub(crate) fn has_ended(&self) -> bool {
        self.ending.get().is_some()
    }

    pub(crate) fn signal_progress(&self) {
        // It fails only if the counter is about to overflow, and then the event is up already.
        let _ = self.progress.write(1);
    }

    pub(crate) fn started(&self) -> MutexGuard<'_, Instant> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a vCPU its thread.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        vcpu: u32,
        new: Box<dyn NewVcpu>,
        told: Option<Sender<VcpuError>>,
    ) -> io::Result<()> {
        let shared = Arc::clone(self);
        let body = move || vcpu::thread_main(&shared, vcpu, new, told);
        let builder = thread::Builder::new().name(format!("vcpu{vcpu}"));
        // Under the lock: whoever takes the threads of finished vCPUs out finds this one there.
        let mut threads = self.threads();
        let thread = builder.spawn(body)?;
        // One that could not be tied to its thread may have left one behind, which is done.
        threads.insert(vcpu, thread);
        Ok(())
    }
}
