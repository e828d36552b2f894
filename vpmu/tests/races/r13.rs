// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R13: an event enabled for one overflow had it, and leaves its counter before irq work turns it
//! off. In one design of Linux that lost the trap. Here there is one trap and the event is OFF,
//! whatever it is that comes first.

use vpmu::context::{Event, State, Task, TrapCounts};

use crate::checks::*;
use crate::rig::*;

/// 1. The event overflows on vCPU 0: a trap is queued, OFF is to follow.
/// 2. `first` comes in between.
/// 3. Irq work runs.
/// 4. The task goes back to user mode: one trap, the event is OFF, nothing more was counted.
fn comes_first(first: impl FnOnce(&mut Rig, &Task, &Event)) -> (Rig, Event) {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping_when_enabled(10, 5), &task);
    rig.run_task(0, &task);
    rig.refresh(&event, 1).unwrap();
    rig.happen(0, 10);
    assert_eq!(rig.state(&event), State::Active(V0), "irq work is to come");
    rig.log.clear();
    first(&mut rig, &task, &event);
    assert_eq!(rig.moves(&event), (0, 1), "it left its counter for good");
    assert_eq!(rig.state(&event), State::Off);
    rig.cpu(0).irq_work();
    rig.happen(0, 500);
    assert_eq!(rig.drain_traps(0).len(), 1);
    let sent = TrapCounts {
        queued: 1,
        sent: 1,
        ..TrapCounts::default()
    };
    rig.check(&event, State::Off, 1, sent);
    assert_eq!(rig.perf.status(&event).unwrap().hups, 1);
    assert_eq!(rig.count_of(&event), 10);
    (rig, event)
}

#[test]
fn r13_a_switch_comes_first() {
    comes_first(|rig, task, _| {
        rig.idle(0);
        rig.run_task(0, task);
    });
}

/// Two flexible events wait for the one counter that is left, so that rotation has work.
#[test]
fn r13_a_rotation_comes_first() {
    comes_first(|rig, task, _| {
        rig.open_task(counting(), task);
        rig.open_task(counting(), task);
        rig.cpu(0).rotate();
    });
}

/// A pinned event that is opened displaces the flexible ones for a moment.
#[test]
fn r13_a_call_that_reschedules_comes_first() {
    comes_first(|rig, task, _| {
        rig.open_task(counting(), task);
        rig.open_task(pinned(), task);
    });
}

#[test]
fn r13_a_disable_comes_first() {
    let (mut rig, event) = comes_first(|rig, _, event| rig.disable(event).unwrap());
    rig.enable(&event).unwrap();
    rig.happen(0, 10);
    assert_eq!(rig.drain_traps(0).len(), 1);
}

/// Nothing comes first: irq work itself.
#[test]
fn r13_irq_work_comes_first() {
    comes_first(|rig, _, _| rig.cpu(0).irq_work());
}
