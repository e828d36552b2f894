// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R15: a task that exits overflows once more. It will not be in user mode again, so no trap is
//! queued (T4); the overflow is counted as refused, and nothing is left behind.

use vpmu::context::{State, Step, TrapCounts};

use crate::rig::*;

/// 1. t counts up to two overflows on vCPU 0, and nobody looks.
/// 2. t exits: the queue is closed first, then the counters are looked at.
/// 3. Both overflows are refused; the count is complete.
#[test]
fn r15_an_overflow_after_the_queue_is_closed_is_refused() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.cpu(0).source_mut().count(25);
    rig.log.clear();
    rig.exit(&task).unwrap();
    let refused = TrapCounts {
        refused: 2,
        ..TrapCounts::default()
    };
    rig.check(&event, State::Exit, 2, refused);
    assert_eq!(rig.log.count(|step| *step == Step::TrapQueued), 0);
    assert_eq!(rig.log.count(|step| *step == Step::TrapsDropped(0)), 1);
    assert_eq!(rig.enter(0), None);
    assert_eq!(rig.count_of(&event), 25);
    rig.close(&event).unwrap();
    assert_eq!(event.traps(), refused);
}

/// 1. t overflows on vCPU 0: a trap is queued. It counts up to one overflow more.
/// 2. t exits: the trap is dropped, the overflow refused.
#[test]
fn r15_a_trap_on_its_way_is_dropped() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.happen(0, 10);
    rig.cpu(0).source_mut().count(10);
    rig.log.clear();
    rig.exit(&task).unwrap();
    let counts = TrapCounts {
        queued: 1,
        refused: 1,
        dropped: 1,
        ..TrapCounts::default()
    };
    rig.check(&event, State::Exit, 2, counts);
    assert_eq!(rig.log.count(|step| *step == Step::TrapsDropped(1)), 1);
    assert_eq!(rig.enter(0), None);
    rig.idle(0);
    assert_eq!(rig.perf.status(&event).unwrap().traps, counts);
}
