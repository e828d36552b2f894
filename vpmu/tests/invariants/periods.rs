// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Periods: every so many counts one overflow, wherever they are counted.

use vpmu::Nanos;
use vpmu::context::Attr;

use crate::checks::*;
use crate::rig::*;

#[test]
fn overflows_are_a_period_apart() {
    let mut rig = Rig::new(2, 4);
    let task = rig.task(0);
    let event = rig.open_task(sampling(10), &task);
    let mut counted = 0;
    // The distance goes with the event from vCPU to vCPU.
    for (round, counts) in [3, 6, 1, 25, 4, 1, 100, 9].into_iter().enumerate() {
        let vcpu = u32::from(round % 2 == 1);
        rig.run_task(vcpu, &task);
        rig.happen(vcpu, counts);
        counted += counts;
        assert_eq!(rig.status(&event).overflows, counted / 10);
        rig.cpu(vcpu).arm();
        let armed = rig.cpu(vcpu).source().armed(0);
        assert_eq!(armed, Some(10 - counted % 10));
        rig.idle(vcpu);
    }
    assert_eq!(rig.count_of(&event), counted);
}

#[test]
fn a_new_period_begins_at_once() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let event = rig.open_task(sampling(10), &task);
    rig.run_task(0, &task);
    rig.happen(0, 9);
    // Counted before, but not looked at: by the old period.
    rig.cpu(0).source_mut().count(2);
    rig.set_period(&event, 100).unwrap();
    assert_eq!(rig.status(&event).overflows, 1);
    rig.happen(0, 99);
    assert_eq!(rig.status(&event).overflows, 1);
    rig.happen(0, 1);
    assert_eq!(rig.status(&event).overflows, 2);
    rig.set_period(&event, Attr::MAX_PERIOD).unwrap();
    rig.happen(0, Attr::MAX_PERIOD - 1);
    assert_eq!(rig.status(&event).overflows, 2);
    rig.happen(0, 1);
    assert_eq!(rig.status(&event).overflows, 3);
}

#[test]
fn a_reset_is_of_the_count_alone() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let event = rig.open_task(sampling(10), &task);
    rig.run_task(0, &task);
    rig.pass(5);
    rig.happen(0, 8);
    rig.cpu(0).source_mut().count(1);
    rig.reset(&event).unwrap();
    assert_eq!(rig.totals(&event), (0, Nanos(5), Nanos(5)));
    rig.happen(0, 1);
    assert_eq!(rig.status(&event).overflows, 1);
    assert_eq!(rig.count_of(&event), 1);
}

/// A child overflows by the period that its parent's event has now.
#[test]
fn a_period_is_inherited() {
    let mut rig = Rig::new(2, 4);
    let parent = rig.task(0);
    let event = rig.open_task(inherited(trapping(10, 1)), &parent);
    rig.set_period(&event, 20).unwrap();
    let child = rig.fork(&parent);
    rig.run_task(0, &child);
    rig.happen(0, 19);
    assert_eq!(rig.drain_traps(0), []);
    rig.happen(0, 1);
    assert_eq!(rig.drain_traps(0).len(), 1);
    rig.set_period(&event, 5).unwrap();
    rig.happen(0, 5);
    assert_eq!(rig.drain_traps(0).len(), 1);
    assert_eq!(event.traps().sent, 2);
}
