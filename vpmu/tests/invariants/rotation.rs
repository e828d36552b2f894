// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! More groups than counters: they take turns, and the times say for how long.

use vpmu::Nanos;
use vpmu::context::{Event, Step, Target};

use crate::checks::*;
use crate::rig::*;

/// Lets the guest run for `turns` turns of 10 ns and 3 counts on vCPU 0.
fn turns(rig: &mut Rig, turns: u32) {
    for _ in 0..turns {
        rig.happen(0, 3);
        rig.pass(10);
        rig.cpu(0).rotate();
        rig.audit();
    }
}

#[track_caller]
fn ran(rig: &mut Rig, event: &Event, turns: u64, enabled: u64) {
    let times = (Nanos(10 * enabled), Nanos(10 * turns));
    assert_eq!(rig.totals(event), (3 * turns, times.0, times.1));
}

#[test]
fn groups_take_turns() {
    let mut rig = Rig::new(1, 1);
    let task = rig.task(0);
    let events: Vec<_> = (0..3).map(|_| rig.open_task(counting(), &task)).collect();
    rig.run_task(0, &task);
    turns(&mut rig, 30);
    for event in &events {
        ran(&mut rig, event, 10, 30);
        let reading = rig.read(event).unwrap();
        assert_eq!(reading.scaled(), Some(90), "what it would have counted");
    }
}

#[test]
fn two_counters_are_shared_by_three_groups() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let first = rig.open_task(pinned(), &task);
    let events: Vec<_> = (0..3).map(|_| rig.open_task(counting(), &task)).collect();
    rig.run_task(0, &task);
    turns(&mut rig, 30);
    ran(&mut rig, &first, 30, 30);
    for event in &events {
        ran(&mut rig, event, 10, 30);
    }
}

/// Who cannot count now does not use up turns of the others.
#[test]
fn turns_are_for_who_wants_to_count() {
    let mut rig = Rig::new(2, 1);
    let task = rig.task(0);
    let off = rig.open_task(disabled(counting()), &task);
    let elsewhere = rig.open(counting(), Target::TaskOn(&task, V1)).unwrap();
    let events: Vec<_> = (0..2).map(|_| rig.open_task(counting(), &task)).collect();
    rig.run_task(0, &task);
    turns(&mut rig, 40);
    for event in &events {
        ran(&mut rig, event, 20, 40);
    }
    assert_eq!(rig.times(&off), (0, 0));
    assert_eq!(rig.times(&elsewhere), (400, 0));
}

#[test]
fn the_vcpus_own_groups_take_turns_in_front_of_the_tasks() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let machine: Vec<_> = (0..3)
        .map(|_| rig.open(counting(), Target::Vcpu(V0)).unwrap())
        .collect();
    let event = rig.open_task(counting(), &task);
    rig.run_task(0, &task);
    turns(&mut rig, 30);
    for event in &machine {
        ran(&mut rig, event, 20, 30);
    }
    ran(&mut rig, &event, 0, 30);
    rig.close(&machine[0]).unwrap();
    rig.close(&machine[1]).unwrap();
    turns(&mut rig, 30);
    let (_, running) = rig.times(&event);
    assert!(
        running >= 290,
        "it waits for one rotation at most: {running}"
    );
}

#[test]
fn nobody_rotates_without_need() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let events: Vec<_> = (0..2).map(|_| rig.open_task(counting(), &task)).collect();
    rig.run_task(0, &task);
    rig.log.clear();
    turns(&mut rig, 5);
    let moved = |step: &Step| matches!(step, Step::Rotate | Step::SlotOut(_));
    assert_eq!(rig.log.count(moved), 0);
    let third = rig.open_task(counting(), &task);
    assert!(rig.cpu(0).arm().rotate);
    rig.close(&third).unwrap();
    turns(&mut rig, 1);
    assert!(!rig.cpu(0).arm().rotate);
    for event in &events {
        ran(&mut rig, event, 6, 6);
    }
}
