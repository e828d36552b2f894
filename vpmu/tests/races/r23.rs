// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R23: a vCPU goes offline between accepting a call and running it. What it accepted it runs before
//! it is gone, and nothing later is accepted (D2).

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::scope;

use vcpu_call::{Calls, VcpuId};
use vpmu::Nanos;
use vpmu::context::{
    Attr, HostThread, Leaves, Open, Perf, PerfCalls, PerfConfig, PerfError, State, Step, Target,
    Task, VcpuThread,
};
use vpmu::source::script::ScriptSource;

use crate::checks::*;
use crate::rig::{Log, cycles};

type Clock = fn() -> Nanos;

/// vCPUs 0 and 1, and the kicks that tell of accepted calls.
struct Vm {
    perf: Perf<Clock, Arc<Log>>,
    log: Arc<Log>,
    calls: PerfCalls,
    accepted: Receiver<VcpuId>,
}

impl Vm {
    fn new() -> Self {
        let (kick, accepted) = channel();
        let kick = Mutex::new(kick);
        let log = Arc::new(Log::default());
        let clock: Clock = || Nanos(0);
        Self {
            perf: Perf::with_observer(PerfConfig::new(2), clock, Arc::clone(&log)),
            log,
            calls: Calls::new(2, move |vcpu| kick.lock().unwrap().send(vcpu).unwrap()),
            accepted,
        }
    }

    fn vcpu(&self, id: VcpuId) -> VcpuThread<ScriptSource, Clock, Arc<Log>> {
        let cpu = self.perf.cpu(id, ScriptSource::new()).unwrap();
        let mut vcpu = VcpuThread::new(cpu, self.calls.vcpu(id).unwrap());
        vcpu.online().unwrap();
        vcpu
    }

    /// The steps that are `step`.
    fn count(&self, step: Step) -> usize {
        self.log.count(|other| *other == step)
    }
}

fn open(task: &Task) -> Open<'_> {
    Open::new(Attr::counting(cycles()), Target::Task(task))
}

/// 1. t is current on vCPU 1. Another thread installs, and vCPU 1's mailbox accepts the call.
/// 2. vCPU 1 goes offline: t is queued, then the accepted call is run, and finds t gone (ESRCH).
/// 3. The installer adds the event under the lock: it was neither refused nor left waiting.
/// 4. t runs on vCPU 0 and counts.
#[test]
fn r23_an_accepted_call_is_run_before_the_vcpu_is_gone() {
    let vm = Vm::new();
    let (mut vcpu0, mut vcpu1) = (vm.vcpu(V0), vm.vcpu(V1));
    let task = vm.perf.create_task(V1).unwrap();
    vcpu1
        .cpu_mut()
        .switch(None, Leaves::Queued, Some(task.clone()))
        .unwrap();
    vm.log.clear();
    let event = scope(|threads| {
        let installer = threads.spawn(|| {
            let mut by = HostThread::new(&vm.calls);
            vm.perf.open(&open(&task), &mut by).unwrap()
        });
        assert_eq!(vm.accepted.recv(), Ok(V1));
        vcpu1.offline().unwrap();
        installer.join().unwrap()
    });
    assert_eq!(vm.perf.status(&event).unwrap().state, State::Inactive);
    assert_eq!(vm.count(Step::CallSent(V1)), 1);
    assert_eq!(vm.count(Step::CallRefused(V1)), 0);
    assert_eq!(vm.count(Step::CallServed), 2, "going offline and the call");
    assert_eq!(vm.log.rounds(), 1);
    let cpu = vcpu0.cpu_mut();
    cpu.switch(None, Leaves::Queued, Some(task)).unwrap();
    cpu.source_mut().count(6);
    let read = vm.perf.read(&event, &mut vcpu0).unwrap().unwrap();
    assert_eq!(read.count, 6);
}

/// 1. Another thread opens an event on vCPU 1 itself, and vCPU 1's mailbox accepts the call.
/// 2. vCPU 1 goes offline. The installer is inside the gate, so vCPU 1 waits there, and serves: the
///    event is installed.
/// 3. vCPU 1 enters the gate and ends the event.
/// 4. The next open is refused.
#[test]
fn r23_an_accepted_vcpu_event_ends_with_its_vcpu() {
    let vm = Vm::new();
    let mut vcpu1 = vm.vcpu(V1);
    vm.log.clear();
    let open = Open::new(Attr::counting(cycles()), Target::Vcpu(V1));
    let event = scope(|threads| {
        let installer = threads.spawn(|| {
            let mut by = HostThread::new(&vm.calls);
            vm.perf.open(&open, &mut by)
        });
        assert_eq!(vm.accepted.recv(), Ok(V1));
        vcpu1.offline().unwrap();
        installer.join().unwrap().unwrap()
    });
    assert_eq!(vm.perf.status(&event).unwrap().state, State::Exit);
    assert_eq!(vm.count(Step::SlotIn(0)), 1);
    assert_eq!(vm.count(Step::SlotOut(0)), 1);
    assert_eq!(vm.count(Step::CallServed), 2, "the call and going offline");
    let mut by = HostThread::new(&vm.calls);
    let refused = vm.perf.open(&open, &mut by).unwrap_err();
    assert_eq!(refused, PerfError::NoSuchVcpu(V1));
    assert!(vm.accepted.try_recv().is_err(), "nothing more was accepted");
}

/// 1. t is current on vCPU 1, with an event. Another thread enables a second one: accepted.
/// 2. vCPU 1's thread ends without going offline first: the VMM dropped it.
/// 3. It goes offline on the way, and the call is answered as lost.
/// 4. The second event is enabled here, under the lock.
#[test]
fn r23_a_thread_that_ends_loses_no_event() {
    let vm = Vm::new();
    let mut vcpu1 = vm.vcpu(V1);
    let task = vm.perf.create_task(V1).unwrap();
    let mut by = HostThread::new(&vm.calls);
    vm.perf.open(&open(&task), &mut by).unwrap();
    let disabled = Open::new(disabled(), Target::Task(&task));
    let second = vm.perf.open(&disabled, &mut by).unwrap();
    vcpu1
        .cpu_mut()
        .switch(None, Leaves::Queued, Some(task.clone()))
        .unwrap();
    vm.log.clear();
    scope(|threads| {
        let enabler = threads.spawn(|| vm.perf.enable(&second, &mut by));
        assert_eq!(vm.accepted.recv(), Ok(V1));
        drop(vcpu1);
        assert_eq!(enabler.join().unwrap(), Ok(()));
    });
    assert_eq!(vm.perf.status(&second).unwrap().state, State::Inactive);
    assert_eq!(vm.count(Step::CallSent(V1)), 1);
    assert_eq!(vm.count(Step::CallServed), 0);
}
