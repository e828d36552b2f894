// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I6: an event is ACTIVE if and only if it is on a counter, and on one only; a task's events are
//! scheduled by one vCPU at most.

use vpmu::context::Target;

use crate::checks::*;
use crate::rig::ground::Ground;
use crate::rig::*;

#[test]
fn i06_active_is_being_on_one_counter() {
    let mut rig = Rig::new(3, 2);
    let mut ground = Ground::new(&rig);
    let tasks = [rig.task(0), rig.task(1)];
    let events = [&tasks[0], &tasks[1]].map(|task| {
        let leader = rig.open_task(counting(), task);
        let sibling = rig.open_in_group(counting(), task, &leader).unwrap();
        [leader, sibling]
    });
    let machine = rig.open(pinned(), Target::Vcpu(V1)).unwrap();
    rig.is_placed(&mut ground, &machine, Some(1));

    // A group of two does not fit beside what is pinned on vCPU 1.
    for (vcpu, task, fits) in [(0, 0, true), (1, 1, false), (2, 1, true), (1, 0, false)] {
        for other in 0..3 {
            let current = rig.cpu(other).current().cloned();
            if current.is_some_and(|current| current.id() == tasks[task].id()) {
                rig.idle(other);
            }
        }
        rig.run_task(vcpu, &tasks[task]);
        for event in &events[task] {
            rig.is_placed(&mut ground, event, fits.then_some(vcpu));
        }
        rig.is_placed(&mut ground, &machine, Some(1));
        rig.audit();
    }
    rig.disable(&events[1][0]).unwrap();
    rig.is_placed(&mut ground, &events[1][0], None);
    rig.is_placed(&mut ground, &events[1][1], None);
    rig.offline(1).unwrap();
    rig.is_placed(&mut ground, &machine, None);
    assert_eq!(ground.on_counters(), 0);
}
