// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I15: a context is kept with its task by as many traps as are on their way, and by none when all
//! is quiet.

use vpmu::context::{Event, Task};

use crate::rig::*;

#[test]
fn i15_what_keeps_a_context_are_the_traps_on_their_way() {
    let mut rig = Rig::new(1, 4);
    let attrs = [trapping(10, 1), trapping(20, 2), trapping(30, 3)];
    let (parent, child, events) = rig.family(&attrs);
    rig.run_task(0, &parent);
    let pending = |rig: &Rig| {
        let on_its_way = |event: &&Event| rig.status(event).pending;
        events.iter().filter(on_its_way).count()
    };
    for (counts, expected) in [(10, 1), (10, 2), (10, 3), (60, 3)] {
        rig.happen(0, counts);
        rig.audit();
        assert_eq!(pending(&rig), expected);
    }
    let switch = |rig: &mut Rig, to: &Task| {
        rig.log.clear();
        rig.run_task(0, to);
        rig.audit();
        rig.swaps()
    };
    for left in [2, 1, 0] {
        assert_eq!(switch(&mut rig, &child), 0);
        assert_eq!(switch(&mut rig, &parent), 0);
        assert!(rig.enter(0).is_some());
        rig.cpu(0).trap_done().unwrap();
        assert_eq!(pending(&rig), left);
    }
    assert_eq!(switch(&mut rig, &child), 1);
    assert_eq!(switch(&mut rig, &parent), 1);
}

/// After the last trap was delivered, the next overflow traps again.
#[test]
fn i15_a_delivered_trap_is_not_on_its_way_any_more() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 1), &task);
    rig.run_task(0, &task);
    for n in 1..4 {
        rig.happen(0, 10);
        assert!(rig.status(&event).pending);
        assert!(rig.enter(0).is_some());
        // Handed over, not acknowledged: it is the guest's now.
        assert!(!rig.status(&event).pending);
        rig.cpu(0).trap_done().unwrap();
        let traps = rig.law(&event);
        assert_eq!((traps.queued, traps.merged, traps.sent), (n, 0, n));
    }
}
