// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I18: nobody holds a context's lock while a call is on its way, and whoever waits serves its own
//! calls. A violation hangs: the tests notice after a while that would do for a thousand of them.

use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use vcpu_call::{Calls, VcpuId};
use vpmu::Nanos;
use vpmu::context::{
    Attr, Event, Leaves, Open, Perf, PerfCalls, PerfConfig, Target, Task, VcpuThread,
};
use vpmu::source::script::ScriptSource;

use crate::checks::*;
use crate::rig::*;

/// Runs `scenario` on a thread of its own, and fails instead of hanging with it.
fn ends(scenario: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        // Closes the channel, also when the scenario panics.
        let _done = done;
        scenario();
    });
    let ended = ended.recv_timeout(Duration::from_secs(10));
    assert_ne!(ended, Err(mpsc::RecvTimeoutError::Timeout), "it hangs");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Uses the locks of the vCPU's and the task's context, of events and of the task.
fn uses_all_locks(rig: &mut Rig, event: &Event, other: &Task) {
    rig.perf.status(event).unwrap();
    rig.perf.audit_event(event).unwrap();
    rig.cpu(0).count(None);
    rig.cpu(0).return_to_user();
    let back = rig.cpu(0).current().cloned();
    rig.run_task(0, other);
    if let Some(back) = back {
        rig.run_task(0, &back);
    }
}

fn every_act_with_all_locks_used_meanwhile() {
    let acts: [fn(&mut Rig, &Event, &Task); 10] = [
        |rig, event, _| rig.enable(event).unwrap(),
        |rig, event, _| rig.disable(event).unwrap(),
        |rig, event, _| rig.refresh(event, 1).unwrap(),
        |rig, event, _| rig.reset(event).unwrap(),
        |rig, event, _| rig.set_period(event, 5).unwrap(),
        |rig, event, _| assert!(rig.read(event).is_some()),
        |rig, event, _| rig.close(event).unwrap(),
        |rig, _, task| assert_eq!(rig.open_task(counting(), task).id().0, 3),
        |rig, _, task| rig.exec(task).unwrap(),
        |rig, _, task| rig.exit(task).unwrap(),
    ];
    for (which, act) in acts.into_iter().enumerate() {
        let mut rig = Rig::new(1, 4);
        let [task, other] = [rig.task(0), rig.task(0)];
        let event = rig.open_task(trapping(10, 1), &task);
        let watched = rig.open_task(counting(), &task);
        rig.run_task(0, &task);
        rig.before_call(move |rig, _| uses_all_locks(rig, &watched, &other));
        act(&mut rig, &event, &task);
        assert_eq!(rig.script_left(), 0, "act {which} called nobody");
        rig.audit();
    }
}

#[test]
fn i18_no_lock_is_held_while_a_call_is_on_its_way() {
    ends(every_act_with_all_locks_used_meanwhile);
}

type Clock = fn() -> Nanos;

fn zero() -> Nanos {
    Nanos(0)
}

/// A vCPU that asks the other for something again and again, and leaves.
fn asks(
    mut vcpu: VcpuThread<ScriptSource, Clock>,
    perf: &Perf<Clock>,
    own: &Task,
    target: &Task,
    start: &Barrier,
) {
    vcpu.online().unwrap();
    let own = Some(own.clone());
    vcpu.cpu_mut().switch(None, Leaves::Queued, own).unwrap();
    start.wait();
    for _ in 0..200 {
        let attr = Attr::counting(cycles());
        let event = perf
            .open(&Open::new(attr, Target::Task(target)), &mut vcpu)
            .unwrap();
        perf.disable(&event, &mut vcpu).unwrap();
        perf.read(&event, &mut vcpu).unwrap();
        perf.close(&event, &mut vcpu).unwrap();
    }
    // Whoever is still at it finds the task here no more.
    vcpu.offline().unwrap();
}

fn two_vcpus_ask_each_other() {
    let perf: Perf<Clock> = Perf::new(PerfConfig::new(2), zero);
    let calls: PerfCalls = Calls::new(2, |_vcpu: VcpuId| {});
    let tasks = [V0, V1].map(|vcpu| perf.create_task(vcpu).unwrap());
    let start = Barrier::new(2);
    thread::scope(|scope| {
        for (vcpu, own, other) in [(V0, 0, 1), (V1, 1, 0)] {
            let cpu = perf.cpu(vcpu, ScriptSource::new()).unwrap();
            let thread = VcpuThread::new(cpu, calls.vcpu(vcpu).unwrap());
            let (perf, tasks, start) = (&perf, &tasks, &start);
            scope.spawn(move || asks(thread, perf, &tasks[own], &tasks[other], start));
        }
    });
    for task in &tasks {
        assert_eq!(perf.audit_task(task), Ok(()));
    }
}

#[test]
fn i18_two_vcpus_that_wait_for_each_other_serve_each_other() {
    ends(two_vcpus_ask_each_other);
}
