// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R19: a remove arrives in the middle of an overflow. The design excludes it: looking at a counter
//! and running a call both need the vCPU's [`Cpu`](vpmu::context::Cpu) for themselves, and a call is
//! run only when its thread hands it over. So the two are one after the other, and the tests show
//! what either order leaves (G4, I9).

use vpmu::context::TrapCounts;

use crate::checks::*;
use crate::rig::*;

/// 1. The event counts up to two overflows and 5 more on vCPU 0, and nobody looks.
/// 2. The remove comes first: it counts to the last, finds the overflows, and lets go.
/// 3. vCPU 0 looks: no overflow begins any more. One trap, the second was merged.
#[test]
fn r19_a_remove_finds_the_overflow_itself() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 5), &task);
    let beside = rig.open_task(counting(), &task);
    rig.run_task(0, &task);
    rig.cpu(0).source_mut().count(25);
    rig.log.clear();
    rig.close(&event).unwrap();
    assert_eq!(rig.sent(), [0]);
    assert_eq!(rig.moves(&event), (0, 1));
    let counts = |sent| TrapCounts {
        queued: 1,
        merged: 1,
        sent,
        ..TrapCounts::default()
    };
    assert_eq!(event.traps(), counts(0));
    rig.happen(0, 1_000);
    assert_eq!(event.traps(), counts(0));
    assert_eq!(rig.drain_traps(0).len(), 1);
    assert_eq!(event.traps(), counts(1));
    assert_eq!(rig.count_of(&beside), 1_025);
}

/// 1. The remove is on its way to vCPU 0, and the event counts up to an overflow.
/// 2. vCPU 0 looks first: a trap is queued.
/// 3. The remove is run: nothing is found twice.
#[test]
fn r19_an_overflow_before_the_remove_is_found_once() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.before_call(|rig, _| rig.happen(0, 10));
    rig.close(&event).unwrap();
    assert_eq!(rig.drain_traps(0).len(), 1);
    let sent = TrapCounts {
        queued: 1,
        sent: 1,
        ..TrapCounts::default()
    };
    assert_eq!(event.traps(), sent);
}
