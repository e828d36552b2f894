// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R3: the task is blocked on a vCPU that is offline, and stays so until somebody wakes it, who may
//! be waiting for the installation.

use vcpu_call::VcpuId;
use vpmu::context::{State, Step, Task};

use crate::checks::*;
use crate::rig::*;

/// t is blocked on vCPU 1, which is offline.
fn blocked_offline(rig: &mut Rig) -> Task {
    let task = rig.task(1);
    rig.run_task(1, &task);
    rig.block(1);
    rig.offline(1).unwrap();
    rig.deaf.push(VcpuId(1));
    rig.log.clear();
    task
}

/// 1. t blocks on vCPU 1, which goes offline.
/// 2. The first event of t is installed: at once, under the lock (N4); vCPU 1 runs nothing (I4).
/// 3. t wakes on vCPU 0 and counts.
#[test]
fn r03_nobody_waits_for_an_offline_vcpu() {
    let mut rig = Rig::new(2, 2);
    let task = blocked_offline(&mut rig);
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Inactive);
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.served(1), 0);
    assert_eq!(rig.log.rounds(), 1);
    rig.perf.wake(&task, V0).unwrap();
    rig.run_task(0, &task);
    assert_eq!(rig.state(&event), State::Active(V0));
    rig.happen(0, 4);
    assert_eq!(rig.count_of(&event), 4);
}

/// 1. t is current on vCPU 1; the installer reads that.
/// 2. t blocks, vCPU 1 goes offline.
/// 3. The call is refused (ENXIO): no reason to try again, the lock decides.
#[test]
fn r03_the_vcpu_goes_offline_under_the_call() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(1);
    rig.run_task(1, &task);
    rig.before_call(|rig, _| {
        rig.block(1);
        rig.offline(1).unwrap();
        rig.deaf.push(VcpuId(1));
        rig.log.clear();
    });
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Inactive);
    assert_eq!(rig.served(1), 0);
    assert_eq!(rig.retries(), []);
    assert_eq!(rig.log.count(|step| *step == Step::CallRefused(V1)), 1);
    rig.perf.wake(&task, V0).unwrap();
    rig.run_task(0, &task);
    rig.happen(0, 4);
    assert_eq!(rig.count_of(&event), 4);
}

/// 1. t is current on vCPU 1; the installer reads that.
/// 2. vCPU 1 goes offline without a word of the guest: t is queued there now.
/// 3. The call is refused; the event is added under the lock.
/// 4. t is found by vCPU 0 and counts.
#[test]
fn r03_the_vcpu_goes_offline_with_its_task() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(1);
    rig.run_task(1, &task);
    rig.before_call(|rig, _| {
        rig.offline(1).unwrap();
        rig.deaf.push(VcpuId(1));
        rig.log.clear();
    });
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Inactive);
    assert_eq!(rig.served(1), 0);
    assert_eq!(rig.retries(), []);
    rig.run_task(0, &task);
    rig.happen(0, 4);
    assert_eq!(rig.count_of(&event), 4);
}
