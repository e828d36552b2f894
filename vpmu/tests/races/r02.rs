// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R2: the call goes to the vCPU that the task was on, not to the one that it is on. Where the task
//! is placed does not decide; whether it is current does.

use vpmu::context::{Retry, State};

use crate::checks::*;
use crate::rig::*;

/// 1. t is current on vCPU 0; the installer reads that.
/// 2. vCPU 0 switches to v, t migrates, vCPU 1 switches to t.
/// 3. The call arrives on vCPU 0, in the middle of v: retried (EAGAIN).
/// 4. vCPU 1 installs. v was counted by nobody.
#[test]
fn r02_a_stranger_runs_where_the_call_arrives() {
    let mut rig = Rig::new(2, 2);
    let (task, stranger) = (rig.task(0), rig.task(0));
    rig.run_task(0, &task);
    let (t, v) = (task.clone(), stranger.clone());
    rig.before_call(move |rig, _| {
        rig.run_task(0, &v);
        rig.perf.migrate(&t, V1).unwrap();
        rig.run_task(1, &t);
    });
    rig.log.clear();
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V1));
    assert_eq!(rig.sent(), [0, 1]);
    assert_eq!(rig.retries(), [Retry::Moved]);
    assert_eq!(rig.moves(&event), (1, 0), "on vCPU 1 alone");
    rig.happen(0, 1_000);
    rig.happen(1, 6);
    assert_eq!(rig.count_of(&event), 6);
}

/// 1. t is current on vCPU 0; the installer reads that.
/// 2. vCPU 0 switches t out; it is placed on vCPU 1 and does not run.
/// 3. The call arrives on vCPU 0: retried (EAGAIN).
/// 4. The installer finds that t does not run, and adds the event under the lock. vCPU 1 is not
///    asked.
#[test]
fn r02_the_task_is_placed_elsewhere_and_waits() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    rig.run_task(0, &task);
    let moved = task.clone();
    rig.before_call(move |rig, _| {
        rig.idle(0);
        rig.perf.migrate(&moved, V1).unwrap();
    });
    rig.log.clear();
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Inactive);
    assert_eq!(rig.sent(), [0]);
    assert_eq!(rig.retries(), [Retry::Moved]);
    assert_eq!(rig.log.rounds(), 1);
    rig.run_task(1, &task);
    rig.happen(1, 6);
    assert_eq!(rig.count_of(&event), 6);
}

/// 1. t is current on vCPU 0; the installer reads that.
/// 2. t goes to vCPU 1, runs, comes back and is current on vCPU 0 again.
/// 3. The call arrives on vCPU 0 and installs: the look was stale and right.
#[test]
fn r02_the_task_is_back_when_the_call_arrives() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    rig.run_task(0, &task);
    let moved = task.clone();
    rig.before_call(move |rig, _| {
        rig.idle(0);
        rig.run_task(1, &moved);
        rig.idle(1);
        rig.run_task(0, &moved);
    });
    rig.log.clear();
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V0));
    assert_eq!(rig.sent(), [0]);
    assert_eq!(rig.retries(), []);
    rig.happen(0, 6);
    assert_eq!(rig.count_of(&event), 6);
}

/// 1. t is current on vCPU 0; the installer reads that.
/// 2. vCPU 0 switches to v; t stays in its queue.
/// 3. The call arrives on vCPU 0, where t is placed and v runs: not installed (ESRCH).
/// 4. The event is added under the lock, and counts nothing of v.
#[test]
fn r02_a_stranger_runs_where_the_task_waits() {
    let mut rig = Rig::new(1, 2);
    let (task, stranger) = (rig.task(0), rig.task(0));
    rig.run_task(0, &task);
    let v = stranger.clone();
    rig.before_call(move |rig, _| rig.run_task(0, &v));
    rig.log.clear();
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Inactive);
    assert_eq!(rig.sent(), [0]);
    assert_eq!(rig.retries(), []);
    rig.happen(0, 1_000);
    rig.run_task(0, &task);
    rig.happen(0, 6);
    assert_eq!(rig.count_of(&event), 6);
}
