// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R4: the fix of R3 must not try for ever where a vCPU is offline, whatever the operation.

use vcpu_call::VcpuId;
use vpmu::context::{Attr, Event, PerfError, Retry, State, Step, Task};

use crate::checks::*;
use crate::rig::*;

/// One way to reach for the context of a task.
struct Way {
    name: &'static str,
    attr: Attr,
    act: fn(&mut Rig, &Task, &Event),
    /// The state of the event afterwards; none if it is closed.
    then: Option<State>,
    /// What it counts of 5 events after the task ran again.
    counts: u64,
}

fn ways() -> [Way; 6] {
    let off = trapping_when_enabled(1_000, 1);
    let on = trapping(1_000, 1);
    [
        Way {
            name: "enable",
            attr: off,
            act: |rig, _, event| rig.enable(event).unwrap(),
            then: Some(State::Inactive),
            counts: 5,
        },
        Way {
            name: "disable",
            attr: on,
            act: |rig, _, event| rig.disable(event).unwrap(),
            then: Some(State::Off),
            counts: 0,
        },
        Way {
            name: "remove",
            attr: on,
            act: |rig, _, event| rig.close(event).unwrap(),
            then: None,
            counts: 0,
        },
        Way {
            name: "refresh",
            attr: off,
            act: |rig, _, event| {
                rig.refresh(event, 3).unwrap();
                assert_eq!(rig.perf.status(event).unwrap().limit, 3);
            },
            then: Some(State::Inactive),
            counts: 5,
        },
        Way {
            name: "read",
            attr: on,
            act: |rig, _, event| assert_eq!(rig.read(event).unwrap().count, 7),
            then: Some(State::Inactive),
            counts: 5,
        },
        Way {
            name: "open",
            attr: on,
            act: |rig, task, _| {
                let event = rig.open_task(counting(), task);
                assert_eq!(rig.state(&event), State::Inactive);
            },
            then: Some(State::Inactive),
            counts: 5,
        },
    ]
}

/// t ran on vCPU 1 with the event, which counted 7 if it was enabled, and with one that always is.
fn scene(way: &Way) -> (Rig, Task, Event) {
    let mut rig = Rig::new(2, 4);
    let task = rig.task(1);
    rig.open_task(counting(), &task);
    let event = rig.open_task(way.attr, &task);
    rig.run_task(1, &task);
    rig.happen(1, 7);
    rig.log.clear();
    (rig, task, event)
}

fn goes_away(rig: &mut Rig) {
    rig.block(1);
    rig.offline(1).unwrap();
    rig.deaf.push(VcpuId(1));
    rig.log.clear();
}

/// 4. t wakes on vCPU 0 and runs there.
fn runs_again(rig: &mut Rig, way: &Way, task: &Task, event: &Event) {
    rig.perf.wake(task, V0).unwrap();
    rig.run_task(0, task);
    let Some(then) = way.then else {
        assert_eq!(rig.perf.status(event), Err(PerfError::Closed));
        return;
    };
    let now = match then {
        State::Inactive => State::Active(V0),
        other => other,
    };
    assert_eq!(rig.state(event), now, "{}", way.name);
    let before = rig.count_of(event);
    rig.happen(0, 5);
    assert_eq!(rig.count_of(event) - before, way.counts, "{}", way.name);
}

/// 1. t blocks on vCPU 1, which goes offline.
/// 2. Each operation completes here, under the lock: no call, no function run on vCPU 1, no retry.
/// 3. Its effect is there at once.
#[test]
fn r04_every_operation_on_a_task_blocked_offline_ends() {
    for way in ways() {
        let (mut rig, task, event) = scene(&way);
        goes_away(&mut rig);
        (way.act)(&mut rig, &task, &event);
        assert_eq!(rig.sent(), [], "{}", way.name);
        assert_eq!(rig.served(1), 0, "{}", way.name);
        assert_eq!(rig.retries(), [], "{}", way.name);
        assert!(rig.log.rounds() <= 1, "{}", way.name);
        let state = rig.perf.status(&event).ok().map(|status| status.state);
        assert_eq!(state, way.then, "{}", way.name);
        runs_again(&mut rig, &way, &task, &event);
    }
}

/// 1. t is current on vCPU 1; the operation reads that and calls.
/// 2. t blocks, vCPU 1 goes offline, the call is refused.
/// 3. The operation completes here, under the lock: one call, none run.
#[test]
fn r04_every_operation_ends_when_the_vcpu_goes_offline_under_it() {
    for way in ways() {
        let (mut rig, task, event) = scene(&way);
        rig.before_call(|rig, _| goes_away(rig));
        (way.act)(&mut rig, &task, &event);
        assert_eq!(rig.script_left(), 0, "{}: it calls", way.name);
        assert_eq!(rig.sent(), [], "{}: no second call", way.name);
        assert_eq!(rig.served(1), 0, "{}", way.name);
        let refused = rig.log.count(|step| *step == Step::CallRefused(V1));
        assert_eq!(refused, 1, "{}", way.name);
        // An installation asks the task's place again, everything else the context's.
        let retries = rig.retries();
        let expected: &[_] = match way.name {
            "open" => &[],
            _ => &[Retry::Offline],
        };
        assert_eq!(retries, expected, "{}", way.name);
        let state = rig.perf.status(&event).ok().map(|status| status.state);
        assert_eq!(state, way.then, "{}", way.name);
        runs_again(&mut rig, &way, &task, &event);
    }
}
