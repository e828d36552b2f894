// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R18: an event reaches its limit on vCPU 0, moves, and reaches another one on vCPU 1, while
//! vCPU 0's irq work still has not run. There is no queue of irq work to be in twice: it is what is
//! on a vCPU's counters when it runs (V3).

use vpmu::context::{State, TrapCounts};

use crate::checks::*;
use crate::rig::*;

/// 1. The event, enabled for one overflow, overflows on vCPU 0.
/// 2. t is switched out: OFF. It is enabled for one overflow more.
/// 3. t runs on vCPU 1, takes its trap, and the event overflows there.
/// 4. vCPU 0's irq work runs: the event is still on vCPU 1's counter.
/// 5. vCPU 1's irq work runs: OFF. Two overflows, two traps, two hang-ups.
#[test]
fn r18_each_vcpu_does_its_own_irq_work() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping_when_enabled(10, 5), &task);
    rig.open(counting(), vpmu::context::Target::Vcpu(V0))
        .unwrap();
    rig.run_task(0, &task);
    rig.refresh(&event, 1).unwrap();
    rig.happen(0, 10);
    rig.idle(0);
    rig.refresh(&event, 1).unwrap();
    rig.perf.migrate(&task, V1).unwrap();
    rig.run_task(1, &task);
    assert_eq!(rig.drain_traps(1).len(), 1);
    rig.happen(1, 10);
    rig.cpu(0).irq_work();
    assert_eq!(rig.state(&event), State::Active(V1));
    rig.cpu(1).irq_work();
    assert_eq!(rig.drain_traps(1).len(), 1);
    let sent = TrapCounts {
        queued: 2,
        sent: 2,
        ..TrapCounts::default()
    };
    rig.check(&event, State::Off, 2, sent);
    let status = rig.perf.status(&event).unwrap();
    assert_eq!((status.hups, status.limit), (2, 0));
    assert_eq!(rig.count_of(&event), 20);
}
