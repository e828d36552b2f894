// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I21: whatever the guest announces, a task is current on one vCPU at most.

use vpmu::context::order::Place;
use vpmu::context::{Event, Leaves, PerfError, Step, Task};

use crate::checks::*;
use crate::rig::*;

fn current(rig: &mut Rig, vcpu: u32) -> Option<u64> {
    rig.cpu(vcpu).current().map(|task| task.id().0)
}

/// A task on vCPU 0 whose event counts there, and one that is blocked.
fn setting() -> (Rig, Task, Task, Event) {
    let mut rig = Rig::new(2, 4);
    let blocked = rig.task(0);
    rig.run_task(0, &blocked);
    rig.block(0);
    let task = rig.task(0);
    let event = rig.open_task(counting(), &task);
    rig.run_task(0, &task);
    rig.log.clear();
    (rig, task, blocked, event)
}

#[test]
fn i21_lies_are_refused_and_change_nothing() {
    let (mut rig, task, blocked, event) = setting();
    let id = task.id();
    let here = Err(PerfError::Current { task: id, vcpu: V0 });
    let perf = rig.perf.clone();
    // Current on two vCPUs, twice on one, migrated and woken while it runs.
    assert_eq!(rig.switch(1, Some(&task)), here);
    assert_eq!(rig.switch(0, Some(&task)), here);
    assert_eq!(perf.migrate(&task, V1), here);
    assert_eq!(perf.wake(&task, V1), Err(PerfError::NotBlocked(id)));
    // Left where it never was.
    let left = rig.cpu(1).switch(Some(&task), Leaves::Queued, None);
    assert_eq!(left.unwrap_err(), PerfError::NotCurrent(id));
    let left = rig.cpu(0).switch(Some(&blocked), Leaves::Queued, None);
    assert_eq!(left.unwrap_err(), PerfError::NotCurrent(blocked.id()));
    let left = rig.cpu(0).switch(None, Leaves::Queued, None);
    assert_eq!(left.unwrap_err(), PerfError::NotCurrent(id));
    // Runs although it is blocked.
    assert_eq!(
        rig.switch(1, Some(&blocked)),
        Err(PerfError::Blocked(blocked.id()))
    );
    assert_eq!(rig.log.count(|step| *step == Step::Refused), 8);

    assert_eq!(task.place(), Place::Current(V0));
    assert_eq!(blocked.place(), Place::Blocked(V0));
    assert_eq!(current(&mut rig, 0), Some(id.0));
    assert_eq!(current(&mut rig, 1), None);
    rig.audit();
    rig.happen(1, 100);
    rig.happen(0, 5);
    assert_eq!(rig.count_of(&event), 5);
}

#[test]
fn i21_true_announcements_are_believed() {
    let (mut rig, task, blocked, event) = setting();
    let perf = rig.perf.clone();
    perf.migrate(&blocked, V1).unwrap();
    assert_eq!(blocked.place(), Place::Blocked(V1));
    perf.wake(&blocked, V0).unwrap();
    assert_eq!(blocked.place(), Place::Queued(V0));
    rig.run_task(1, &blocked);
    assert_eq!(blocked.place(), Place::Current(V1));
    rig.idle(0);
    assert_eq!(task.place(), Place::Queued(V0));
    rig.run_task(1, &task);
    assert_eq!(blocked.place(), Place::Queued(V1));
    rig.happen(1, 5);
    assert_eq!(rig.count_of(&event), 5);
    assert_eq!(rig.log.count(|step| *step == Step::Refused), 0);
}
