// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I20: disabling or closing an event disables no other one, but for the group that it leads, which
//! leaves the counters with it.

use vpmu::context::{Event, State};

use crate::checks::*;
use crate::rig::*;

fn stop(rig: &mut Rig, event: &Event, how: u32) {
    match how {
        0 => rig.disable(event).unwrap(),
        1 => rig.close(event).unwrap(),
        _ => {
            rig.refresh(event, 1).unwrap();
            rig.happen(0, 10);
            rig.enter(0);
            assert_eq!(rig.state(event), State::Off);
        }
    }
}

#[test]
fn i20_stopping_one_stops_no_other() {
    for running in [false, true] {
        for how in 0..3 {
            if how == 2 && !running {
                continue;
            }
            let mut rig = Rig::new(1, 6);
            let task = rig.task(0);
            let before = rig.open_task(counting(), &task);
            let event = rig.open_task(sampling(10), &task);
            let leader = rig.open_task(pinned(), &task);
            let sibling = rig.open_in_group(sampling(10), &task, &leader).unwrap();
            let twin = rig.open_in_group(counting(), &task, &leader).unwrap();
            if running {
                rig.run_task(0, &task);
            }
            for stopped in [&event, &sibling] {
                stop(&mut rig, stopped, how);
                for other in [&before, &leader, &twin] {
                    let state = rig.state(other);
                    let expected = if running {
                        State::Active(V0)
                    } else {
                        State::Inactive
                    };
                    assert_eq!(state, expected, "{how}");
                }
                rig.audit();
            }
        }
    }
}

#[test]
fn i20_a_leader_stops_its_group_without_disabling_it() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let leader = rig.open_task(counting(), &task);
    let sibling = rig.open_in_group(counting(), &task, &leader).unwrap();
    let other = rig.open_task(counting(), &task);
    rig.run_task(0, &task);
    rig.disable(&leader).unwrap();
    assert_eq!(rig.state(&leader), State::Off);
    assert_eq!(rig.state(&sibling), State::Inactive);
    assert_eq!(rig.state(&other), State::Active(V0));
    rig.enable(&leader).unwrap();
    assert_eq!(rig.state(&sibling), State::Active(V0));
    // Closed, it leaves each of them by itself.
    rig.close(&leader).unwrap();
    assert_eq!(rig.state(&sibling), State::Active(V0));
    rig.audit();
}
