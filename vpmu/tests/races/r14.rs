// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R14: a trap is on its way and its event is closed. The trap arrives all the same, and its event's
//! place is nobody else's until then.

use vpmu::context::{PerfError, TrapCounts};

use crate::rig::*;

/// 1. The event overflows at 0x100: a trap is queued.
/// 2. It is closed. Another one is opened on the same task, and overflows at 0x200.
/// 3. The task goes back to user mode: it gets the first one's trap, with the first one's data, and
///    then the second one's.
#[test]
fn r14_the_trap_of_a_closed_event_arrives() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let closed = rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.happen_at(0, 10, 0x100);
    rig.close(&closed).unwrap();
    assert_eq!(rig.perf.status(&closed), Err(PerfError::Closed));
    let second = rig.open_task(trapping(10, 6), &task);
    rig.happen_at(0, 10, 0x200);
    let traps = rig.drain_traps(0);
    let told = traps.iter().map(|trap| (trap.event, trap.addr, trap.data));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [(closed.id(), 0x100, 5), (second.id(), 0x200, 6)]
    );
    let sent = TrapCounts {
        queued: 1,
        sent: 1,
        ..TrapCounts::default()
    };
    assert_eq!((closed.traps(), second.traps()), (sent, sent));
    assert_eq!(rig.close(&closed), Err(PerfError::Closed));
}

/// 1. The event overflows, is closed, and with that the context is empty.
/// 2. The task is switched out, migrates and runs on vCPU 1.
/// 3. It gets the trap there.
#[test]
fn r14_the_trap_of_the_last_event_arrives_elsewhere() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    let closed = rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.happen(0, 10);
    rig.close(&closed).unwrap();
    rig.idle(0);
    rig.run_task(1, &task);
    assert_eq!(rig.enter(0), None);
    let trap = rig.enter(1).unwrap();
    assert_eq!((trap.task, trap.event), (task.id(), closed.id()));
    rig.cpu(1).trap_done().unwrap();
    assert_eq!(rig.enter(1), None);
}

/// 1. The event overflows and is closed.
/// 2. Its task exits before it was in user mode again: the trap is dropped, once.
#[test]
fn r14_the_trap_of_a_closed_event_is_dropped_with_its_task() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let closed = rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.happen(0, 10);
    rig.close(&closed).unwrap();
    rig.exit(&task).unwrap();
    assert_eq!(rig.enter(0), None);
    let dropped = TrapCounts {
        queued: 1,
        dropped: 1,
        ..TrapCounts::default()
    };
    assert_eq!(closed.traps(), dropped);
}
