// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events of a task that count on one vCPU only.

use vpmu::Nanos;
use vpmu::context::{State, Target};

use crate::checks::*;
use crate::rig::*;

#[test]
fn a_filter_lets_an_event_count_on_its_vcpu_only() {
    let mut rig = Rig::new(2, 1);
    let task = rig.task(0);
    let on = [V0, V1].map(|vcpu| rig.open(counting(), Target::TaskOn(&task, vcpu)).unwrap());
    for (vcpu, counts) in [(0, 3), (1, 5), (0, 7)] {
        rig.run_task(vcpu, &task);
        rig.audit();
        // They do not compete: one counter is enough, and nobody has to rotate.
        assert!(!rig.cpu(vcpu).arm().rotate);
        rig.happen(vcpu, counts);
        rig.pass(10);
        rig.idle(vcpu);
    }
    // It is enabled wherever its task runs, and runs where it may.
    assert_eq!(rig.totals(&on[0]), (10, Nanos(30), Nanos(20)));
    assert_eq!(rig.totals(&on[1]), (5, Nanos(30), Nanos(10)));
}

#[test]
fn a_filter_for_an_offline_vcpu_waits_for_it() {
    let mut rig = Rig::new(2, 4);
    rig.offline(1).unwrap();
    let task = rig.task(0);
    let there = rig.open(counting(), Target::TaskOn(&task, V1)).unwrap();
    rig.run_task(0, &task);
    rig.happen(0, 5);
    assert_eq!(rig.state(&there), State::Inactive);
    rig.idle(0);
    rig.online(1).unwrap();
    rig.run_task(1, &task);
    rig.happen(1, 3);
    assert_eq!(rig.count_of(&there), 3);
}

#[test]
fn a_pinned_event_that_may_not_count_here_has_not_failed() {
    let mut rig = Rig::new(2, 1);
    rig.open(pinned(), Target::Vcpu(V0)).unwrap();
    let task = rig.task(0);
    let there = rig.open(pinned(), Target::TaskOn(&task, V1)).unwrap();
    rig.run_task(0, &task);
    assert_eq!(rig.state(&there), State::Inactive);
    rig.idle(0);
    rig.run_task(1, &task);
    assert_eq!(rig.state(&there), State::Active(V1));
}
