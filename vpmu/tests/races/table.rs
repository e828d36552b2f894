// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What an operation costs and does for each state of its target: a test a row.

use vcpu_call::VcpuId;
use vpmu::context::{Event, PerfError, Retry, State, Target, Task};

use crate::checks::*;
use crate::other::{Act as ThreadAct, Queue};
use crate::rig::*;

/// What can be done to an event that is there.
type Act = fn(&mut Rig, &Event);

/// Disable, enable and remove, with the state that each leaves an event in that wants to count.
fn acts(wants: State) -> [(&'static str, Act, Option<State>); 3] {
    [
        (
            "disable",
            |rig, event| rig.disable(event).unwrap(),
            Some(State::Off),
        ),
        (
            "enable",
            |rig, event| rig.enable(event).unwrap(),
            Some(wants),
        ),
        ("remove", |rig, event| rig.close(event).unwrap(), None),
    ]
}

/// Does each of `acts` to the same event; the calls of each.
#[track_caller]
fn each(rig: &mut Rig, event: &Event, wants: State, sent: &[u32]) {
    for (name, act, then) in acts(wants) {
        rig.log.clear();
        act(rig, event);
        assert_eq!(rig.sent(), sent, "{name}");
        assert_eq!(rig.retries(), [], "{name}");
        let state = rig.perf.status(event).ok().map(|status| status.state);
        assert_eq!(state, then, "{name}");
    }
}

/// Installs the first event of a task; what was called is in the log.
fn install(rig: &mut Rig, task: &Task) -> Event {
    rig.log.clear();
    let event = rig.open_task(counting(), task);
    assert_eq!(rig.log.rounds(), 1);
    assert_eq!(rig.retries(), []);
    event
}

/// Inline, all of it: the call goes to the thread that makes it, and runs before it returns. What is
/// done to an event that is there is no call that is sent: its own vCPU looks at its own task first.
#[test]
fn a_task_that_is_current_on_the_calling_vcpu() {
    let mut rig = Rig::new(2, 2);
    rig.here = Some(V0);
    let task = rig.task(0);
    rig.run_task(0, &task);
    let event = install(&mut rig, &task);
    assert_eq!(rig.sent(), [0]);
    assert_eq!(rig.served(0), 1);
    assert_eq!(rig.state(&event), State::Active(V0));
    each(&mut rig, &event, State::Active(V0), &[]);
    assert_eq!(rig.served(0), 1, "the last of them");
}

/// One call each; the event is on a counter when it returns. A context that became empty is active
/// no more: the next installation finds the task by its place.
#[test]
fn a_task_that_is_current_on_another_vcpu() {
    let mut rig = Rig::new(2, 2);
    rig.here = Some(V0);
    let task = rig.task(1);
    rig.run_task(1, &task);
    for _ in 0..2 {
        let event = install(&mut rig, &task);
        assert_eq!(rig.sent(), [1]);
        assert_eq!((rig.served(0), rig.served(1)), (0, 1));
        assert_eq!(rig.state(&event), State::Active(V1));
        each(&mut rig, &event, State::Active(V1), &[1]);
    }
}

/// An event that waits to be enabled is added without a call, unless it is the first.
#[test]
fn an_event_that_is_off_needs_no_vcpu_but_the_first() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(1);
    rig.run_task(1, &task);
    for sent in [&[1][..], &[]] {
        rig.log.clear();
        let event = rig.open_task(disabled(), &task);
        assert_eq!(rig.sent(), sent);
        assert_eq!(rig.state(&event), State::Off);
    }
}

/// No call: the lock decides, and the next switch to the task finds the event.
#[test]
fn a_task_that_could_run_and_does_not() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(1);
    rig.run_task(1, &task);
    rig.idle(1);
    let event = install(&mut rig, &task);
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.state(&event), State::Inactive);
    let counts = install(&mut rig, &task);
    each(&mut rig, &event, State::Inactive, &[]);
    rig.run_task(1, &task);
    rig.happen(1, 3);
    assert_eq!(rig.count_of(&counts), 3);
}

/// The same.
#[test]
fn a_task_that_is_blocked() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(1);
    rig.run_task(1, &task);
    rig.block(1);
    let event = install(&mut rig, &task);
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.state(&event), State::Inactive);
    each(&mut rig, &event, State::Inactive, &[]);
}

/// The same, and nobody waits for the vCPU or for the task.
#[test]
fn a_task_that_is_blocked_on_an_offline_vcpu() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(1);
    rig.run_task(1, &task);
    rig.block(1);
    rig.offline(1).unwrap();
    rig.deaf.push(VcpuId(1));
    let event = install(&mut rig, &task);
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.served(1), 0);
    assert_eq!(rig.state(&event), State::Inactive);
    each(&mut rig, &event, State::Inactive, &[]);
}

/// A call that comes too late is made again where the task is, once a move.
#[test]
fn a_task_that_migrates() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    rig.run_task(0, &task);
    let moves = |rig: &mut Rig, task: &Task| {
        let task = task.clone();
        rig.before_call(move |rig, called| {
            rig.idle(called.0);
            rig.run_task(1 - called.0, &task);
        });
        rig.log.clear();
    };
    moves(&mut rig, &task);
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.sent(), [0, 1]);
    assert_eq!(rig.retries(), [Retry::Moved]);
    assert_eq!(rig.state(&event), State::Active(V1));
    let mut at = 1;
    for (name, act, then) in acts(State::Active(V1)) {
        moves(&mut rig, &task);
        act(&mut rig, &event);
        assert_eq!(rig.sent(), [at, 1 - at], "{name}");
        assert_eq!(rig.retries(), [Retry::NotHere], "{name}");
        let state = rig.perf.status(&event).ok().map(|status| status.state);
        assert_eq!(state, then, "{name}");
        at = 1 - at;
    }
}

