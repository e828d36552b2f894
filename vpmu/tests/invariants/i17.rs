// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I17: a trap on its way keeps its event; when nothing is on its way and nobody has a handle, there
//! are no events left.

use std::sync::Arc;

use vpmu::context::{Notice, Target};

use crate::checks::*;
use crate::rig::*;

/// How many events there are that tell this owner.
fn alive(diary: &Arc<Diary>) -> usize {
    Arc::strong_count(diary) - 1
}

#[test]
fn i17_a_trap_on_its_way_keeps_a_closed_event() {
    let mut rig = Rig::new(1, 4);
    let diary = Arc::new(Diary::default());
    let task = rig.task(0);
    rig.run_task(0, &task);
    for waiting in 1..4 {
        let event = rig.open_owned(trapping(10, waiting), Target::Task(&task), &diary);
        rig.happen(0, 10);
        rig.close(&event).unwrap();
    }
    assert_eq!(alive(&diary), 3);
    for (data, left) in [(1, 2), (2, 1), (3, 0)] {
        assert_eq!(rig.enter(0).map(|trap| trap.data), Some(data));
        rig.cpu(0).trap_done().unwrap();
        assert_eq!(alive(&diary), left);
    }
    rig.audit();
}

/// The trap is delivered after close took the event off its counter, and before close is done.
#[test]
fn i17_a_trap_may_be_delivered_in_the_middle_of_close() {
    let mut rig = Rig::new(1, 4);
    let diary = Arc::new(Diary::default());
    let task = rig.task(0);
    rig.run_task(0, &task);
    let event = rig.open_owned(trapping(10, 7), Target::Task(&task), &diary);
    rig.happen(0, 10);
    rig.after_call(|rig, _| {
        assert_eq!(rig.enter(0).map(|trap| trap.data), Some(7));
    });
    rig.close(&event).unwrap();
    assert_eq!(rig.script_left(), 0);
    assert!(rig.close(&event).is_err());
    drop(event);
    assert_eq!(alive(&diary), 0);
    rig.audit();
}

#[test]
fn i17_an_exit_leaves_no_references() {
    for running in [false, true] {
        let mut rig = Rig::new(1, 4);
        let diary = Arc::new(Diary::default());
        let task = rig.task(0);
        rig.run_task(0, &task);
        let closed = rig.open_owned(trapping(10, 1), Target::Task(&task), &diary);
        let open = rig.open_owned(trapping(10, 2), Target::Task(&task), &diary);
        rig.happen(0, 10);
        rig.close(&closed).unwrap();
        drop(closed);
        // Found by the exit only: not queued, so it keeps nothing.
        rig.cpu(0).source_mut().count(10);
        if !running {
            rig.idle(0);
        }
        rig.exit(&task).unwrap();
        assert_eq!(rig.law(&open).dropped, 1);
        assert_eq!(alive(&diary), 1);
        rig.close(&open).unwrap();
        drop(open);
        assert_eq!(alive(&diary), 0);
    }
}

/// Its vCPU keeps nothing of it, though the guest has not switched yet.
#[test]
fn i17_what_nobody_holds_goes_with_its_task() {
    let mut rig = Rig::new(1, 4);
    let diary = Arc::new(Diary::default());
    let task = rig.task(0);
    rig.run_task(0, &task);
    drop(rig.open_owned(counting(), Target::Task(&task), &diary));
    assert_eq!(alive(&diary), 1);
    rig.exit(&task).unwrap();
    assert!(rig.cpu(0).current().is_some());
    assert_eq!(alive(&diary), 0);
}

#[test]
fn i17_a_whole_family_goes() {
    let mut rig = Rig::new(2, 4);
    let diary = Arc::new(Diary::default());
    let parent = rig.task(0);
    let event = rig.open_owned(inherited(trapping(10, 1)), Target::Task(&parent), &diary);
    let children = [rig.fork(&parent), rig.fork(&parent), rig.fork(&parent)];
    assert_eq!(alive(&diary), 4);
    rig.run_task(0, &children[0]);
    rig.happen(0, 10);
    rig.exit(&children[1]).unwrap();
    assert_eq!(alive(&diary), 3);
    rig.exec(&children[2]).unwrap();
    assert_eq!(alive(&diary), 2);
    assert_eq!(diary.read(), [(event.id(), Notice::Overflow(1))]);
    rig.close(&event).unwrap();
    drop(event);
    // The child's trap is on its way.
    assert_eq!(alive(&diary), 1);
    assert_eq!(rig.enter(0).map(|trap| trap.task), Some(children[0].id()));
    assert_eq!(alive(&diary), 0);
}

/// Nothing is left of a machine whose tasks and handles are gone.
#[test]
fn i17_nothing_outlives_the_machine() {
    let diary = Arc::new(Diary::default());
    {
        let mut rig = Rig::new(2, 4);
        let task = rig.task(0);
        let event = rig.open_owned(inherited(trapping(10, 1)), Target::Task(&task), &diary);
        rig.open_owned(sampling(10), Target::Vcpu(V1), &diary);
        let child = rig.fork(&task);
        rig.run_task(0, &task);
        rig.run_task(1, &child);
        rig.happen(0, 10);
        rig.happen(1, 10);
        assert_eq!(alive(&diary), 3);
        drop(event);
        assert_eq!(alive(&diary), 3, "handles close nothing");
    }
    assert_eq!(alive(&diary), 0);
}
