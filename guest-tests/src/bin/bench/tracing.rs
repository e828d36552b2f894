// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a trace costs a guest that exits all the time.

use std::fs::{self, File};
use std::process;
use std::{env, io};

use anyhow::{Context, Result, bail};
use vmm::{RunningVm, VmBuilder};

use crate::kernels::{self, DONE, START, TURNS};
use crate::row::{Row, interleaved};
use crate::vm::{self, Gate, Mark};

/// The guest may take as many times as long while it is traced.
const TRACED_LIMIT: f64 = 1.03;

/// A VM that waits to be let go.
struct Machine {
    // Dropped first, or its reader would never come out of the gate.
    gate: Gate,
    done: Mark,
    running: RunningVm,
}

impl Machine {
    fn start(builder: VmBuilder) -> Result<Self> {
        let (gate, builder) = Gate::at(START, builder);
        let (done, builder) = Mark::at(DONE, builder);
        Ok(Self {
            gate,
            done,
            running: vm::start(builder)?,
        })
    }

    /// ns an exit.
    fn time(&self) -> Result<f64> {
        let start = self.gate.open()?;
        let end = self.done.next("The guest does not get done")?;
        Ok(vm::nanos(start, end) / f64::from(TURNS))
    }
}

/// With a trace into a file, and without.
pub(crate) fn row(pairs: u32) -> Result<Row> {
    let traced = vm::builder(kernels::exits()).trace(Box::new(nameless_file()?));
    let traced = Machine::start(traced)?;
    let plain = Machine::start(vm::builder(kernels::exits()))?;
    let samples = interleaved(pairs, || traced.time(), || plain.time())?;

    let Machine { gate, running, .. } = traced;
    drop(gate);
    let trace = running.stop()?.trace.context("There is no trace")?;
    let least = u64::from(TURNS) * u64::from(pairs);
    eprintln!(
        "bench: {} records, {} dropped",
        trace.records, trace.dropped
    );
    if trace.error.is_some() || trace.records < least {
        bail!("The trace is not whole: {trace:?}");
    }
    let peer = "the same guest without a trace";
    let row = Row::new("trace-on", "guest / guest", peer, &samples);
    Ok(row.ratio_at_most(TRACED_LIMIT))
}

/// A file that is gone with its last descriptor.
fn nameless_file() -> io::Result<File> {
    let path = env::temp_dir().join(format!("bench-{}.trace", process::id()));
    let file = File::create(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}
