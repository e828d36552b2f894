// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I5: an installation takes at most one round more than its target switched and migrated meanwhile.

use vpmu::context::{State, Step};

use crate::checks::*;
use crate::rig::*;

fn switches(rig: &Rig) -> usize {
    rig.log
        .count(|step| matches!(step, Step::SwitchIn | Step::SwitchOut(_) | Step::Migrate(_)))
}

#[test]
fn i05_a_quiet_target_takes_one_round() {
    for running in [false, true] {
        let mut rig = Rig::new(1, 4);
        let task = rig.task(0);
        if running {
            rig.run_task(0, &task);
        }
        rig.log.clear();
        rig.open_task(counting(), &task);
        assert_eq!(rig.log.rounds(), 1);
        assert_eq!(rig.log.calls(), usize::from(running));
    }
}

#[test]
fn i05_each_round_needs_another_switch_of_the_target() {
    for flights in 1..20 {
        let mut rig = Rig::new(2, 4);
        let task = rig.task(0);
        rig.run_task(0, &task);
        rig.log.clear();
        for flight in 0..flights {
            let task = task.clone();
            rig.before_call(move |rig, called| {
                assert_eq!(called.0, flight % 2);
                rig.idle(called.0);
                if flight % 3 == 0 {
                    rig.perf.migrate(&task, V0).unwrap();
                }
                rig.run_task(1 - called.0, &task);
            });
        }
        let event = rig.open_task(counting(), &task);
        assert_eq!(rig.script_left(), 0);
        assert!(rig.log.rounds() <= 1 + switches(&rig));
        assert_eq!(
            rig.state(&event),
            State::Active(vcpu_call::VcpuId(flights % 2))
        );
    }
}

/// One that has left and runs nowhere gets its event there and then.
#[test]
fn i05_a_target_that_has_stopped_is_not_chased() {
    let mut rig = Rig::new(2, 4);
    let task = rig.task(0);
    rig.run_task(0, &task);
    rig.log.clear();
    rig.before_call(|rig, _| rig.block(0));
    let event = rig.open_task(counting(), &task);
    assert_eq!((rig.log.rounds(), rig.log.calls()), (1, 1));
    assert_eq!(rig.state(&event), State::Inactive);
}
