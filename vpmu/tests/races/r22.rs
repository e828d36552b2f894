// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R22: two vCPUs' threads install on each other's current task at once. Each waits for the other,
//! and serves meanwhile (D1).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::scope;

use vcpu_call::{Calls, Park, VcpuId, Waker};
use vpmu::Nanos;
use vpmu::context::{
    Attr, Caller, HostThread, Leaves, Open, Perf, PerfCalls, PerfConfig, PerfObserver, Record,
    State, Step, Target, VcpuThread,
};
use vpmu::source::script::ScriptSource;

use crate::checks::*;
use crate::rig::cycles;

/// Whoever is about to call waits for the other to be as well. A test may do that: it knows that no
/// lock of the engine is held at this step.
struct BothCall(Barrier);

impl PerfObserver for BothCall {
    fn record(&self, record: &Record) {
        match record.step {
            Step::CallSent(_) => {
                self.0.wait();
            }
            Step::Retry(why) => panic!("neither task moves: {why:?}"),
            _ => {}
        }
    }
}

type Thread = VcpuThread<ScriptSource, fn() -> Nanos, Arc<BothCall>>;

fn vcpu(perf: &Perf<fn() -> Nanos, Arc<BothCall>>, calls: &PerfCalls, id: VcpuId) -> Thread {
    let cpu = perf.cpu(id, ScriptSource::new()).unwrap();
    let mut vcpu = VcpuThread::new(cpu, calls.vcpu(id).unwrap());
    vcpu.online().unwrap();
    vcpu
}

/// A thread's open has returned, or failed: then the other one must not wait for ever.
struct Returned<'a>(&'a AtomicUsize, Waker);

impl<'a> Returned<'a> {
    /// Says so; how many have.
    fn say(self) -> &'a AtomicUsize {
        self.0
    }
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
        self.1.wake();
    }
}

/// 1. t is current on vCPU 0, u on vCPU 1.
/// 2. vCPU 0's thread opens an event of u, vCPU 1's one of t. Both found their targets running, and
///    neither has sent its call.
/// 3. Both send, and wait: each serves the other's call. Both events are on a counter when the
///    opens return.
#[test]
fn r22_two_vcpus_install_on_each_other() {
    let observer = Arc::new(BothCall(Barrier::new(2)));
    let perf = Perf::with_observer(PerfConfig::new(2), (|| Nanos(0)) as fn() -> _, observer);
    let calls = Calls::new(2, |_| ());
    let tasks = [V0, V1].map(|id| perf.create_task(id).unwrap());
    let vcpus = [V0, V1].map(|id| vcpu(&perf, &calls, id));
    let wakers = [vcpus[1].waker(), vcpus[0].waker()];
    let returned = AtomicUsize::new(0);
    let current = Barrier::new(2);
    let threads = scope(|threads| {
        let opens = vcpus.into_iter().zip(wakers).map(|(mut by, other)| {
            let (perf, tasks, current) = (&perf, &tasks, &current);
            let returned = Returned(&returned, other);
            threads.spawn(move || {
                let here = by.here().unwrap();
                let there = VcpuId(1 - here.0);
                let [own, target] = [here, there].map(|vcpu| &tasks[vcpu.index()]);
                let cpu = by.cpu_mut();
                cpu.switch(None, Leaves::Queued, Some(own.clone())).unwrap();
                current.wait();

                let open = Open::new(Attr::counting(cycles()), Target::Task(target));
                let event = perf.open(&open, &mut by).unwrap();
                assert_eq!(perf.status(&event).unwrap().state, State::Active(there));

                // The guest goes on, which leaves it for the other's call.
                let both = returned.say();
                while both.load(Ordering::Acquire) < 2 {
                    by.park();
                }
                (by, event)
            })
        });
        let opens: Vec<_> = opens.collect();
        let ends = opens.into_iter().map(|open| open.join().unwrap());
        ends.collect::<Vec<_>>()
    });
    let (mut vcpus, events): (Vec<_>, Vec<_>) = threads.into_iter().unzip();
    for ((vcpu, task), counts) in vcpus.iter_mut().zip(&tasks).zip([3, 4]) {
        let cpu = vcpu.cpu_mut();
        cpu.source_mut().count(counts);
        cpu.switch(Some(task), Leaves::Queued, None).unwrap();
    }
    // Both tasks are switched out: nobody has to be called.
    let mut by = HostThread::new(&calls);
    let counts = events
        .iter()
        .map(|event| perf.read(event, &mut by).unwrap());
    let counts = counts.map(|reading| reading.unwrap().count);
    assert_eq!(counts.collect::<Vec<_>>(), [4, 3], "on the other's vCPU");
}
