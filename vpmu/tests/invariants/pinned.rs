// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Pinned groups always count, or else are in the ERROR state until somebody enables them.

use vpmu::Nanos;
use vpmu::context::{Event, Reading, State, Step, Target};

use crate::checks::*;
use crate::rig::*;

#[test]
fn a_pinned_group_that_finds_no_counter_is_in_error_until_it_is_enabled() {
    let mut rig = Rig::new(2, 1);
    let machine = rig.open(pinned(), Target::Vcpu(V0)).unwrap();
    let task = rig.task(0);
    let event = rig.open_task(pinned(), &task);
    rig.run_task(1, &task);
    rig.happen(1, 3);
    rig.pass(10);
    rig.idle(1);
    rig.run_task(0, &task);
    rig.audit();
    assert_eq!(rig.state(&event), State::Error);
    assert_eq!(rig.log.count(|step| *step == Step::Failed), 1);
    assert_eq!(rig.read(&event), None, "end of file");
    let perf = rig.perf.clone();
    let mut readings = [Reading::default(); 1];
    assert_eq!(perf.read_group(&event, &mut readings, &mut rig), Ok(0));
    rig.pass(10);
    // Neither another vCPU, nor rotation, nor a free counter revives it.
    rig.idle(0);
    rig.run_task(1, &task);
    rig.cpu(1).rotate();
    rig.happen(1, 100);
    assert_eq!(rig.state(&event), State::Error);
    rig.idle(1);
    rig.run_task(0, &task);
    rig.enable(&event).unwrap();
    assert_eq!(rig.state(&event), State::Error, "there is still none");
    rig.close(&machine).unwrap();
    assert_eq!(rig.state(&event), State::Error);
    rig.enable(&event).unwrap();
    rig.audit();
    assert_eq!(rig.state(&event), State::Active(V0));
    rig.happen(0, 4);
    rig.pass(10);
    assert_eq!(rig.totals(&event), (7, Nanos(20), Nanos(20)));
}

#[test]
fn disabling_ends_an_error_as_well() {
    let mut rig = Rig::new(1, 1);
    rig.open(pinned(), Target::Vcpu(V0)).unwrap();
    let task = rig.task(0);
    let event = rig.open_task(pinned(), &task);
    rig.run_task(0, &task);
    // It is less than OFF already.
    rig.disable(&event).unwrap();
    assert_eq!(rig.state(&event), State::Error);
    rig.idle(0);
    rig.enable(&event).unwrap();
    assert_eq!(rig.state(&event), State::Inactive);
    rig.disable(&event).unwrap();
    assert_eq!(rig.state(&event), State::Off);
    assert_eq!(rig.count_of(&event), 0);
}

/// The vCPU's pinned groups, then the task's, then the vCPU's others, then the task's others.
#[test]
fn who_is_in_front_is_displaced_by_nobody_behind() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    rig.run_task(0, &task);
    let last = rig.open_task(counting(), &task);
    let machine = rig.open(counting(), Target::Vcpu(V0)).unwrap();
    let on = |rig: &Rig, events: &[&Event]| {
        let is_active = |event: &&Event| rig.state(event) == State::Active(V0);
        events.iter().map(is_active).collect::<Vec<_>>()
    };
    assert_eq!(on(&rig, &[&last, &machine]), [true, true]);
    let own = rig.open_task(pinned(), &task);
    rig.audit();
    assert_eq!(on(&rig, &[&own, &machine, &last]), [true, true, false]);
    let first = rig.open(pinned(), Target::Vcpu(V0)).unwrap();
    rig.audit();
    assert_eq!(
        on(&rig, &[&first, &own, &machine, &last]),
        [true, true, false, false]
    );
    // The other way round: nobody makes room for who comes behind.
    let late = rig.open_task(counting(), &task);
    rig.audit();
    assert_eq!(on(&rig, &[&first, &own, &late]), [true, true, false]);
    assert!(rig.cpu(0).arm().rotate);
    // When the one in front goes, who waits gets its turn.
    rig.close(&first).unwrap();
    rig.close(&own).unwrap();
    rig.cpu(0).rotate();
    rig.audit();
    let waiting = [&machine, &last, &late];
    assert_eq!(on(&rig, &waiting).iter().filter(|on| **on).count(), 2);
}
