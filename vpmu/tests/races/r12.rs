// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R12: an overflow on vCPU 0, and the task runs on vCPU 1 before vCPU 0's irq work. Nothing has to
//! be forwarded: what leaves its counter at its limit goes OFF there and then (V3).

use vpmu::context::{State, TrapCounts};

use crate::checks::*;
use crate::rig::*;

const ONE_SENT: TrapCounts = TrapCounts {
    queued: 1,
    merged: 0,
    refused: 0,
    sent: 1,
    dropped: 0,
};

/// 1. The event overflows on vCPU 0: a trap is queued.
/// 2. t is switched out, migrates and becomes current on vCPU 1; the event is ACTIVE there.
/// 3. vCPU 0's irq work runs: the event is not touched.
/// 4. t goes to user mode on vCPU 1: one trap. vCPU 0 has none.
#[test]
fn r12_the_trap_follows_its_task() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.happen(0, 10);
    rig.idle(0);
    rig.perf.migrate(&task, V1).unwrap();
    rig.run_task(1, &task);
    rig.cpu(0).irq_work();
    assert_eq!(rig.enter(0), None);
    assert_eq!(rig.state(&event), State::Active(V1));
    assert_eq!(rig.enter(1).unwrap().task, task.id());
    rig.cpu(1).trap_done().unwrap();
    assert_eq!(rig.enter(1), None);
    rig.check(&event, State::Active(V1), 1, ONE_SENT);
}

/// 1. The event, enabled for one overflow, overflows on vCPU 0.
/// 2. t is switched out, and the event goes OFF with it.
/// 3. t becomes current on vCPU 1: the event stays OFF, no counter of vCPU 1 is used.
/// 4. Irq work on both: nothing. One trap, on vCPU 1.
#[test]
fn r12_the_limit_holds_on_the_other_vcpu() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping_when_enabled(10, 5), &task);
    rig.run_task(0, &task);
    rig.refresh(&event, 1).unwrap();
    rig.happen(0, 10);
    assert_eq!(rig.state(&event), State::Active(V0), "irq work is to come");
    rig.idle(0);
    assert_eq!(rig.state(&event), State::Off);
    rig.perf.migrate(&task, V1).unwrap();
    rig.log.clear();
    rig.run_task(1, &task);
    rig.cpu(0).irq_work();
    rig.cpu(1).irq_work();
    assert_eq!(rig.moves(&event), (0, 0));
    rig.happen(1, 100);
    assert_eq!(rig.drain_traps(0).len(), 0);
    assert_eq!(rig.drain_traps(1).len(), 1);
    rig.check(&event, State::Off, 1, ONE_SENT);
    assert_eq!(rig.count_of(&event), 10);
}

/// 1. The event, enabled for one overflow, overflows on vCPU 0.
/// 2. t is switched out: OFF. It is enabled again, and t becomes current on vCPU 1.
/// 3. vCPU 0's irq work, late, runs: the event stays ACTIVE on vCPU 1.
#[test]
fn r12_late_irq_work_does_not_disable_elsewhere() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping_when_enabled(10, 5), &task);
    let stays = rig
        .open(counting(), vpmu::context::Target::Vcpu(V0))
        .unwrap();
    rig.run_task(0, &task);
    rig.refresh(&event, 1).unwrap();
    rig.happen(0, 10);
    rig.idle(0);
    rig.enable(&event).unwrap();
    rig.perf.migrate(&task, V1).unwrap();
    rig.run_task(1, &task);
    rig.cpu(0).irq_work();
    rig.cpu(1).irq_work();
    assert_eq!(rig.state(&event), State::Active(V1));
    assert_eq!(rig.state(&stays), State::Active(V0));
    rig.happen(1, 10);
    assert_eq!(rig.perf.status(&event).unwrap().overflows, 2);
}
