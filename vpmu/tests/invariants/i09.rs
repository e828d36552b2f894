// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I9: after close has returned, no overflow of the event begins and none is under way.

use std::sync::Arc;

use vpmu::context::{Notice, Step, Target};

use crate::checks::*;
use crate::rig::*;

#[test]
fn i09_no_overflow_begins_after_close() {
    let mut rig = Rig::new(2, 4);
    let diary = Arc::new(Diary::default());
    let task = rig.task(1);
    rig.run_task(1, &task);
    let event = rig.open_owned(sampling(10), Target::Task(&task), &diary);
    // What nobody has looked at yet is part of it, and overflows before close returns.
    rig.cpu(1).source_mut().count(25);
    rig.close(&event).unwrap();
    assert_eq!(diary.read(), [(event.id(), Notice::Overflow(2))]);
    let steps = rig.log.steps();
    let position = |step| steps.iter().position(|other| *other == step).unwrap();
    assert!(position(Step::Overflow(2)) < position(Step::Close));

    rig.log.clear();
    rig.happen(1, 100);
    rig.enter(1);
    rig.idle(1);
    rig.run_task(0, &task);
    rig.happen(0, 100);
    rig.enter(0);
    assert_eq!(diary.read(), []);
    assert_eq!(rig.log.count(|step| matches!(step, Step::Overflow(_))), 0);
}

#[test]
fn i09_nor_of_what_was_inherited_from_it() {
    let mut rig = Rig::new(2, 4);
    let diary = Arc::new(Diary::default());
    let parent = rig.task(0);
    let event = rig.open_owned(inherited(sampling(10)), Target::Task(&parent), &diary);
    let child = rig.fork(&parent);
    rig.run_task(0, &parent);
    rig.run_task(1, &child);
    rig.happen(1, 10);
    assert_eq!(diary.read(), [(event.id(), Notice::Overflow(1))]);
    rig.close(&event).unwrap();
    for vcpu in [0, 1] {
        rig.happen(vcpu, 100);
        rig.enter(vcpu);
    }
    rig.audit();
    assert_eq!(diary.read(), []);
    // Nor of what would be inherited now.
    let grandchild = rig.fork(&child);
    rig.run_task(1, &grandchild);
    rig.happen(1, 100);
    assert_eq!(diary.read(), []);
}
