// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I2: at the entry to the guest, no event of another task than the current one is on a counter
//! there.

use crate::checks::*;
use crate::rig::ground::Ground;
use crate::rig::*;

#[test]
fn i02_no_event_of_another_task_is_on_a_counter() {
    let mut rig = Rig::new(2, 4);
    let mut ground = Ground::new(&rig);
    let tasks = [rig.task(0), rig.task(0), rig.task(0)];
    let events = [&tasks[0], &tasks[1]].map(|task| {
        let plain = rig.open_task(counting(), task);
        let first = rig.open_task(pinned(), task);
        [plain, first]
    });
    // The third one has no events: nothing comes in, and all the same everything goes out.
    for (next, counts) in [(0, 3), (1, 5), (0, 7), (2, 11), (1, 13)] {
        rig.run_task(0, &tasks[next]);
        rig.enter(0);
        rig.audit();
        for (owner, events) in events.iter().enumerate() {
            for event in events {
                rig.is_placed(&mut ground, event, (owner == next).then_some(0));
            }
        }
        rig.happen(0, counts);
    }
    assert_eq!(
        events[0].each_ref().map(|event| rig.count_of(event)),
        [10; 2]
    );
    assert_eq!(
        events[1].each_ref().map(|event| rig.count_of(event)),
        [18; 2]
    );
}

#[test]
fn i02_traded_events_are_those_of_the_current_task() {
    let mut rig = Rig::new(2, 4);
    let (parent, child, events) = rig.family(&[counting()]);
    rig.run_task(0, &parent);
    rig.happen(0, 3);
    rig.run_task(0, &child);
    assert_eq!(rig.swaps(), 1);
    rig.audit();
    rig.happen(0, 4);
    rig.run_task(1, &parent);
    rig.audit();
    rig.happen(1, 5);
    assert_eq!(rig.count_of(&events[0]), 12);
    // The child's events are the ones that are on vCPU 0, wherever they came from.
    rig.exit(&child).unwrap();
    rig.audit();
    rig.happen(0, 100);
    rig.happen(1, 6);
    assert_eq!(rig.count_of(&events[0]), 18);
}
