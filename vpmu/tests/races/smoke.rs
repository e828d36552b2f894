// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
use vcpu_call::VcpuId;
use vpmu::context::{Attr, State, Target};

use crate::rig::*;

#[test]
fn counts_follow_a_task() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    let event = rig.open_task(Attr::counting(cycles()), &task);
    rig.happen(0, 5);
    rig.run_task(0, &task);
    rig.happen(0, 7);
    assert_eq!(rig.count_of(&event), 7);
    rig.idle(0);
    rig.run_task(1, &task);
    rig.happen(0, 50);
    rig.happen(1, 3);
    assert_eq!(rig.count_of(&event), 10);
    assert_eq!(
        rig.perf.status(&event).unwrap().state,
        State::Active(VcpuId(1))
    );
    rig.close(&event).unwrap();
    let cpu_event = rig
        .open(Attr::counting(cycles()), Target::Vcpu(VcpuId(1)))
        .unwrap();
    rig.happen(1, 9);
    assert_eq!(rig.count_of(&cpu_event), 9);
    rig.exit(&task).unwrap();
    assert_eq!(
        rig.open(Attr::counting(cycles()), Target::Task(&task))
            .unwrap_err()
            .errno(),
        3
    );
}

#[test]
fn traps_arrive_and_swap_works() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 77), &task);
    rig.run_task(0, &task);
    rig.happen(0, 25);
    rig.refresh(&event, 2).unwrap();
    let traps = rig.drain_traps(0);
    assert_eq!(traps.len(), 1);
    rig.happen(0, 25);
    rig.enter(0);
    let status = rig.perf.status(&event).unwrap();
    assert_eq!(status.state, State::Off, "{status:?}");
    assert_eq!(status.hups, 1);

    let parent = rig.task(0);
    let inherited = rig.open_task(
        Attr {
            inherit: true,
            ..Attr::counting(cycles())
        },
        &parent,
    );
    rig.run_task(0, &parent);
    let child = rig.fork(&parent);
    rig.log.clear();
    rig.happen(0, 3);
    rig.run_task(0, &child);
    assert_eq!(
        rig.log
            .count(|step| matches!(step, vpmu::context::Step::Swap(_))),
        1
    );
    rig.happen(0, 4);
    assert_eq!(rig.count_of(&inherited), 7);
    rig.exit(&child).unwrap();
    assert_eq!(rig.count_of(&inherited), 7);
    rig.offline(0).unwrap();
    rig.close(&inherited).unwrap();
}
