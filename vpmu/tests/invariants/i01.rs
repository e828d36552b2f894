// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I1: at the entry to the guest, every event of the current task that wants to count and may do so
//! here is on a counter of this vCPU; or there is none left for it, and then its turn will come.

use std::sync::Arc;

use vpmu::context::{Attr, Notice, State, Target};

use crate::checks::*;
use crate::rig::ground::Ground;
use crate::rig::*;

#[test]
fn i01_what_may_count_is_on_a_counter_at_entry() {
    let mut rig = Rig::new(2, 6);
    let mut ground = Ground::new(&rig);
    let task = rig.task(0);
    let plain = rig.open_task(counting(), &task);
    let first = rig.open_task(pinned(), &task);
    let off = rig.open_task(disabled(counting()), &task);
    let here = rig.open(counting(), Target::TaskOn(&task, V0)).unwrap();
    let there = rig.open(counting(), Target::TaskOn(&task, V1)).unwrap();
    let group = rig.open_in_group(counting(), &task, &plain).unwrap();
    let all = [&plain, &first, &off, &here, &there, &group];

    for (vcpu, expected) in [
        (0, [true, true, false, true, false, true]),
        (1, [true, true, false, false, true, true]),
        (0, [true, true, false, true, false, true]),
    ] {
        rig.run_task(vcpu, &task);
        rig.enter(vcpu);
        rig.audit();
        for (event, on) in all.into_iter().zip(expected) {
            rig.is_placed(&mut ground, event, on.then_some(vcpu));
        }
        rig.idle(vcpu);
        for event in all {
            rig.is_placed(&mut ground, event, None);
        }
    }
}

#[test]
fn i01_what_is_enabled_meanwhile_is_on_a_counter_at_the_next_entry() {
    let mut rig = Rig::new(1, 4);
    let mut ground = Ground::new(&rig);
    let task = rig.task(0);
    let off = rig.open_task(disabled(counting()), &task);
    rig.run_task(0, &task);
    rig.enter(0);
    rig.is_placed(&mut ground, &off, None);
    rig.enable(&off).unwrap();
    rig.enter(0);
    rig.audit();
    rig.is_placed(&mut ground, &off, Some(0));
}

#[test]
fn i01_who_found_no_counter_gets_a_turn() {
    let mut rig = Rig::new(1, 1);
    let task = rig.task(0);
    let one = rig.open_task(counting(), &task);
    rig.run_task(0, &task);
    assert!(!rig.cpu(0).arm().rotate);
    let other = rig.open_task(counting(), &task);
    rig.audit();
    assert_eq!(rig.state(&one), State::Active(V0));
    assert_eq!(rig.state(&other), State::Inactive);
    assert!(rig.cpu(0).arm().rotate);
    rig.cpu(0).rotate();
    rig.audit();
    assert_eq!(rig.state(&other), State::Active(V0));
}

#[test]
fn i01_what_a_leader_held_back_counts_when_the_leader_is_closed() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let leader = rig.open_task(disabled(counting()), &task);
    let sibling = rig.open_in_group(counting(), &task, &leader).unwrap();
    rig.run_task(0, &task);
    assert_eq!(rig.state(&sibling), State::Inactive);
    rig.close(&leader).unwrap();
    rig.audit();
    assert_eq!(rig.state(&sibling), State::Active(V0));
    rig.happen(0, 5);
    assert_eq!(rig.count_of(&sibling), 5);
}

#[test]
fn i01_what_a_leader_held_back_counts_when_the_leader_is_removed_by_exec() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let leader = rig.open_task(
        Attr {
            remove_on_exec: true,
            ..disabled(counting())
        },
        &task,
    );
    let sibling = rig.open_in_group(counting(), &task, &leader).unwrap();
    rig.run_task(0, &task);
    rig.exec(&task).unwrap();
    rig.audit();
    assert_eq!(rig.state(&leader), State::Exit);
    assert_eq!(rig.state(&sibling), State::Active(V0));
}

#[test]
fn i01_a_vcpu_does_not_forget_its_own_events() {
    let mut rig = Rig::new(1, 2);
    let diary = Arc::new(Diary::default());
    let event = rig.open_owned(sampling(10), Target::Vcpu(V0), &diary);
    rig.disable(&event).unwrap();
    rig.enable(&event).unwrap();
    rig.audit();
    rig.happen(0, 10);
    assert_eq!(diary.read(), [(event.id(), Notice::Overflow(1))]);
}

#[test]
fn i01_a_vcpus_event_gets_the_counter_that_a_task_leaves() {
    let mut rig = Rig::new(1, 1);
    let task = rig.task(0);
    rig.open_task(pinned(), &task);
    let machine = rig.open(counting(), Target::Vcpu(V0)).unwrap();
    assert_eq!(rig.state(&machine), State::Active(V0));
    rig.run_task(0, &task);
    assert_eq!(rig.state(&machine), State::Inactive);
    rig.idle(0);
    rig.audit();
    assert_eq!(rig.state(&machine), State::Active(V0));
}
