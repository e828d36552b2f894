// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I12: trading contexts changes no sum, and does not happen while a trap is on its way, somebody
//! relies on a context, or the two are no copies of each other any more.

use vpmu::Nanos;
use vpmu::context::{Attr, Step, Target, Task};

use crate::checks::*;
use crate::rig::*;

/// Switches from one to the other on vCPU 0; whether they traded.
fn trades(rig: &mut Rig, from: &Task, to: &Task) -> bool {
    if rig.cpu(0).current().map(Task::id) != Some(from.id()) {
        rig.idle(0);
        rig.run_task(0, from);
    }
    rig.log.clear();
    rig.run_task(0, to);
    rig.audit();
    rig.swaps() == 1
}

#[test]
fn i12_trading_conserves_counts_and_times() {
    let mut rig = Rig::new(2, 4);
    let (parent, child, events) = rig.family(&[counting(), pinned(), sampling(10)]);
    let mut counts = 0;
    rig.run_task(0, &parent);
    for (round, to) in [&child, &parent, &child, &parent].into_iter().enumerate() {
        rig.happen(0, 3);
        // Not looked at by anybody before the switch.
        rig.cpu(0).source_mut().count(4);
        rig.pass(10);
        counts += 7;
        rig.log.clear();
        rig.run_task(0, to);
        assert_eq!(rig.swaps(), 1, "round {round}");
        assert_eq!(rig.log.count(|step| matches!(step, Step::SlotOut(_))), 0);
        for event in &events {
            let nanos = Nanos(10 * (round as u64 + 1));
            assert_eq!(rig.totals(event), (counts, nanos, nanos));
        }
    }
}

#[test]
fn i12_no_trade_while_a_trap_is_on_its_way() {
    let mut rig = Rig::new(2, 4);
    let (parent, child, _events) = rig.family(&[trapping(10, 1)]);
    assert!(trades(&mut rig, &parent, &child));
    assert!(trades(&mut rig, &child, &parent));
    // In the outgoing one,
    rig.happen(0, 10);
    assert!(!trades(&mut rig, &parent, &child));
    // in the incoming one,
    assert!(!trades(&mut rig, &child, &parent));
    assert_eq!(rig.drain_traps(0).len(), 1);
    // in neither.
    assert!(trades(&mut rig, &parent, &child));
    // And one that only the switch finds.
    rig.cpu(0).source_mut().count(10);
    rig.log.clear();
    rig.run_task(0, &parent);
    assert_eq!(rig.swaps(), 0);
    rig.audit();
    assert_eq!(rig.drain_traps(0), []);
    rig.idle(0);
    rig.run_task(0, &child);
    assert_eq!(rig.drain_traps(0).len(), 1);
}

#[test]
fn i12_no_trade_of_a_context_that_somebody_relies_on() {
    let mut rig = Rig::new(2, 4);
    let goes = Attr {
        remove_on_exec: true,
        ..counting()
    };
    let (parent, child, events) = rig.family(&[goes]);
    rig.run_task(0, &parent);
    rig.happen(0, 1);
    let other = child.clone();
    rig.before_call(move |rig, _| {
        rig.run_task(0, &other);
        assert_eq!(rig.swaps(), 0, "exec holds the parent's context");
    });
    rig.exec(&parent).unwrap();
    assert_eq!(rig.script_left(), 0);
    rig.happen(0, 10);
    assert_eq!(rig.count_of(&events[0]), 11, "the child counts on");
    rig.run_task(0, &parent);
    rig.happen(0, 5);
    assert_eq!(rig.count_of(&events[0]), 11);
}

#[test]
fn i12_an_event_joins_its_task_whatever_was_traded_meanwhile() {
    let mut rig = Rig::new(2, 4);
    let (parent, child, events) = rig.family(&[counting()]);
    rig.run_task(0, &parent);
    let other = child.clone();
    rig.before_call(move |rig, _| {
        rig.run_task(0, &other);
        assert_eq!(rig.swaps(), 1);
    });
    let own = rig.open_task(counting(), &parent);
    assert_eq!(rig.script_left(), 0);
    rig.happen(0, 10);
    assert_eq!(rig.count_of(&own), 0, "the child counts for itself");
    assert_eq!(rig.count_of(&events[0]), 10);
    rig.run_task(0, &parent);
    rig.happen(0, 5);
    assert_eq!(rig.count_of(&own), 5);
}

#[test]
fn i12_no_trade_once_one_of_them_changed() {
    // An event more for the parent, one more for the child, one less.
    for change in 0..4 {
        let mut rig = Rig::new(2, 4);
        let second = Attr {
            remove_on_exec: true,
            ..counting()
        };
        let (parent, child, events) = rig.family(&[counting(), second]);
        assert!(trades(&mut rig, &parent, &child));
        assert!(trades(&mut rig, &child, &parent));
        let mut extra = None;
        match change {
            0 => extra = Some(rig.open_task(counting(), &parent)),
            1 => extra = Some(rig.open_task(counting(), &child)),
            2 => rig.exec(&child).unwrap(),
            _ => rig.exec(&parent).unwrap(),
        }
        assert!(!trades(&mut rig, &parent, &child), "change {change}");
        assert!(!trades(&mut rig, &child, &parent), "change {change}");
        // Changing back does not make them copies again.
        if let Some(extra) = extra {
            rig.close(&extra).unwrap();
        }
        assert!(!trades(&mut rig, &parent, &child), "change {change}");
        rig.happen(0, 3);
        assert_eq!(rig.count_of(&events[0]), 3);
    }
}

#[test]
fn i12_siblings_trade_as_well_and_strangers_never() {
    let mut rig = Rig::new(2, 4);
    let (parent, child, _events) = rig.family(&[counting()]);
    let sibling = rig.fork(&parent);
    let grandchild = rig.fork(&child);
    assert!(trades(&mut rig, &child, &sibling));
    assert!(trades(&mut rig, &sibling, &grandchild));
    assert!(trades(&mut rig, &grandchild, &parent));
    let stranger = rig.task(0);
    rig.open_task(inherited(counting()), &stranger);
    assert!(!trades(&mut rig, &parent, &stranger));
    // Who did not get everything is no copy.
    let half = rig.task(0);
    rig.open_task(inherited(counting()), &half);
    rig.open(counting(), Target::Task(&half)).unwrap();
    let child = rig.fork(&half);
    assert!(!trades(&mut rig, &half, &child));
}
