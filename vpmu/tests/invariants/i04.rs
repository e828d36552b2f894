// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I4: whatever is done to a task that is blocked on an offline vCPU completes in one round, with
//! nothing run on that vCPU and without any help of the task.

use vpmu::context::{State, Step, Task};

use crate::checks::*;
use crate::rig::*;

fn blocked_on_offline(rig: &mut Rig) -> Task {
    let task = rig.task(1);
    rig.run_task(1, &task);
    rig.block(1);
    rig.offline(1).unwrap();
    rig.deaf.push(V1);
    rig.log.clear();
    task
}

#[track_caller]
fn nobody_was_asked(rig: &Rig) {
    assert_eq!(rig.log.calls(), 0);
    assert_eq!(rig.log.count(|step| *step == Step::CallServed), 0);
    assert_eq!(rig.log.count(|step| matches!(step, Step::Retry(_))), 0);
}

#[test]
fn i04_nothing_waits_for_a_blocked_task_of_an_offline_vcpu() {
    let mut rig = Rig::new(2, 4);
    let task = blocked_on_offline(&mut rig);
    let event = rig.open_task(sampling(10), &task);
    assert_eq!(rig.log.rounds(), 1);
    nobody_was_asked(&rig);
    rig.disable(&event).unwrap();
    assert_eq!(rig.state(&event), State::Off);
    rig.enable(&event).unwrap();
    assert_eq!(rig.state(&event), State::Inactive);
    rig.refresh(&event, 2).unwrap();
    assert_eq!(rig.status(&event).limit, 2);
    rig.set_period(&event, 5).unwrap();
    rig.reset(&event).unwrap();
    assert_eq!(rig.count_of(&event), 0);
    let second = rig.open_task(counting(), &task);
    assert_eq!(rig.log.rounds(), 2);
    rig.close(&second).unwrap();
    nobody_was_asked(&rig);

    // It did arrive: the task wakes up on the other vCPU and counts there.
    rig.perf.wake(&task, V0).unwrap();
    rig.run_task(0, &task);
    rig.happen(0, 5);
    rig.happen(0, 5);
    rig.enter(0);
    assert_eq!(rig.count_of(&event), 10);
    assert_eq!(rig.state(&event), State::Off);
}

#[test]
fn i04_a_blocked_task_of_an_offline_vcpu_forks_executes_and_exits() {
    let mut rig = Rig::new(2, 4);
    let task = blocked_on_offline(&mut rig);
    let event = rig.open_task(inherited(counting()), &task);
    let child = rig.fork(&task);
    rig.exec(&task).unwrap();
    rig.exit(&task).unwrap();
    nobody_was_asked(&rig);
    assert_eq!(rig.state(&event), State::Exit);
    rig.run_task(0, &child);
    rig.happen(0, 3);
    assert_eq!(rig.count_of(&event), 3);
}
