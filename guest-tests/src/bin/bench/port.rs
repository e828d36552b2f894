// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf port: switches that nobody wants to know of, events installed on a task that runs, and traps
//! into one.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use devices::{BusDevice, PortRange};
use kvm_ioctls::Kvm;
use vmm::{RunningVm, VmHandle};
use vpmu::context::{Attr, Open, State, Target, Task};
use vpmu::{Event, EventConfig};

use crate::kernels::{self, CYCLES, DONE, FAILED, READY, START, SWITCHES, TRAPS};
use crate::kick::Kicks;
use crate::raw::Runner;
use crate::row::{Row, interleaved};
use crate::vm::{self, Gate, LIMIT, Mark};

/// A switch is memory only: of an exit it may take so little.
const SWITCH_LIMIT: f64 = 0.05;
/// An installation may take as long as so many kicks.
const INSTALL_LIMIT: f64 = 4.0;
/// From an overflow to the handler's first instruction it may take as long as so many exits.
const TRAP_LIMIT: f64 = 4.0;

/// A switch while no task has events, beside an exit. That it makes none is counted.
pub(crate) fn switch_off(pairs: u32) -> Result<Row> {
    let exits = Runner::of_exits();
    let builder = vm::builder(kernels::switches());
    let (gate, builder) = Gate::at(START, builder);
    let (done, builder) = Mark::at(DONE, builder);
    let (failed, builder) = Mark::at(FAILED, builder);
    let running = vm::start(builder)?;
    let run = || {
        let start = gate.open()?;
        let end = done.next("The guest does not get done")?;
        Ok(vm::nanos(start, end) / f64::from(SWITCHES))
    };
    let samples = interleaved(pairs, run, || exits.time())?;
    drop(gate);
    ensure!(failed.is_empty(), "A switch was to be announced");
    let report = running.stop()?;
    let at_port = report.vcpus[0].exits.get("perf-port").copied();
    // Its page and its task.
    ensure!(at_port == Some(2), "Exits at the port: {at_port:?}, not 2");
    let row = Row::new("port-switch-off", "guest / exit", "a PIO exit", &samples);
    Ok(row.ratio_at_most(SWITCH_LIMIT))
}

/// A VM whose vCPU 1 runs a task, which nobody was told.
struct Machine {
    /// Keeps it running.
    _running: RunningVm,
    vm: VmHandle,
    task: Task,
}

impl Machine {
    fn start() -> Result<Self> {
        let builder = vm::builder(kernels::task()).vcpus(2);
        let (ready, builder) = Mark::at(READY, builder);
        let running = vm::start(builder)?;
        ready.next("The guest's task does not run")?;
        let vm = running.handle();
        let port = vm.perf().and_then(|core| core.port());
        let port = port.context("There is no perf port")?;
        let known = port.tasks();
        let task = known.first().and_then(|line| port.task(line.id));
        Ok(Self {
            task: task.context("The guest has no task")?,
            vm,
            _running: running,
        })
    }

    /// Opens an event on the task, whose vCPU has to come out of the guest for it; ns.
    fn install(&self) -> Result<f64> {
        let core = self.vm.perf().context("There is no perf core")?;
        let mut me = core.host_thread();
        let attr = Attr::counting(EventConfig::everywhere(Event::PortTick));
        let open = Open::new(attr, Target::Task(&self.task));
        let start = Instant::now();
        let event = core.perf().open(&open, &mut me)?;
        let took = vm::nanos(start, Instant::now());
        let state = core.perf().status(&event)?.state;
        ensure!(matches!(state, State::Active(_)), "The event is {state:?}");
        core.perf().close(&event, &mut me)?;
        Ok(took)
    }
}

/// An event on a task that runs on another vCPU, with all that it takes to find it there, beside kicks.
pub(crate) fn install_running(pairs: u32) -> Result<Row> {
    let kicks = Kicks::start()?;
    let machine = Machine::start()?;
    let samples = interleaved(pairs, || machine.install(), || kicks.time())?;
    let row = Row::new("port-install-running", "request / kick", "a kick", &samples);
    Ok(row.ratio_at_most(INSTALL_LIMIT))
}

/// From a tick at which an event overflows to the first instruction of the guest's trap handler, beside
/// exits of the same guest.
pub(crate) fn trap(pairs: u32) -> Result<Row> {
    let builder = vm::builder(kernels::traps());
    let (gate, builder) = Gate::at(START, builder);
    let (wrote, writes) = channel();
    let Some(port) = PortRange::new(CYCLES, CYCLES + 3) else {
        bail!("The port is no range");
    };
    let builder = builder.device(port, Box::new(Figures(wrote)));
    let _running = vm::start(builder)?;
    let per_ns = tsc_per_ns()?;
    let next = |writes: &Receiver<u32>| -> Result<f64> {
        let cycles = writes.recv_timeout(LIMIT);
        let cycles = cycles.context("The guest's task is not trapped")?;
        Ok(f64::from(cycles) / f64::from(TRAPS) / per_ns)
    };
    let run = || {
        gate.open()?;
        next(&writes)
    };
    let samples = interleaved(pairs, run, || next(&writes))?;
    drop(gate);
    let row = Row::new("port-trap", "guest / exit", "a PIO exit", &samples);
    Ok(row.ratio_at_most(TRAP_LIMIT))
}

/// How far a guest's TSC counts in a nanosecond.
fn tsc_per_ns() -> Result<f64> {
    let vm = Kvm::new().context("/dev/kvm")?.create_vm()?;
    vm.create_irq_chip()?;
    let khz = vm.create_vcpu(0)?.get_tsc_khz()?;
    Ok(f64::from(khz) / 1e6)
}

/// A port that takes numbers of 32 bits.
struct Figures(Sender<u32>);

impl BusDevice for Figures {
    fn read(&mut self, _: u16, _: &mut [u8]) {}

    fn write(&mut self, _: u16, data: &[u8]) {
        if let Ok(bytes) = <[u8; 4]>::try_from(data) {
            // Nobody may wait for it any more.
            let _ = self.0.send(u32::from_le_bytes(bytes));
        }
    }
}
