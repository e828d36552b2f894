// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vCPU interface, which an accelerator implements, and the thread around a vCPU.
//!
//! Nothing above this interface knows what runs the guest's instructions.

use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use devices::PioBus;
use vcpu_call::Park;
use vcpu_life::{Kick, Next};
use vpmu_kvm::PerfCore;

use crate::hotplug;
use crate::report::{Exit, ExitReason, VcpuReport};
use crate::shared::Shared;
use crate::trace::Tracer;

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

/// What vCPUs are made by, before the run and during it.
pub(crate) trait Machine: Send + Sync {
    /// Makes vCPU `id`, which was not made before.
    fn make(&self, id: u32) -> Result<Box<dyn NewVcpu>, VcpuError>;

    /// The perf core that counts on the vCPUs, if they have a PMU.
    fn perf(&self) -> Option<&Arc<PerfCore<Tracer>>>;
}

/// A vCPU before it has a thread.
pub(crate) trait NewVcpu: Send {
    /// Ties the vCPU to the calling thread.
    fn bind(self: Box<Self>) -> Result<Box<dyn Vcpu>, VcpuError>;
}

/// A vCPU on its own thread. Whoever has nothing to run on it parks it, and it serves meanwhile what
/// other threads want of its PMU.
pub(crate) trait Vcpu: Park {
    /// What others make it leave the guest with.
    fn kicker(&self) -> Box<dyn Kick>;

    /// Makes it as after power-up, with its PMU online.
    fn plug(&mut self) -> Result<(), VcpuError>;

    /// Takes its PMU offline: its events end, and calls to it are refused.
    fn unplug(&mut self) -> Result<(), VcpuError>;

    /// Forgets earlier kicks; later ones make the next [`run`](Self::run) return.
    fn forget_kicks(&mut self);

    /// Runs the guest until its next exit and serves that.
    fn run(&mut self, ports: &PioBus) -> Result<Step, VcpuError>;

    /// What it did so far.
    fn report(&mut self) -> VcpuReport;
}

/// Says that the vCPU is finished however its thread ends.
struct FinishOnDrop<'a> {
    shared: &'a Shared,
    id: usize,
    vcpu: u32,
    /// It could not be tied to the thread and is as absent as before.
    unmade: bool,
}

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let exit = Exit::new(ExitReason::VcpuFailure).on_vcpu(self.vcpu);
            self.shared
                .end(exit.with_message("Its thread panicked; please report this"));
        }
        if self.unmade {
            self.shared.cpus.not_made(self.id);
        } else {
            self.shared.cpus.finish(self.id);
        }
    }
}

/// The body of a vCPU's thread. For a vCPU that is added to a run, `told` hears why it cannot be; one
/// of the start ends the run then.
pub(crate) fn thread_main(
    shared: &Shared,
    vcpu: u32,
    new: Box<dyn NewVcpu>,
    told: Option<Sender<VcpuError>>,
) -> VcpuReport {
    // vCPU ids fit any index.
    let id = vcpu as usize;
    let mut finish = FinishOnDrop {
        shared,
        id,
        vcpu,
        unmade: false,
    };
    let fail = |error: VcpuError| {
        let exit = Exit::new(ExitReason::VcpuFailure).on_vcpu(vcpu);
        shared.end(exit.with_message(chain(&*error)));
    };
    let mut cpu = match new.bind() {
        Ok(cpu) => cpu,
        Err(error) => {
            match told {
                None => fail(error),
                Some(told) => {
                    finish.unmade = true;
                    // Whoever asked may have given up.
                    let _ = told.send(error);
                }
            }
            return VcpuReport {
                id: vcpu,
                ..VcpuReport::default()
            };
        }
    };
    drop(told);
    shared.cpus.bind(id, cpu.kicker(), cpu.waker());
    loop {
        // In this order, or a request between the two would be missed: C2 and C3 of `vcpu_life`.
        cpu.forget_kicks();
        shared.cpus.expect_kicks(id);
        let stepped = match shared.cpus.advance(id, &mut *cpu) {
            Next::Enter => run(shared, vcpu, &mut *cpu),
            Next::Plug => cpu.plug().inspect(|()| {
                hotplug::tell_guest(shared, vcpu);
                shared.cpus.plugged(id);
            }),
            Next::Unplug => cpu.unplug().inspect(|()| shared.cpus.unplugged(id)),
            Next::Leave | Next::Wait => break,
        };
        if let Err(error) = stepped {
            fail(error);
        }
    }
    cpu.report()
}

/// Runs the guest until its next exit and does what that asks for.
fn run(shared: &Shared, vcpu: u32, cpu: &mut dyn Vcpu) -> Result<(), VcpuError> {
    match cpu.run(&shared.ports)? {
        Step::Again => {}
        Step::PortWrite => {
            if let Some(code) = shared.exit.code() {
                shared.end(Exit::guest(code));
            }
            let busy = || shared.console.is_full();
            shared.cpus.wait_for(vcpu as usize, busy, cpu);
        }
        Step::End(exit) => shared.end(exit.on_vcpu(vcpu)),
    }
    Ok(())
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
