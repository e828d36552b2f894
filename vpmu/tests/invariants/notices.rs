// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the owner of an event is told, and when.

use std::sync::Arc;

use vpmu::context::{Notice, Target};

use crate::checks::*;
use crate::rig::*;

#[test]
fn an_owner_is_told_of_every_overflow_and_of_the_end() {
    let mut rig = Rig::new(2, 4);
    let diary = Arc::new(Diary::default());
    let task = rig.task(0);
    let event = rig.open_owned(sampling(10), Target::Task(&task), &diary);
    let machine = rig.open_owned(sampling(20), Target::Vcpu(V0), &diary);
    rig.run_task(0, &task);
    rig.happen(0, 9);
    assert_eq!(diary.read(), []);
    rig.happen(0, 1);
    assert_eq!(diary.read(), [(event.id(), Notice::Overflow(1))]);
    rig.happen(0, 30);
    let mut told = diary.read();
    told.sort_by_key(|(event, _)| *event);
    let expected = [
        (event.id(), Notice::Overflow(3)),
        (machine.id(), Notice::Overflow(2)),
    ];
    assert_eq!(told, expected);
    // What a switch finds.
    rig.cpu(0).source_mut().count(10);
    rig.idle(0);
    assert_eq!(diary.read(), [(event.id(), Notice::Overflow(1))]);
    rig.offline(0).unwrap();
    assert_eq!(diary.read(), [(machine.id(), Notice::Hup)]);
    rig.exit(&task).unwrap();
    assert_eq!(diary.read(), [(event.id(), Notice::Hup)]);
    rig.close(&event).unwrap();
    rig.close(&machine).unwrap();
    assert_eq!(diary.read(), []);
}

/// Under the name of the event that the owner opened.
#[test]
fn an_owner_is_told_of_inherited_events() {
    let mut rig = Rig::new(2, 4);
    let diary = Arc::new(Diary::default());
    let parent = rig.task(0);
    let event = rig.open_owned(inherited(trapping(10, 1)), Target::Task(&parent), &diary);
    let child = rig.fork(&parent);
    let grandchild = rig.fork(&child);
    rig.run_task(0, &grandchild);
    rig.happen(0, 20);
    assert_eq!(diary.read(), [(event.id(), Notice::Overflow(2))]);
    let trap = rig.enter(0).unwrap();
    assert_eq!((trap.event, trap.task), (event.id(), grandchild.id()));
    // The end of an inherited one is not the end of it.
    rig.exit(&grandchild).unwrap();
    rig.exit(&child).unwrap();
    assert_eq!(diary.read(), []);
    rig.exit(&parent).unwrap();
    assert_eq!(diary.read(), [(event.id(), Notice::Hup)]);
}
