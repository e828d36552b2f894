// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I19: what was not stopped by its user, a limit, an error or an exit is not OFF.

use vpmu::context::{State, Target};

use crate::checks::*;
use crate::rig::*;

#[test]
fn i19_nobody_but_its_user_leaves_an_event_off() {
    let mut rig = Rig::new(2, 2);
    let [task, other] = [rig.task(0), rig.task(0)];
    let event = rig.open_task(trapping(10, 1), &task);
    let limited = rig.open_task(disabled(trapping(10, 2)), &task);
    rig.run_task(0, &task);
    for round in 0..40 {
        let vcpu = u32::from(rig.cpu(0).current().is_none());
        rig.happen(vcpu, 10);
        match round % 10 {
            0 => rig.refresh(&limited, 1).unwrap(),
            1 => rig.cpu(vcpu).irq_work(),
            2 => rig.cpu(vcpu).rotate(),
            3 => {
                rig.run_task(vcpu, &other);
                rig.run_task(vcpu, &task);
            }
            4 => {
                rig.idle(vcpu);
                rig.run_task(1 - vcpu, &task);
            }
            5 => {
                rig.open(pinned(), Target::Vcpu(vcpu_call::VcpuId(vcpu)))
                    .unwrap();
            }
            6 => {
                rig.offline(vcpu).unwrap();
                rig.online(vcpu).unwrap();
                rig.run_task(vcpu, &task);
            }
            7 => rig.disable(&limited).unwrap(),
            8 => rig.set_period(&event, 10).unwrap(),
            _ => {
                rig.enter(vcpu);
                if rig.status(&event).traps.sent > 0 {
                    let _ = rig.cpu(vcpu).trap_done();
                }
            }
        }
        assert!(rig.is_on(&event), "round {round}");
        rig.audit();
    }
    let vcpu = u32::from(rig.cpu(0).current().is_none());
    let before = rig.status(&event).overflows;
    rig.enter(vcpu);
    rig.happen(vcpu, 10);
    assert_eq!(rig.status(&event).overflows, before + 1);
    assert_eq!(rig.state(&limited), State::Off);
    rig.law(&event);
}
