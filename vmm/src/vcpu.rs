// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vCPU interface, which an accelerator implements, and the thread around a vCPU.
//!
//! Nothing above this interface knows what runs the guest's instructions.

use std::error::Error;
use std::sync::Arc;
use std::thread;

use devices::{ExitLatch, PioBus};
use vmm_sys_util::eventfd::EventFd;

use crate::console::Console;
use crate::cpus::{Cpus, Kick};
use crate::report::{Exit, ExitReason, VcpuReport};

/// An accelerator's own error, on its way to the user.
pub(crate) type VcpuError = Box<dyn Error + Send + Sync>;

/// What the run loop does after a step of a vCPU.
#[derive(Debug)]
pub(crate) enum Step {
    /// Run it again.
    Again,
    /// The guest wrote to a port, which may have filled the console or ended the run.
    PortWrite,
    /// The run ends.
    End(Exit),
}

/// A vCPU before it has a thread.
pub(crate) trait NewVcpu: Send {
    /// Ties the vCPU to the calling thread.
    fn bind(self: Box<Self>) -> Result<Box<dyn Vcpu>, VcpuError>;
}

/// A vCPU on its own thread.
pub(crate) trait Vcpu {
    /// What others make it leave the guest with.
    fn kicker(&self) -> Box<dyn Kick>;

    /// Does what other threads want of its PMU, while it stays out of the guest. Who wants something
    /// from here on wakes it ([`Cpus::wake`]).
    fn tend(&mut self);

    /// Forgets earlier kicks; later ones make the next [`run`](Self::run) return.
    fn forget_kicks(&mut self);

    /// Runs the guest until its next exit and serves that.
    fn run(&mut self, ports: &PioBus) -> Result<Step, VcpuError>;

    /// What it did so far.
    fn report(&mut self) -> VcpuReport;
}

/// What all threads of a VM share.
pub(crate) struct Shared {
    pub(crate) cpus: Arc<Cpus>,
    pub(crate) ports: PioBus,
    pub(crate) exit: ExitLatch,
    pub(crate) console: Console,
    /// Raised when the run ends and when the console is drained.
    pub(crate) progress: EventFd,
}

impl Shared {
    /// Ends the run, unless it has ended already.
    pub(crate) fn end(&self, exit: Exit) {
        self.cpus.end(exit);
        self.signal_progress();
    }

    pub(crate) fn signal_progress(&self) {
        // It fails only if the counter is about to overflow, and then the event is up already.
        let _ = self.progress.write(1);
    }
}

/// Says that the vCPU is finished however its thread ends.
struct FinishOnDrop<'a> {
    shared: &'a Shared,
    id: usize,
    vcpu: u32,
}

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let exit = Exit::new(ExitReason::VcpuFailure).on_vcpu(self.vcpu);
            self.shared
                .end(exit.with_message("Its thread panicked; please report this"));
        }
        self.shared.cpus.finish(self.id);
    }
}

/// The body of a vCPU's thread.
pub(crate) fn thread_main(shared: &Arc<Shared>, vcpu: u32, new: Box<dyn NewVcpu>) -> VcpuReport {
    // vCPU ids fit any index.
    let id = vcpu as usize;
    let _finish = FinishOnDrop { shared, id, vcpu };
    let fail = |error: VcpuError| {
        let exit = Exit::new(ExitReason::VcpuFailure).on_vcpu(vcpu);
        shared.end(exit.with_message(chain(&*error)));
    };
    let mut cpu = match new.bind() {
        Ok(cpu) => cpu,
        Err(error) => {
            fail(error);
            return VcpuReport {
                id: vcpu,
                ..VcpuReport::default()
            };
        }
    };
    shared.cpus.bind(id, cpu.kicker());
    loop {
        // In this order, or a request between the two would be missed: see `cpus`.
        cpu.forget_kicks();
        shared.cpus.expect_kicks(id);
        if !shared.cpus.may_enter(id, || cpu.tend()) {
            break;
        }
        match cpu.run(&shared.ports) {
            Ok(Step::Again) => {}
            Ok(Step::PortWrite) => {
                if let Some(code) = shared.exit.code() {
                    shared.end(Exit::guest(code));
                }
                let busy = || shared.console.is_full();
                shared.cpus.wait_for(id, busy, || cpu.tend());
            }
            Ok(Step::End(exit)) => shared.end(exit.on_vcpu(vcpu)),
            Err(error) => fail(error),
        }
    }
    cpu.report()
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // A transparent error and its source say the same.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
