// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! vCPUs that are added: from the request to their first instruction.
//!
//! The guest does what guests do: it is halted, takes the controller's interrupt through the I/O APIC,
//! finds out what happened, acknowledges it, and starts the vCPU by INIT and start-up IPI. The figure
//! ends when the VMM has the new vCPU's first instruction, an OUT, before it: an exit more.

use std::time::Instant;

use anyhow::{Context, Result};
use vmm::{RunningVm, VmHandle};

use crate::kernels::{self, READY, STARTED};
use crate::raw::Runner;
use crate::row::{Row, interleaved};
use crate::vm::{self, LIMIT, Mark};

const KIND: &str = "request / exit";
const PEER: &str = "a PIO exit";
/// A re-add may take as long as so many exits.
const READD_LIMIT: f64 = 30.0;

/// A VM with a vCPU, room for another, and a guest that takes it and gives it back.
struct Machine {
    /// Keeps it running.
    _running: RunningVm,
    vm: VmHandle,
    started: Mark,
}

impl Machine {
    fn start() -> Result<Self> {
        let builder = vm::builder(kernels::hotplug()).vcpus(1).max_vcpus(2);
        let (ready, builder) = Mark::at(READY, builder);
        let (started, builder) = Mark::at(STARTED, builder);
        let running = vm::start(builder)?;
        ready.next("The guest does not get ready")?;
        Ok(Self {
            vm: running.handle(),
            _running: running,
            started,
        })
    }

    /// Adds vCPU 1; ns until it executes its first instruction.
    fn add(&self) -> Result<f64> {
        let asked = Instant::now();
        self.vm.add_vcpu(Some(1))?;
        let started = self.started.next("The new vCPU does not start")?;
        Ok(vm::nanos(asked, started))
    }

    fn remove(&self) -> Result<()> {
        let removed = self.vm.remove_vcpu(1, LIMIT);
        removed.context("Removing vCPU 1")
    }
}

/// Adding a vCPU that has been there before.
pub(crate) fn readd(pairs: u32) -> Result<Row> {
    let exits = Runner::of_exits();
    let machine = Machine::start()?;
    machine.add()?;
    let add = || {
        machine.remove()?;
        machine.add()
    };
    let samples = interleaved(pairs, add, || exits.time())?;
    let row = Row::new("hotplug-readd", KIND, PEER, &samples);
    Ok(row.ratio_at_most(READD_LIMIT))
}

/// Adding a vCPU that has never been there: once a VM.
pub(crate) fn first_add(pairs: u32) -> Result<Row> {
    let exits = Runner::of_exits();
    let add = || Machine::start()?.add();
    let samples = interleaved(pairs, add, || exits.time())?;
    Ok(Row::new("hotplug-first-add", KIND, PEER, &samples))
}
