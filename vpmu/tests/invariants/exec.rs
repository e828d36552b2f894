// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Exec: events that ask for it are removed, the others never notice.

use std::sync::Arc;

use vpmu::Nanos;
use vpmu::context::{Attr, Notice, State, Target};

use crate::checks::*;
use crate::rig::*;

fn until_exec(attr: Attr) -> Attr {
    Attr {
        remove_on_exec: true,
        ..attr
    }
}

#[test]
fn exec_removes_what_asked_for_it() {
    for running in [false, true] {
        let mut rig = Rig::new(1, 6);
        let diary = Arc::new(Diary::default());
        let task = rig.task(0);
        let stays = rig.open_owned(counting(), Target::Task(&task), &diary);
        let goes = rig.open_owned(until_exec(counting()), Target::Task(&task), &diary);
        let sibling = rig.open_in_group(counting(), &task, &goes).unwrap();
        rig.run_task(0, &task);
        rig.pass(5);
        rig.happen(0, 3);
        if !running {
            rig.idle(0);
        }
        rig.exec(&task).unwrap();
        assert_eq!(diary.read(), [(goes.id(), Notice::Hup)]);
        assert_eq!(rig.state(&goes), State::Exit);
        rig.audit();
        if !running {
            rig.run_task(0, &task);
        }
        rig.enable(&goes).unwrap();
        rig.pass(5);
        rig.happen(0, 4);
        rig.exec(&task).unwrap();
        rig.exit(&task).unwrap();
        let ended = (3, Nanos(5), Nanos(5));
        assert_eq!(rig.totals(&goes), ended);
        for event in [&stays, &sibling] {
            assert_eq!(rig.totals(event), (7, Nanos(10), Nanos(10)));
        }
        assert_eq!(diary.read(), [(stays.id(), Notice::Hup)]);
    }
}

#[test]
fn exec_of_a_child_leaves_the_family_its_count() {
    let mut rig = Rig::new(2, 4);
    let (parent, child, events) = rig.family(&[until_exec(counting())]);
    rig.run_task(0, &parent);
    rig.run_task(1, &child);
    rig.happen(0, 3);
    rig.happen(1, 4);
    rig.exec(&child).unwrap();
    rig.happen(1, 100);
    rig.happen(0, 3);
    assert_eq!(rig.count_of(&events[0]), 10);
    // The family is smaller: resetting and exiting find nothing of the child.
    rig.reset(&events[0]).unwrap();
    rig.exit(&child).unwrap();
    assert_eq!(rig.count_of(&events[0]), 0);
    rig.audit();
}

/// Nobody looked at the clock since the event began: what is removed and stays readable needs it.
#[test]
fn exec_knows_what_time_it_is() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let only = rig.open_task(until_exec(counting()), &task);
    rig.run_task(0, &task);
    rig.pass(5);
    rig.exec(&task).unwrap();
    rig.pass(5);
    assert_eq!(rig.totals(&only), (0, Nanos(5), Nanos(5)));
}
