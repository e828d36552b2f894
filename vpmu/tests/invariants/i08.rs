// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I8: exiting is final. Nothing is attached to an exited task, none of its events counts, what is
//! done to them succeeds without effect, and they can be read.

use vpmu::context::{Event, PerfError, State, Target};

use crate::checks::*;
use crate::rig::*;

fn acts(rig: &mut Rig, event: &Event) {
    rig.enable(event).unwrap();
    rig.refresh(event, 3).unwrap();
    rig.disable(event).unwrap();
    rig.set_period(event, 7).unwrap();
    rig.enable(event).unwrap();
}

#[test]
fn i08_exiting_is_final() {
    for running in [false, true] {
        let mut rig = Rig::new(2, 4);
        let task = rig.task(0);
        let event = rig.open_task(sampling(10), &task);
        rig.run_task(0, &task);
        rig.happen(0, 25);
        rig.pass(7);
        if !running {
            rig.idle(0);
        }
        rig.exit(&task).unwrap();
        let last = rig.status(&event);
        assert_eq!(last.state, State::Exit);

        acts(&mut rig, &event);
        assert_eq!(rig.status(&event), last);
        rig.happen(0, 100);
        rig.enter(0);
        rig.audit();
        if running {
            rig.idle(0);
        }
        // It never runs again, so nothing of it can.
        assert_eq!(
            rig.switch(1, Some(&task)).unwrap_err(),
            PerfError::NoSuchTask
        );
        rig.happen(1, 100);
        assert_eq!(rig.status(&event), last);
        assert_eq!(rig.count_of(&event), 25);
        assert_eq!(rig.times(&event), (7, 7));

        for target in [Target::Task(&task), Target::TaskOn(&task, V1)] {
            let refused = rig.open(counting(), target).unwrap_err();
            assert_eq!((refused, refused.errno()), (PerfError::NoSuchTask, 3));
        }
        assert_eq!(rig.exit(&task), Err(PerfError::NoSuchTask));
        assert_eq!(rig.exec(&task), Err(PerfError::NoSuchTask));
        let perf = rig.perf.clone();
        assert_eq!(
            perf.fork(&task, &mut rig).unwrap_err(),
            PerfError::NoSuchTask
        );
        rig.close(&event).unwrap();
        assert_eq!(rig.close(&event), Err(PerfError::Closed));
    }
}

#[test]
fn i08_a_task_that_never_had_events_takes_none_after_its_exit() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    rig.run_task(0, &task);
    rig.exit(&task).unwrap();
    assert!(task.has_exited());
    let refused = rig.open(counting(), Target::Task(&task));
    assert_eq!(refused.unwrap_err(), PerfError::NoSuchTask);
    rig.audit();
}
