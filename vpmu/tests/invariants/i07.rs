// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I7: a context that is scheduled has events and is its vCPU's task context; one without events is
//! nobody's.

use vpmu::context::Step;

use crate::checks::*;
use crate::rig::*;

#[test]
fn i07_a_context_without_events_is_not_scheduled() {
    let mut rig = Rig::new(2, 4);
    let task = rig.task(0);
    rig.run_task(0, &task);
    for _ in 0..2 {
        let one = rig.open_task(counting(), &task);
        let other = rig.open_task(disabled(counting()), &task);
        rig.close(&one).unwrap();
        rig.audit();
        rig.log.clear();
        rig.close(&other).unwrap();
        assert_eq!(rig.log.calls(), 1, "the context was still scheduled");
        rig.audit();
    }
    // Nobody has to be asked, and nothing has to be switched.
    rig.log.clear();
    rig.exit(&task).unwrap();
    assert_eq!(rig.log.calls(), 0);
}

#[test]
fn i07_a_context_without_events_is_not_switched_in() {
    let mut rig = Rig::new(2, 4);
    let task = rig.task(0);
    let event = rig.open_task(counting(), &task);
    rig.close(&event).unwrap();
    rig.run_task(0, &task);
    rig.audit();
    rig.log.clear();
    // The first event of a context: the vCPU is asked because the task runs there.
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.log.calls(), 1);
    rig.audit();
    rig.exec(&task).unwrap();
    rig.idle(0);
    rig.log.clear();
    rig.close(&event).unwrap();
    assert_eq!(rig.log.calls(), 0);
}

#[test]
fn i07_operations_find_the_vcpu_that_schedules_the_context_at_once() {
    let mut rig = Rig::new(2, 4);
    let task = rig.task(0);
    let event = rig.open_task(counting(), &task);
    for vcpu in [0, 1, 0] {
        rig.run_task(vcpu, &task);
        rig.log.clear();
        rig.disable(&event).unwrap();
        rig.enable(&event).unwrap();
        rig.count_of(&event);
        let sent = Step::CallSent(vcpu_call::VcpuId(vcpu));
        assert_eq!(rig.log.count(|step| *step == sent), 3);
        assert_eq!(rig.log.calls(), 3);
        assert_eq!(rig.log.count(|step| matches!(step, Step::Retry(_))), 0);
        rig.idle(vcpu);
    }
}
