// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R22: two vCPUs' threads install on each other's current task at once. Each waits for the other,
//! and serves meanwhile (D1).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::scope;

use vcpu_call::{Calls, Park, VcpuId};
use vpmu::Nanos;
use vpmu::context::{
    Attr, Caller, Leaves, Open, Perf, PerfCalls, PerfConfig, PerfObserver, Record, State, Step,
    Target, VcpuThread,
};
use vpmu::source::script::ScriptSource;

use crate::checks::*;
use crate::rig::cycles;

/// Whoever is about to call waits for the other to be as well.
struct BothCall(Barrier);

impl PerfObserver for BothCall {
    fn record(&self, record: &Record) {
        if let Step::CallSent(_) = record.step {
            self.0.wait();
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
    let mut vcpus = [V0, V1].map(|id| vcpu(&perf, &calls, id));
    let tasks = [V0, V1].map(|id| perf.create_task(id).unwrap());
    for (vcpu, task) in vcpus.iter_mut().zip(&tasks) {
        vcpu.cpu_mut()
            .switch(None, Leaves::Queued, Some(task.clone()))
            .unwrap();
    }
    let wakers = [vcpus[1].waker(), vcpus[0].waker()];
    let returned = AtomicUsize::new(0);
    let events = scope(|threads| {
        let targets = tasks.iter().rev();
        let opens = vcpus.iter_mut().zip(targets).zip(wakers);
        let opens = opens.map(|((by, target), other)| {
            let (perf, returned) = (&perf, &returned);
            threads.spawn(move || {
                let open = Open::new(Attr::counting(cycles()), Target::Task(target));
                let event = perf.open(&open, by).unwrap();
                let there = VcpuId(1 - by.here().unwrap().0);
                assert_eq!(perf.status(&event).unwrap().state, State::Active(there));
                // On to the guest, as it were: which is left for the other's call.
                returned.fetch_add(1, Ordering::Release);
                other.wake();
                while returned.load(Ordering::Acquire) < 2 {
                    by.park();
                }
                event
            })
        });
        let opens: Vec<_> = opens.collect();
        let events = opens.into_iter().map(|open| open.join().unwrap());
        events.collect::<Vec<_>>()
    });
    for (vcpu, counts) in vcpus.iter_mut().zip([3, 4]) {
        vcpu.cpu_mut().source_mut().count(counts);
    }
    // Read without a call: nobody would come to the barrier.
    let counts = vcpus
        .iter_mut()
        .zip(events.iter().rev())
        .map(|(vcpu, event)| {
            let current = vcpu.cpu().current().cloned();
            vcpu.cpu_mut()
                .switch(current.as_ref(), Leaves::Queued, None)
                .unwrap();
            perf.read(event, vcpu).unwrap().unwrap().count
        });
    assert_eq!(counts.collect::<Vec<_>>(), [3, 4]);
}
