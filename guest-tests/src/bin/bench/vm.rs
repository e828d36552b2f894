// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Whole VMs, made with the vmm library: what the rows that boot one have in common.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use devices::{BusDevice, PortRange};
use vmm::{RunningVm, VmBuilder};
use vpmu::PmuModel;

use crate::kernels;

/// No act of these guests takes a hundredth of it.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A small VM with a PMU that runs one of the kernels.
pub(crate) fn builder(kernel: &[u8]) -> VmBuilder {
    VmBuilder::new()
        .memory(4 << 20)
        .pmu(Some(PmuModel::INTEL_V2))
        .kernel_bytes(kernels::file(kernel))
}

/// The same, running.
pub(crate) fn start(builder: VmBuilder) -> Result<RunningVm> {
    Ok(builder.build()?.start()?)
}

/// What took from `start` to `end`, in ns.
pub(crate) fn nanos(start: Instant, end: Instant) -> f64 {
    end.saturating_duration_since(start).as_secs_f64() * 1e9
}

/// A port that notes when the guest writes to it.
pub(crate) struct Mark(Receiver<Instant>);

impl Mark {
    /// One at `port`, and the builder with it.
    pub(crate) fn at(port: u16, builder: VmBuilder) -> (Self, VmBuilder) {
        let (wrote, writes) = channel();
        let builder = builder.device(only(port), Box::new(MarkPort(wrote)));
        (Self(writes), builder)
    }

    /// Whether the guest did not write to it since.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.try_recv().is_err()
    }

    /// When the guest wrote to it next; waits for that.
    pub(crate) fn next(&self, what: &'static str) -> Result<Instant> {
        self.0.recv_timeout(LIMIT).context(what)
    }
}

struct MarkPort(Sender<Instant>);

impl BusDevice for MarkPort {
    fn read(&mut self, _: u16, _: &mut [u8]) {}

    fn write(&mut self, _: u16, _: &[u8]) {
        // Nobody may wait for it any more.
        let _ = self.0.send(Instant::now());
    }
}

/// A port whose reader is held until it is let go.
pub(crate) struct Gate {
    open: Sender<()>,
    opened: Receiver<Instant>,
}

impl Gate {
    /// One at `port`, and the builder with it.
    pub(crate) fn at(port: u16, builder: VmBuilder) -> (Self, VmBuilder) {
        let (open, opens) = channel();
        let (note, opened) = channel();
        let builder = builder.device(only(port), Box::new(GatePort { opens, note }));
        (Self { open, opened }, builder)
    }

    /// Lets the guest go on; from when on it does.
    pub(crate) fn open(&self) -> Result<Instant> {
        self.open.send(()).context("The guest is gone")?;
        self.opened
            .recv_timeout(LIMIT)
            .context("The guest does not come to be let go")
    }
}

struct GatePort {
    opens: Receiver<()>,
    note: Sender<Instant>,
}

impl BusDevice for GatePort {
    /// 1, or 0 once nobody is left to let it go.
    fn read(&mut self, _: u16, data: &mut [u8]) {
        let goes_on = self.opens.recv().is_ok();
        data.fill(u8::from(goes_on));
        if goes_on {
            // As with writes.
            let _ = self.note.send(Instant::now());
        }
    }

    fn write(&mut self, _: u16, _: &[u8]) {}
}

/// A range of one port.
fn only(port: u16) -> PortRange {
    match PortRange::new(port, port) {
        Some(range) => range,
        None => unreachable!("a range of one port has no order"),
    }
}