/// The gate decides: who holds it when the task exits is done first, and undone by the exit.
#[test]
fn a_task_that_is_about_to_exit() {
    let exits = |rig: &mut Rig, task: &Task| {
        let task = task.clone();
        let exits: ThreadAct<_> = Box::new(move |perf, by| perf.exit(&task, by));
        rig.log.clear();
        Queue::while_called(rig, vec![exits])
    };
    let scene = || {
        let mut rig = Rig::new(1, 2);
        let task = rig.task(0);
        rig.run_task(0, &task);
        (rig, task)
    };

    let (mut rig, task) = scene();
    let queue = exits(&mut rig, &task);
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V0));
    assert_eq!(queue.finish(&mut rig), [Ok(())]);
    assert_eq!(rig.sent(), [0, 0], "the installation's and the exit's");
    assert_eq!(rig.served(0), 2);
    assert_eq!(rig.state(&event), State::Exit);

    for (name, act, before) in acts(State::Active(V0)) {
        let (mut rig, task) = scene();
        let event = rig.open_task(counting(), &task);
        // So that the exit has something to do after a remove.
        let beside = rig.open_task(counting(), &task);
        let queue = exits(&mut rig, &task);
        act(&mut rig, &event);
        let state = |rig: &Rig| rig.perf.status(&event).ok().map(|status| status.state);
        assert_eq!(state(&rig), before, "{name}");
        assert_eq!(queue.finish(&mut rig), [Ok(())], "{name}");
        assert_eq!(rig.served(0), 2, "{name}");
        assert_eq!(state(&rig), before.map(|_| State::Exit), "{name}");
        assert_eq!(rig.state(&beside), State::Exit, "{name}");
    }
}

/// Opening is refused; an ioctl succeeds and does nothing; remove takes it off the list.
#[test]
fn a_task_that_has_exited() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 1), &task);
    rig.run_task(0, &task);
    rig.happen(0, 4);
    rig.exit(&task).unwrap();
    rig.log.clear();
    let refused = rig.open(counting(), Target::Task(&task)).unwrap_err();
    assert_eq!((refused, refused.errno()), (PerfError::NoSuchTask, 3));
    let acts: [Act; 3] = [
        |rig, event| rig.enable(event).unwrap(),
        |rig, event| rig.disable(event).unwrap(),
        |rig, event| rig.refresh(event, 1).unwrap(),
    ];
    for act in acts {
        act(&mut rig, &event);
        let status = rig.perf.status(&event).unwrap();
        assert_eq!((status.state, status.limit), (State::Exit, 0));
    }
    rig.happen(0, 100);
    assert_eq!(rig.count_of(&event), 4);
    rig.close(&event).unwrap();
    assert_eq!(rig.perf.status(&event), Err(PerfError::Closed));
    assert_eq!(rig.sent(), []);
}

/// A task that exits without ever having had an event has no context to bury. The word says it.
#[test]
fn a_task_that_exited_without_a_context() {
    for current in [false, true] {
        let mut rig = Rig::new(1, 2);
        let task = rig.task(0);
        if current {
            rig.run_task(0, &task);
        }
        rig.exit(&task).unwrap();
        rig.log.clear();
        let refused = rig.open(counting(), Target::Task(&task)).unwrap_err();
        assert_eq!(refused, PerfError::NoSuchTask);
        assert_eq!(rig.exit(&task), Err(PerfError::NoSuchTask));
        assert_eq!(rig.sent(), []);
    }
}

/// Opening is refused; an ioctl on what ended with the vCPU succeeds and does nothing.
#[test]
fn a_vcpu_that_is_offline() {
    let mut rig = Rig::new(2, 2);
    let event = rig.open(counting(), Target::Vcpu(V1)).unwrap();
    rig.happen(1, 4);
    rig.offline(1).unwrap();
    rig.deaf.push(VcpuId(1));
    rig.log.clear();
    let refused = rig.open(counting(), Target::Vcpu(V1)).unwrap_err();
    assert_eq!((refused, refused.errno()), (PerfError::NoSuchVcpu(V1), 19));
    rig.enable(&event).unwrap();
    assert_eq!(rig.state(&event), State::Exit);
    rig.disable(&event).unwrap();
    assert_eq!(rig.state(&event), State::Exit);
    assert_eq!(rig.count_of(&event), 4);
    rig.close(&event).unwrap();
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.served(1), 0);
}

/// For comparison, a vCPU that is online: one call each.
#[test]
fn a_vcpu_that_is_online() {
    let mut rig = Rig::new(2, 2);
    rig.log.clear();
    let event = rig.open(counting(), Target::Vcpu(V1)).unwrap();
    assert_eq!(rig.sent(), [1]);
    assert_eq!(rig.state(&event), State::Active(V1));
    each(&mut rig, &event, State::Active(V1), &[1]);
}
