// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R16: whoever closes an event must not wait for its trap: the closer may be the very task that
//! would take it, or wait in turn for somebody who waits for the closer. Nobody waits (T2): the rig
//! panics if anybody does.

use vpmu::context::{Step, TrapCounts};

use crate::checks::*;
use crate::rig::*;

const ONE_SENT: TrapCounts = TrapCounts {
    queued: 1,
    merged: 0,
    refused: 0,
    sent: 1,
    dropped: 0,
};

/// 1. t overflows on vCPU 0: a trap for t is queued.
/// 2. t itself closes the event, in a system call, before it is in user mode again.
/// 3. The close returns; on its way to user mode t takes the trap.
#[test]
fn r16_a_task_closes_what_will_trap_it() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.happen(0, 10);
    rig.here = Some(V0);
    rig.close(&event).unwrap();
    assert_eq!(event.traps().sent, 0);
    assert_eq!(rig.drain_traps(0).len(), 1);
    assert_eq!(event.traps(), ONE_SENT);
}

/// 1. t overflows on vCPU 0 and u on vCPU 1: each has a trap on its way.
/// 2. t closes u's event: the call is on its way to vCPU 1.
/// 3. u closes t's event before that call is run, from within vCPU 1.
/// 4. Both closes return; then both tasks take their traps.
#[test]
fn r16_two_tasks_close_each_others_events() {
    let mut rig = Rig::new(2, 2);
    let (t, u) = (rig.task(0), rig.task(1));
    let of_t = rig.open_task(trapping(10, 5), &t);
    let of_u = rig.open_task(trapping(10, 6), &u);
    rig.run_task(0, &t);
    rig.run_task(1, &u);
    rig.happen(0, 10);
    rig.happen(1, 10);
    rig.here = Some(V0);
    let other = of_t.clone();
    rig.before_call(move |rig, called| {
        assert_eq!(called, V1);
        rig.here = Some(V1);
        rig.close(&other).unwrap();
        rig.here = Some(V0);
    });
    rig.log.clear();
    rig.close(&of_u).unwrap();
    assert_eq!(rig.sent(), [1, 0]);
    assert_eq!(rig.log.count(|step| *step == Step::Close), 2);
    let traps = [rig.drain_traps(0), rig.drain_traps(1)];
    let told = traps.map(|traps| {
        assert_eq!(traps.len(), 1);
        (traps[0].task, traps[0].event, traps[0].data)
    });
    assert_eq!(told, [(t.id(), of_t.id(), 5), (u.id(), of_u.id(), 6)]);
    assert_eq!((of_t.traps(), of_u.traps()), (ONE_SENT, ONE_SENT));
}
