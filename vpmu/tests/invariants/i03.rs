// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I3: when an installation has returned, the event is attached exactly once, and counts from then
//! on.

use vpmu::context::{State, Step, Target};

use crate::checks::*;
use crate::rig::*;

/// How many of each: onto a counter, off it.
fn moves(rig: &Rig) -> (usize, usize) {
    (
        rig.log.count(|step| matches!(step, Step::SlotIn(_))),
        rig.log.count(|step| matches!(step, Step::SlotOut(_))),
    )
}

#[test]
fn i03_an_event_of_a_running_task_counts_when_open_returns() {
    let mut rig = Rig::new(2, 4);
    let task = rig.task(1);
    rig.run_task(1, &task);
    rig.happen(1, 100);
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V1));
    rig.audit();
    assert_eq!(moves(&rig), (1, 0));
    rig.happen(1, 5);
    assert_eq!(rig.count_of(&event), 5);
    rig.close(&event).unwrap();
    assert_eq!(moves(&rig), (1, 1));
}

#[test]
fn i03_an_event_of_a_waiting_task_counts_from_its_first_instruction() {
    for blocked in [false, true] {
        let mut rig = Rig::new(2, 4);
        let task = rig.task(0);
        if blocked {
            rig.run_task(0, &task);
            rig.block(0);
        }
        let event = rig.open_task(counting(), &task);
        assert_eq!(rig.perf.audit_event(&event), Ok(()));
        assert_eq!(rig.state(&event), State::Inactive);
        assert_eq!(moves(&rig), (0, 0));
        if blocked {
            rig.perf.wake(&task, V1).unwrap();
        }
        rig.run_task(1, &task);
        rig.audit();
        rig.happen(1, 5);
        assert_eq!(rig.count_of(&event), 5);
        assert_eq!(moves(&rig), (1, 0));
    }
}

/// The task is gone when the call arrives, and runs somewhere else when the installer looks again.
#[test]
fn i03_an_event_is_attached_once_however_often_its_task_is_missed() {
    let mut rig = Rig::new(3, 4);
    let task = rig.task(0);
    rig.run_task(0, &task);
    for (from, to) in [(0, 1), (1, 2)] {
        let task = task.clone();
        rig.before_call(move |rig, called| {
            assert_eq!(called.0, from);
            rig.idle(from);
            rig.run_task(to, &task);
        });
    }
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.script_left(), 0);
    assert_eq!(rig.state(&event), State::Active(vcpu_call::VcpuId(2)));
    assert_eq!(moves(&rig), (1, 0));
    rig.audit();
    rig.happen(2, 5);
    assert_eq!(rig.count_of(&event), 5);
}

#[test]
fn i03_an_event_that_could_not_be_installed_is_nowhere() {
    let mut rig = Rig::new(1, 4);
    rig.before_call(|rig, _| rig.deaf.push(V0));
    let refused = rig.open(counting(), Target::Vcpu(V0));
    assert_eq!(refused.unwrap_err().errno(), 19);
    rig.deaf.clear();
    rig.audit();
    rig.happen(0, 3);
    assert_eq!(moves(&rig), (0, 0));
    let event = rig.open(counting(), Target::Vcpu(V0)).unwrap();
    rig.happen(0, 5);
    assert_eq!(rig.count_of(&event), 5);
    assert_eq!(moves(&rig), (1, 0));
}
