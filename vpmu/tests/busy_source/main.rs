// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A source that cannot count right now: what waits for it gets its turn later.

#![cfg(all(feature = "context", not(any(loom, shuttle))))]

use vcpu_call::{Calls, VcpuId};
use vpmu::context::{Attr, Event, Leaves, Open, Perf, PerfConfig, State, Target, Task, VcpuThread};
use vpmu::source::script::ScriptSource;
use vpmu::{CounterSource, EventConfig, EventSelect, Nanos, NotCounted, Wake};

/// Starts nothing while somebody else has the hardware.
struct Shared {
    busy: bool,
    source: ScriptSource,
}

impl CounterSource for Shared {
    fn supports(&self, config: &EventConfig) -> bool {
        self.source.supports(config)
    }

    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted> {
        if self.busy {
            return Err(NotCounted);
        }
        self.source.start(slot, config)
    }

    fn stop(&mut self, slot: usize) {
        self.source.stop(slot);
    }

    fn take(&mut self, slot: usize) -> u64 {
        self.source.take(slot)
    }

    fn arm(&mut self, slot: usize, distance: u64) -> Wake {
        self.source.arm(slot, distance)
    }
}

type Clock = fn() -> Nanos;
type Thread = VcpuThread<Shared, Clock>;

/// A vCPU whose source is busy, and its current task.
fn busy() -> (Thread, Task) {
    let perf = Perf::new(PerfConfig::new(1), (|| Nanos(0)) as Clock);
    let source = Shared {
        busy: true,
        source: ScriptSource::new(),
    };
    let mail = Calls::new(1, |_| ()).vcpu(VcpuId(0)).unwrap();
    let mut vcpu = VcpuThread::new(perf.cpu(VcpuId(0), source).unwrap(), mail);
    vcpu.online().unwrap();
    let task = perf.create_task(VcpuId(0)).unwrap();
    let next = Some(task.clone());
    vcpu.cpu_mut().switch(None, Leaves::Queued, next).unwrap();
    (vcpu, task)
}

fn open(vcpu: &mut Thread, target: Target<'_>) -> Event {
    let cycles = Attr::counting(EventSelect(0x3_003C).decode());
    vcpu.perf().open(&Open::new(cycles, target), vcpu).unwrap()
}

fn state(vcpu: &Thread, event: &Event) -> State {
    vcpu.perf().status(event).unwrap().state
}

#[test]
fn what_could_not_start_is_rotated_in() {
    for on_task in [true, false] {
        let (mut vcpu, task) = busy();
        let target = if on_task {
            Target::Task(&task)
        } else {
            Target::Vcpu(VcpuId(0))
        };
        assert!(!vcpu.cpu_mut().arm().rotate, "nothing waits");
        let event = open(&mut vcpu, target);
        assert_eq!(state(&vcpu, &event), State::Inactive);
        assert!(vcpu.cpu_mut().arm().rotate);
        vcpu.cpu_mut().rotate();
        assert_eq!(state(&vcpu, &event), State::Inactive);
        assert!(vcpu.cpu_mut().arm().rotate, "still");

        vcpu.cpu_mut().source_mut().busy = false;
        vcpu.cpu_mut().rotate();
        assert_eq!(state(&vcpu, &event), State::Active(VcpuId(0)));
        assert!(!vcpu.cpu_mut().arm().rotate, "nothing waits any more");
    }
}

#[test]
fn nobody_rotates_for_a_task_that_left() {
    let (mut vcpu, task) = busy();
    open(&mut vcpu, Target::Task(&task));
    assert!(vcpu.cpu_mut().arm().rotate);
    let cpu = vcpu.cpu_mut();
    cpu.switch(Some(&task), Leaves::Queued, None).unwrap();
    assert!(!cpu.arm().rotate);
}
