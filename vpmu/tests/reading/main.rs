// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reading groups.

#![cfg(all(feature = "context", not(any(loom, shuttle))))]
#![allow(clippy::disallowed_types, reason = "a test of one thread")]

#[path = "../context_rig/mod.rs"]
mod rig;

use vpmu::context::{Attr, Event, PerfError, Reading, State};

use rig::{Rig, cycles};

fn read_group(rig: &mut Rig, leader: &Event, room: usize) -> Result<Vec<u64>, PerfError> {
    let mut readings = vec![Reading::default(); room];
    let events = rig.perf.clone().read_group(leader, &mut readings, rig)?;
    readings.truncate(events);
    Ok(readings.into_iter().map(|reading| reading.count).collect())
}

#[test]
fn a_group_is_read_in_one_moment() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let leader = rig.open_task(Attr::counting(cycles()), &task);
    let mut members = vec![leader.clone()];
    for _ in 0..3 {
        let member = rig.open_in_group(Attr::counting(cycles()), &task, &leader);
        members.push(member.unwrap());
    }
    rig.run_task(0, &task);
    rig.happen(0, 100);
    // The guest goes on until each call arrives.
    for _ in 0..4 {
        rig.before_call(|rig, _| rig.cpu(0).source_mut().count(7));
    }
    assert_eq!(read_group(&mut rig, &leader, 4), Ok(vec![107; 4]));
    assert_eq!(rig.script_left(), 3, "one call for all of them");
    for member in &members {
        assert_eq!(read_group(&mut rig, member, 4).unwrap().len(), 4);
    }
}

#[test]
fn a_group_reads_what_was_inherited_as_well() {
    let mut rig = Rig::new(2, 2);
    let parent = rig.task(0);
    let attr = Attr {
        inherit: true,
        ..Attr::counting(cycles())
    };
    let leader = rig.open_task(attr, &parent);
    rig.open_in_group(attr, &parent, &leader).unwrap();
    rig.run_task(0, &parent);
    let (alive, dead) = (rig.fork(&parent), rig.fork(&parent));
    rig.happen(0, 1);
    rig.run_task(1, &dead);
    rig.happen(1, 10);
    rig.exit(&dead).unwrap();
    rig.run_task(1, &alive);
    rig.happen(1, 100);
    assert_eq!(read_group(&mut rig, &leader, 2), Ok(vec![111; 2]));
}

#[test]
fn a_buffer_that_is_too_short_is_told_how_long() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let leader = rig.open_task(Attr::counting(cycles()), &task);
    rig.open_in_group(Attr::counting(cycles()), &task, &leader)
        .unwrap();
    assert_eq!(read_group(&mut rig, &leader, 1), Err(PerfError::NoSpace(2)));
    assert_eq!(read_group(&mut rig, &leader, 3), Ok(vec![0; 2]));
}

#[test]
fn a_pinned_group_without_counters_reads_end_of_file() {
    let mut rig = Rig::new(1, 1);
    let task = rig.task(0);
    let pinned = Attr {
        pinned: true,
        ..Attr::counting(cycles())
    };
    let first = rig.open_task(pinned, &task);
    let second = rig.open_task(pinned, &task);
    rig.run_task(0, &task);
    assert_eq!(rig.perf.status(&second).unwrap().state, State::Error);
    assert_eq!(read_group(&mut rig, &second, 1), Ok(vec![]));
    assert_eq!(rig.read(&second), None);
    rig.happen(0, 5);
    assert_eq!(read_group(&mut rig, &first, 1), Ok(vec![5]));
    rig.close(&first).unwrap();
    rig.enable(&second).unwrap();
    assert_eq!(read_group(&mut rig, &second, 1), Ok(vec![0]));
}
