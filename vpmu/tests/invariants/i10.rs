// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I10: nothing counts on an offline vCPU and nothing can be opened on it; back online it takes new
//! events, and those from before stay what they were.

use vpmu::context::order::Place;
use vpmu::context::{PerfError, State, Target};

use crate::checks::*;
use crate::rig::*;

#[test]
fn i10_an_offline_vcpu_has_no_events() {
    let mut rig = Rig::new(2, 4);
    let task = rig.task(0);
    let of_task = rig.open_task(counting(), &task);
    rig.run_task(0, &task);
    let leader = rig.open(counting(), Target::Vcpu(V0)).unwrap();
    let first = rig.open(pinned(), Target::Vcpu(V0)).unwrap();
    let elsewhere = rig.open(counting(), Target::Vcpu(V1)).unwrap();
    rig.happen(0, 3);
    // Counted, but nobody has looked yet.
    rig.cpu(0).source_mut().count(4);
    rig.pass(5);
    rig.offline(0).unwrap();
    rig.audit();
    assert_eq!(rig.state(&leader), State::Exit);
    assert_eq!(rig.state(&first), State::Exit);
    assert_eq!(rig.state(&elsewhere), State::Active(V1));
    // The task's are untouched: it was only switched out.
    assert_eq!(rig.state(&of_task), State::Inactive);
    assert_eq!(task.place(), Place::Queued(V0));
    assert!(rig.cpu(0).current().is_none());

    let refused = rig.open(counting(), Target::Vcpu(V0)).unwrap_err();
    assert_eq!((refused, refused.errno()), (PerfError::NoSuchVcpu(V0), 19));
    assert_eq!(
        rig.switch(0, Some(&task)),
        Err(PerfError::NoSuchVcpu(V0)),
        "nobody runs there"
    );
    rig.enable(&leader).unwrap();
    rig.disable(&leader).unwrap();

    rig.online(0).unwrap();
    rig.enable(&leader).unwrap();
    let fresh = rig.open(counting(), Target::Vcpu(V0)).unwrap();
    rig.run_task(0, &task);
    rig.audit();
    rig.happen(0, 10);
    rig.pass(5);
    assert_eq!(rig.count_of(&fresh), 10);
    assert_eq!(rig.count_of(&of_task), 17);
    for old in [&leader, &first] {
        assert_eq!(rig.state(old), State::Exit);
        assert_eq!(rig.count_of(old), 7);
        assert_eq!(rig.times(old), (5, 5));
        rig.close(old).unwrap();
    }
}

/// Whoever comes while it goes is either in time or told so: there is no third.
#[test]
fn i10_an_open_that_the_vcpu_overtakes_is_refused() {
    let mut rig = Rig::new(1, 4);
    rig.before_call(|rig, _| rig.deaf.push(V0));
    let refused = rig.open(counting(), Target::Vcpu(V0));
    assert_eq!(refused.unwrap_err(), PerfError::NoSuchVcpu(V0));
    rig.deaf.clear();
    rig.audit();
    rig.offline(0).unwrap();
    rig.audit();
}

/// Of a vCPU that was never there, an event waits for ever, but an open does not.
#[test]
fn i10_an_absent_vcpu_is_refused_too() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let absent = vcpu_call::VcpuId(1);
    for target in [Target::Vcpu(absent), Target::TaskOn(&task, absent)] {
        let refused = rig.open(counting(), target).unwrap_err();
        assert_eq!(refused, PerfError::NoSuchVcpu(absent));
    }
}
