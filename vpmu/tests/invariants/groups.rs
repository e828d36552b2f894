// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Groups: on counters as a whole or not at all, and what is done to all of one.

use vpmu::Nanos;
use vpmu::context::{Event, Reading, State, Step, Target, Task};

use crate::checks::*;
use crate::rig::*;

fn group(rig: &mut Rig, task: &Task, siblings: usize) -> (Event, Vec<Event>) {
    let leader = rig.open_task(counting(), task);
    let siblings = (0..siblings)
        .map(|_| rig.open_in_group(counting(), task, &leader).unwrap())
        .collect();
    (leader, siblings)
}

#[test]
fn a_group_goes_onto_counters_as_a_whole() {
    let mut rig = Rig::new(1, 3);
    let task = rig.task(0);
    let (leader, siblings) = group(&mut rig, &task, 1);
    let (second, others) = group(&mut rig, &task, 1);
    rig.run_task(0, &task);
    rig.audit();
    // There is a counter left, but half a group is none.
    for (round, on) in [true, false, true].into_iter().enumerate() {
        for event in [&leader, &siblings[0]] {
            assert_eq!(rig.state(event) == State::Active(V0), on, "round {round}");
        }
        for event in [&second, &others[0]] {
            assert_eq!(rig.state(event) == State::Active(V0), !on, "round {round}");
        }
        rig.happen(0, 10);
        rig.audit();
        rig.cpu(0).rotate();
    }
    for event in [&leader, &siblings[0]] {
        assert_eq!(rig.count_of(event), 20);
    }
    for event in [&second, &others[0]] {
        assert_eq!(rig.count_of(event), 10);
    }
}

/// What was put onto a counter before the group turned out not to fit never counted.
#[test]
fn a_group_that_does_not_fit_leaves_no_trace() {
    let mut rig = Rig::new(1, 2);
    rig.open(pinned(), Target::Vcpu(V0)).unwrap();
    let task = rig.task(0);
    let (leader, siblings) = group(&mut rig, &task, 1);
    rig.run_task(0, &task);
    rig.pass(10);
    rig.happen(0, 10);
    rig.audit();
    let fallen = rig.log.count(|step| matches!(step, Step::SlotOut(_)));
    assert!(fallen >= 1, "it was tried");
    for event in [&leader, &siblings[0]] {
        assert_eq!(rig.state(event), State::Inactive);
        assert_eq!(rig.totals(event), (0, Nanos(10), Nanos(0)));
    }
}

#[test]
fn a_sibling_counts_with_its_leader_only() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let leader = rig.open_task(disabled(counting()), &task);
    let sibling = rig
        .open_in_group(disabled(counting()), &task, &leader)
        .unwrap();
    rig.run_task(0, &task);
    rig.enable(&sibling).unwrap();
    assert_eq!(rig.state(&sibling), State::Inactive);
    rig.pass(10);
    assert_eq!(rig.times(&sibling), (0, 0), "its leader is off");
    rig.enable(&leader).unwrap();
    rig.audit();
    assert_eq!(rig.state(&sibling), State::Active(V0));
    rig.pass(10);
    rig.disable(&sibling).unwrap();
    rig.pass(10);
    assert_eq!(rig.times(&sibling), (10, 10));
    assert_eq!(rig.times(&leader), (20, 20));
    rig.enable(&sibling).unwrap();
    rig.pass(10);
    rig.disable(&leader).unwrap();
    rig.pass(10);
    assert_eq!(rig.times(&sibling), (20, 20));
    assert_eq!(rig.times(&leader), (30, 30));
}

/// Its time begins when the leader that was off goes, not when anybody looked at the clock last.
#[test]
fn a_sibling_that_is_left_alone_begins_then() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let leader = rig.open_task(disabled(counting()), &task);
    let sibling = rig.open_in_group(counting(), &task, &leader).unwrap();
    rig.run_task(0, &task);
    rig.pass(5);
    rig.close(&leader).unwrap();
    rig.pass(7);
    assert_eq!(rig.totals(&sibling), (0, Nanos(7), Nanos(7)));
}

#[test]
fn what_is_done_to_a_group_is_done_to_each() {
    let mut rig = Rig::new(2, 4);
    let task = rig.task(0);
    let leader = rig.open_task(disabled(inherited(counting())), &task);
    let attr = disabled(inherited(counting()));
    let sibling = rig.open_in_group(attr, &task, &leader).unwrap();
    let alone = rig.open_task(attr, &task);
    let child = rig.fork(&task);
    rig.run_task(0, &task);
    rig.run_task(1, &child);
    let perf = rig.perf.clone();
    perf.enable_group(&leader, &mut rig).unwrap();
    rig.audit();
    rig.happen(0, 3);
    rig.happen(1, 4);
    let mut readings = [Reading::default(); 2];
    assert_eq!(perf.read_group(&leader, &mut readings, &mut rig), Ok(2));
    assert_eq!(readings.map(|reading| reading.count), [7, 7]);
    perf.disable_group(&sibling, &mut rig).unwrap();
    rig.happen(0, 100);
    rig.happen(1, 100);
    for event in [&leader, &sibling] {
        assert_eq!(rig.state(event), State::Off);
        assert_eq!(rig.count_of(event), 7);
    }
    perf.reset_group(&leader, &mut rig).unwrap();
    assert_eq!(rig.count_of(&leader), 0);
    assert_eq!(rig.count_of(&sibling), 0);
    assert_eq!(rig.state(&alone), State::Off);
    assert_eq!(rig.count_of(&alone), 0);
}

#[test]
fn an_inherited_group_is_a_group() {
    let mut rig = Rig::new(1, 3);
    let task = rig.task(0);
    let leader = rig.open_task(inherited(counting()), &task);
    let sibling = rig
        .open_in_group(inherited(counting()), &task, &leader)
        .unwrap();
    let child = rig.fork(&task);
    rig.exit(&task).unwrap();
    rig.run_task(0, &child);
    rig.audit();
    rig.happen(0, 3);
    rig.open(pinned(), Target::Vcpu(V0)).unwrap();
    rig.happen(0, 3);
    // One of the three counters is left for it now, after this.
    rig.open(pinned(), Target::Vcpu(V0)).unwrap();
    rig.happen(0, 100);
    rig.audit();
    assert_eq!((rig.count_of(&leader), rig.count_of(&sibling)), (6, 6));
}
