// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R1: the first event of a task that is moving; the litmus test of the first seed, with the call
//! arriving at each of its steps. That the fences make step 3 see what step 1 published is for the
//! model: `tests/loom`.

use vpmu::context::{Retry, State, Step};

use crate::checks::*;
use crate::rig::*;

/// 1. t is current on vCPU 0. The installer publishes its first context and reads "on vCPU 0".
/// 2. vCPU 0 switches t out.
/// 3. t migrates; vCPU 1 switches it in, and finds a context without events (W3).
/// 4. The call arrives on vCPU 0: t is placed elsewhere (EAGAIN).
/// 5. The installer asks vCPU 1, where the event goes onto a counter.
#[test]
fn r01_the_call_arrives_when_the_task_runs_elsewhere() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    rig.run_task(0, &task);
    let moved = task.clone();
    rig.before_call(move |rig, _| {
        rig.idle(0);
        rig.perf.migrate(&moved, V1).unwrap();
        rig.run_task(1, &moved);
        assert_eq!(rig.log.count(|step| matches!(step, Step::SlotIn(_))), 0);
    });
    rig.log.clear();
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V1));
    assert_eq!(rig.sent(), [0, 1]);
    assert_eq!(rig.retries(), [Retry::Moved]);
    assert_eq!(rig.log.rounds(), 1);
    rig.happen(0, 50);
    rig.happen(1, 9);
    assert_eq!(rig.count_of(&event), 9);
}

/// 1. t is current on vCPU 0. The installer publishes its first context and reads "on vCPU 0".
/// 2. vCPU 0 switches t out.
/// 3. The call arrives on vCPU 0: t is not current (ESRCH).
/// 4. The installer finds under the lock that t does not run, and adds the event (N3).
/// 5. t migrates; vCPU 1 switches it in and sees the event.
#[test]
fn r01_the_event_is_added_before_the_task_runs_elsewhere() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    rig.run_task(0, &task);
    rig.before_call(|rig, _| rig.idle(0));
    rig.log.clear();
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Inactive);
    assert_eq!(rig.sent(), [0]);
    assert_eq!(rig.retries(), []);
    assert_eq!(rig.log.rounds(), 1);
    rig.perf.migrate(&task, V1).unwrap();
    rig.run_task(1, &task);
    assert_eq!(rig.state(&event), State::Active(V1));
    rig.happen(1, 9);
    assert_eq!(rig.count_of(&event), 9);
}

/// 1. t is current on vCPU 0. The installer publishes its first context and reads "on vCPU 0".
/// 2. vCPU 0 switches t out.
/// 3. The call arrives on vCPU 0: t is not current (ESRCH).
/// 4. t migrates; vCPU 1 switches it in, takes the context's lock first and finds no event.
/// 5. The installer finds under the lock that t runs (N3), looks again, and asks vCPU 1.
#[test]
fn r01_the_task_runs_elsewhere_before_the_lock_is_taken() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    rig.run_task(0, &task);
    rig.before_call(|rig, _| rig.idle(0));
    let moved = task.clone();
    rig.after_call(move |rig, _| {
        rig.perf.migrate(&moved, V1).unwrap();
        rig.run_task(1, &moved);
    });
    rig.log.clear();
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V1));
    assert_eq!(rig.sent(), [0, 1]);
    assert_eq!(rig.retries(), [Retry::Running]);
    assert_eq!(rig.log.rounds(), 2);
    rig.happen(1, 9);
    assert_eq!(rig.count_of(&event), 9);
}
