// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I13: a trap goes to the task that was current when its event overflowed, before the next
//! instruction of that task in user mode.

use vpmu::Nanos;
use vpmu::context::PerfConfig;

use crate::checks::*;
use crate::rig::*;

#[test]
fn i13_a_trap_comes_before_the_next_instruction() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 7), &task);
    rig.run_task(0, &task);
    for n in 1..5 {
        assert_eq!(rig.enter(0), None);
        rig.cpu(0).source_mut().count(10);
        rig.cpu(0).count(user_at(0x1000 + n));
        let trap = rig.enter(0).expect("before it goes on");
        assert_eq!(
            (trap.task, trap.event, trap.data, trap.addr),
            (task.id(), event.id(), 7, 0x1000 + n)
        );
        rig.cpu(0).trap_done().unwrap();
        assert_eq!(rig.law(&event).sent, n);
    }
}

#[test]
fn i13_a_trap_finds_its_task_wherever_that_goes() {
    let mut rig = Rig::new(2, 4);
    let [task, other] = [rig.task(0), rig.task(0)];
    let own = rig.open_task(trapping(10, 1), &task);
    let others = rig.open_task(trapping(10, 2), &other);
    rig.run_task(0, &task);
    // The switch itself finds it.
    rig.cpu(0).source_mut().count(10);
    rig.run_task(0, &other);
    assert_eq!(rig.enter(0), None);
    rig.happen(0, 10);
    assert_eq!(rig.enter(0).map(|trap| trap.event), Some(others.id()));
    rig.run_task(1, &task);
    let trap = rig.enter(1).expect("it was waiting for its task");
    assert_eq!((trap.task, trap.event), (task.id(), own.id()));
    assert_eq!(rig.enter(0), None);
    assert_eq!((rig.law(&own).sent, rig.law(&others).sent), (1, 1));
}

/// Two copies trade contexts at a switch, but not an overflow that is still held back.
#[test]
fn i13_what_is_held_back_goes_to_who_ran() {
    let mut rig = Rig::with(PerfConfig {
        interval: Nanos(1_000),
        ..PerfConfig::new(1)
    });
    let (parent, child, events) = rig.family(&[trapping(10, 1)]);
    rig.run_task(0, &parent);
    rig.pass(1);
    rig.happen(0, 10);
    assert_eq!(rig.drain_traps(0).len(), 1);
    rig.happen(0, 10);
    assert_eq!(rig.drain_traps(0).len(), 0);
    assert_eq!(rig.status(&events[0]).throttled, 1);
    rig.run_task(0, &child);
    rig.pass(5_000);
    assert_eq!(rig.enter(0), None);
    rig.run_task(0, &parent);
    assert_eq!(rig.enter(0).map(|trap| trap.task), Some(parent.id()));
}
