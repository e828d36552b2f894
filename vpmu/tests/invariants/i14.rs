// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I14: no overflow is lost and none is told twice: the law of traps holds to the unit.

use vpmu::context::TrapCounts;

use crate::checks::*;
use crate::rig::*;

#[test]
fn i14_every_overflow_is_accounted_for() {
    let mut rig = Rig::new(2, 4);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 7), &task);
    rig.run_task(0, &task);
    // One each.
    for _ in 0..3 {
        rig.happen(0, 10);
        assert_eq!(rig.drain_traps(0).len(), 1);
    }
    // Three at once, two more before it is delivered.
    rig.happen(0, 30);
    rig.happen(0, 20);
    let expected = TrapCounts {
        queued: 4,
        merged: 4,
        sent: 3,
        ..TrapCounts::default()
    };
    assert_eq!(rig.law(&event), expected);
    assert_eq!(rig.drain_traps(0).len(), 1);
    let expected = TrapCounts {
        sent: 4,
        ..expected
    };
    assert_eq!(rig.law(&event), expected);
    // Two that an exit drops, one that it finds.
    rig.happen(0, 20);
    rig.cpu(0).source_mut().count(10);
    rig.exit(&task).unwrap();
    let expected = TrapCounts {
        queued: 5,
        merged: 5,
        refused: 1,
        sent: 4,
        dropped: 1,
    };
    assert_eq!(rig.law(&event), expected);
    assert_eq!(rig.count_of(&event), 110);
    assert_eq!(rig.status(&event).overflows, 11);
}

/// The first address counts, whatever overflows before it is delivered.
#[test]
fn i14_a_merged_overflow_leaves_the_trap_as_it_is() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 7), &task);
    rig.run_task(0, &task);
    for addr in [0x10, 0x20, 0x30] {
        rig.cpu(0).source_mut().count(10);
        rig.cpu(0).count(user_at(addr));
    }
    let trap = rig.enter(0).unwrap();
    assert_eq!((trap.event, trap.addr), (event.id(), 0x10));
    assert_eq!(rig.law(&event).merged, 2);
}

/// Two events that overflow together trap one after the other; neither is swallowed.
#[test]
fn i14_no_event_swallows_the_trap_of_another() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let slow = rig.open_task(trapping(20, 1), &task);
    let fast = rig.open_task(trapping(10, 2), &task);
    rig.run_task(0, &task);
    rig.happen(0, 10);
    rig.happen(0, 10);
    let first = rig.enter(0).unwrap();
    assert_eq!((first.event, first.data), (fast.id(), 2));
    assert_eq!(rig.enter(0), None, "not before the first is acknowledged");
    rig.cpu(0).trap_done().unwrap();
    let second = rig.enter(0).unwrap();
    assert_eq!((second.event, second.data), (slow.id(), 1));
    rig.cpu(0).trap_done().unwrap();
    assert_eq!(rig.enter(0), None);
    assert_eq!((rig.law(&slow).sent, rig.law(&fast).sent), (1, 1));
}

#[test]
fn i14_stopping_and_closing_lose_no_trap() {
    let mut rig = Rig::new(2, 4);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 7), &task);
    rig.run_task(0, &task);
    for step in 0..6 {
        rig.cpu(0).source_mut().count(10);
        match step {
            0 => rig.disable(&event).unwrap(),
            1 => rig.set_period(&event, 10).unwrap(),
            2 => rig.reset(&event).unwrap(),
            3 => rig.refresh(&event, 0).unwrap(),
            4 => rig.exec(&task).unwrap(),
            _ => {}
        }
        let expected = usize::from(step != 5);
        rig.cpu(0).count(None);
        assert_eq!(rig.drain_traps(0).len(), expected, "step {step}");
        rig.enable(&event).unwrap();
    }
    assert_eq!(rig.law(&event).sent, 5);

    let event = rig.open_task(trapping(10, 8), &task);
    let traps = event.clone();
    rig.cpu(0).source_mut().count(10);
    rig.close(&event).unwrap();
    assert_eq!(rig.enter(0).map(|trap| trap.data), Some(8));
    let expected = TrapCounts {
        queued: 1,
        sent: 1,
        ..TrapCounts::default()
    };
    assert_eq!(traps.traps(), expected);
}
