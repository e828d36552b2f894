// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Two races of the perf core as a Chrome trace: `cargo run -p vpmu --example perf_trace >
//! trace.json`, then open the file in <https://ui.perfetto.dev>.
//!
//! One thread plays all parties, so that every step is where the race wants it: when the engine
//! calls a vCPU, a script may let other things happen before the call is run there.

#![allow(clippy::disallowed_types, reason = "one thread, and a clock")]

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vcpu_call::{NotRun, Park, VcpuId, Waker};
use vpmu::context::{
    Attr, Caller, ChromeTrace, Cpu, Leaves, Open, Perf, PerfCallRef, PerfConfig, PerfError,
    PerfReply, Target, Task,
};
use vpmu::source::script::ScriptSource;
use vpmu::{EventSelect, Nanos};

type Clock = fn() -> Nanos;
type Script = Box<dyn FnOnce(&mut Stage) -> Result<(), PerfError>>;

/// Every look at it takes a quarter of a microsecond.
fn clock() -> Nanos {
    static NANOS: AtomicU64 = AtomicU64::new(0);
    Nanos(NANOS.fetch_add(250, Ordering::Relaxed))
}

/// The vCPUs, whoever asks them for something, and what happens before its next call arrives.
struct Stage {
    cpus: Vec<Cpu<ScriptSource, Clock, Arc<ChromeTrace>>>,
    here: Option<VcpuId>,
    meanwhile: Option<Script>,
}

impl Stage {
    /// The guest announces that `next` is current on `vcpu` now.
    fn switch(&mut self, vcpu: usize, next: Option<&Task>) -> Result<(), PerfError> {
        let cpu = &mut self.cpus[vcpu];
        let prev = cpu.current().cloned();
        cpu.switch(prev.as_ref(), Leaves::Queued, next.cloned())?;
        Ok(())
    }

    /// The guest runs on `vcpu` and leaves with so many counts; `true` if it has to take a trap
    /// before it goes on.
    fn run(&mut self, vcpu: usize, counts: u64) -> Result<bool, PerfError> {
        let cpu = &mut self.cpus[vcpu];
        cpu.source_mut().count(counts);
        cpu.count(None);
        cpu.irq_work();
        let trap = cpu.return_to_user().is_some();
        if trap {
            cpu.trap_done()?;
        }
        Ok(trap)
    }
}

impl Park for Stage {
    fn waker(&self) -> Waker {
        unreachable!("one thread waits for nobody")
    }

    fn park(&mut self) {
        unreachable!("one thread waits for nobody")
    }
}

impl Caller for Stage {
    fn here(&self) -> Option<VcpuId> {
        self.here
    }

    fn call(&mut self, target: VcpuId, call: PerfCallRef<'_>) -> Result<PerfReply, NotRun> {
        if let Some(script) = self.meanwhile.take() {
            script(self).expect("the script follows the rules");
        }
        Ok(self.cpus[target.index()].run(call))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let trace = Arc::new(ChromeTrace::new(10_000));
    let config = PerfConfig {
        interval: Nanos(0),
        ..PerfConfig::new(2)
    };
    let perf = Perf::with_observer(config, clock as Clock, Arc::clone(&trace));
    let mut stage = Stage {
        cpus: (0..2)
            .map(|vcpu| perf.cpu(VcpuId(vcpu), ScriptSource::new()))
            .collect::<Result<_, _>>()?,
        here: None,
        meanwhile: None,
    };
    for vcpu in [VcpuId(0), VcpuId(1)] {
        perf.online(vcpu, &mut stage)?;
    }

    // R1: a host thread opens the first event of a task that is current on vCPU 0. Before its call
    // arrives there, the task is on vCPU 1. It is called again there.
    let task = perf.create_task(VcpuId(0))?;
    stage.switch(0, Some(&task))?;
    stage.meanwhile = Some({
        let (perf, task) = (perf.clone(), task.clone());
        Box::new(move |stage| {
            stage.switch(0, None)?;
            perf.migrate(&task, VcpuId(1))?;
            stage.switch(1, Some(&task))
        })
    });
    let attr = Attr {
        sigtrap: Some(1),
        remove_on_exec: true,
        ..Attr::sampling(EventSelect(0x1_00C0).decode(), 100)
    };
    let event = perf.open(&Open::new(attr, Target::Task(&task)), &mut stage)?;

    // R10: vCPU 0 enables the event just when it has overflowed. The trap is not lost, and the next
    // overflow has one as well.
    stage.here = Some(VcpuId(0));
    stage.meanwhile = Some(Box::new(|stage| {
        stage.cpus[1].source_mut().count(100);
        stage.cpus[1].count(None);
        Ok(())
    }));
    perf.enable(&event, &mut stage)?;
    assert!(stage.run(1, 0)?, "the trap arrives");
    assert!(stage.run(1, 100)?, "and so does the next one");

    perf.exit(&task, &mut stage)?;
    perf.close(&event, &mut stage)?;
    trace.write_json(io::stdout().lock())?;
    Ok(())
}
