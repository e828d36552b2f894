// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R10, the second seed: an overflow has left something to do, and another vCPU's ioctl takes the
//! event off its counter before that is done.

use vpmu::context::{State, TrapCounts};

use crate::checks::*;
use crate::rig::*;

/// 1. The event overflows on vCPU 0: a trap is queued.
/// 2. Another thread enables a pinned event of the same task; the call reschedules all of its
///    flexible events, this one among them.
/// 3. Irq work runs, and finds nothing of it.
/// 4. The task goes back to user mode: one trap. The event is ACTIVE, and the next overflow traps.
#[test]
fn r10_an_enable_does_not_eat_the_trap() {
    let mut rig = Rig::new(2, 1);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.happen(0, 10);
    rig.log.clear();
    let displaces = rig.open_task(pinned(), &task);
    assert_eq!(rig.moves(&event), (0, 1), "its only counter is taken");
    rig.disable(&displaces).unwrap();
    rig.cpu(0).rotate();
    assert_eq!(rig.moves(&event), (1, 1));
    rig.cpu(0).irq_work();
    let queued = TrapCounts {
        queued: 1,
        ..TrapCounts::default()
    };
    rig.check(&event, State::Active(V0), 1, queued);

    let trap = rig.enter(0).unwrap();
    assert_eq!((trap.task, trap.event), (task.id(), event.id()));
    rig.cpu(0).trap_done().unwrap();
    assert_eq!(rig.enter(0), None);
    rig.happen(0, 10);
    assert_eq!(rig.drain_traps(0).len(), 1);
    let sent = TrapCounts {
        queued: 2,
        sent: 2,
        ..TrapCounts::default()
    };
    rig.check(&event, State::Active(V0), 2, sent);
}

/// 1. The event, enabled for one overflow, overflows on vCPU 0: a trap is queued, the counter is
///    halted, OFF is to follow as irq work.
/// 2. Another thread enables the event. The call comes first: OFF now, then ACTIVE, without a
///    limit.
/// 3. Irq work runs, and must not turn it off.
/// 4. One trap; the event is ACTIVE, and the next overflows trap.
#[test]
fn r10_an_enable_at_the_limit_is_not_undone() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping_when_enabled(10, 5), &task);
    rig.run_task(0, &task);
    rig.refresh(&event, 1).unwrap();
    rig.happen(0, 10);
    rig.log.clear();
    rig.enable(&event).unwrap();
    assert_eq!(rig.sent(), [0]);
    rig.cpu(0).irq_work();
    assert_eq!(rig.state(&event), State::Active(V0));
    assert_eq!(rig.drain_traps(0).len(), 1);
    for _ in 0..2 {
        rig.happen(0, 10);
        assert_eq!(rig.drain_traps(0).len(), 1);
    }
    let sent = TrapCounts {
        queued: 3,
        sent: 3,
        ..TrapCounts::default()
    };
    rig.check(&event, State::Active(V0), 3, sent);
    assert_eq!(rig.perf.status(&event).unwrap().hups, 1);
    assert_eq!(rig.count_of(&event), 30);
}

/// The same with refresh: the limit that follows counts from anew.
#[test]
fn r10_a_refresh_at_the_limit_is_not_undone() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping_when_enabled(10, 5), &task);
    rig.run_task(0, &task);
    rig.refresh(&event, 1).unwrap();
    rig.happen(0, 10);
    rig.refresh(&event, 2).unwrap();
    rig.cpu(0).irq_work();
    assert_eq!(rig.state(&event), State::Active(V0));
    assert_eq!(rig.drain_traps(0).len(), 1);
    for left in [1, 0] {
        rig.happen(0, 10);
        assert_eq!(rig.perf.status(&event).unwrap().limit, left);
        assert_eq!(rig.drain_traps(0).len(), 1);
    }
    rig.cpu(0).irq_work();
    let sent = TrapCounts {
        queued: 3,
        sent: 3,
        ..TrapCounts::default()
    };
    rig.check(&event, State::Off, 3, sent);
    assert_eq!(rig.perf.status(&event).unwrap().hups, 2);
}
