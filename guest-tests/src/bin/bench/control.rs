// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Requests through the control socket to a VM whose vCPUs are busy, PMI after PMI.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use vmm::RunningVm;
use vmm::control::{ControlServer, VmHost};

use crate::kernels;
use crate::kick::Kicks;
use crate::row::{Row, interleaved};
use crate::vm::{self, LIMIT};

/// A request may take as long as so many kicks.
const REQUEST_LIMIT: f64 = 100.0;
/// Requests that one figure is the mean of.
const REQUESTS: u32 = 5;

/// A VM with two busy vCPUs, and a client of its control socket.
struct Machine {
    running: RunningVm,
    client: Client,
    _server: ControlServer,
}

impl Machine {
    fn start() -> Result<Self> {
        let running = vm::start(vm::builder(kernels::pmis()).vcpus(2))?;
        let socket = env::temp_dir().join(format!("bench-{}.sock", process::id()));
        let host = Arc::new(VmHost::new(running.handle()));
        let server = ControlServer::start(&socket, host)?;
        let stream = UnixStream::connect(&socket).context("Connecting to the control socket")?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self {
            running,
            client: Client(BufReader::new(stream)),
            _server: server,
        })
    }

    /// ns that a request takes while the vCPUs run. They do so only meanwhile.
    fn time(&mut self, request: &Value) -> Result<f64> {
        self.running.resume()?;
        let start = Instant::now();
        for _ in 0..REQUESTS {
            self.client.ask(request)?;
        }
        let took = vm::nanos(start, Instant::now());
        self.running.pause()?;
        Ok(took / f64::from(REQUESTS))
    }

    /// Whether both vCPUs were busy with PMIs.
    fn stop(self) -> Result<()> {
        let report = self.running.stop()?;
        for vcpu in &report.vcpus {
            eprintln!("bench: vCPU {} took {} PMIs", vcpu.id, vcpu.pmis);
            if vcpu.pmis == 0 {
                bail!("vCPU {} took no PMIs", vcpu.id);
            }
        }
        Ok(())
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    /// Sends a request and waits for its answer; what is in it.
    fn ask(&mut self, request: &Value) -> Result<Value> {
        let mut line = request.to_string();
        line.push('\n');
        self.0.get_mut().write_all(line.as_bytes())?;
        line.clear();
        self.0.read_line(&mut line)?;
        let mut answer: Value = serde_json::from_str(&line)?;
        match answer.get_mut("ok") {
            Some(ok) => Ok(ok.take()),
            None => bail!("{request} was answered {line}"),
        }
    }
}

/// Reading an event on a vCPU that runs.
pub(crate) fn read(pairs: u32) -> Result<Row> {
    let mut machine = Machine::start()?;
    let open = json!({"do": "events-open", "vcpu": 1, "event": "cycles"});
    let opened = machine.client.ask(&open)?;
    let read = json!({"do": "events-read", "event": opened["event"]});
    row("control-request", machine, &read, pairs)
}

/// Asking what the VM does.
pub(crate) fn info(pairs: u32) -> Result<Row> {
    let machine = Machine::start()?;
    row("control-info", machine, &json!({"do": "info"}), pairs)
}

fn row(name: &'static str, mut machine: Machine, request: &Value, pairs: u32) -> Result<Row> {
    machine.running.pause()?;
    let kicks = Kicks::start()?;
    let samples = interleaved(pairs, || machine.time(request), || kicks.time())?;
    machine.stop()?;
    let row = Row::new(name, "request / kick", "a kick", &samples);
    Ok(row.ratio_at_most(REQUEST_LIMIT))
}
