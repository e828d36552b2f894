// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every refusal that somebody can run into, with its errno.

use vcpu_call::VcpuId;
use vpmu::context::{Attr, Leaves, PerfConfig, PerfError, Reading, Target};
use vpmu::source::script::ScriptSource;
use vpmu::{Event, EventConfig, EventSelect};

use crate::checks::*;
use crate::rig::*;

#[track_caller]
fn invalid<T: std::fmt::Debug>(result: Result<T, PerfError>) {
    let error = result.expect_err("it contradicts itself");
    assert!(matches!(error, PerfError::Invalid(_)), "{error}");
    assert_eq!(error.errno(), 22);
}

#[test]
fn attributes_that_do_not_go_together_are_invalid() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let trap = trapping(10, 1);
    let nobody = EventConfig {
        usr: false,
        os: false,
        ..cycles()
    };
    let of_task = [
        sampling(Attr::MAX_PERIOD + 1),
        Attr::counting(nobody),
        Attr { period: 0, ..trap },
        Attr {
            remove_on_exec: false,
            ..trap
        },
    ];
    for attr in of_task {
        invalid(rig.open(attr, Target::Task(&task)));
    }
    let on_exec = Attr {
        remove_on_exec: true,
        ..counting()
    };
    for attr in [trap, inherited(counting()), on_exec] {
        assert!(attr.check().is_ok());
        invalid(rig.open(attr, Target::Vcpu(V0)));
    }
    assert!(
        rig.open(sampling(Attr::MAX_PERIOD), Target::Task(&task))
            .is_ok()
    );
    rig.audit();
}

#[test]
fn a_group_has_one_target_and_one_leader() {
    let mut rig = Rig::new(2, 3);
    let [task, other] = [rig.task(0), rig.task(0)];
    let leader = rig.open_task(counting(), &task);
    let here = rig.open(counting(), Target::TaskOn(&task, V0)).unwrap();
    let machine = rig.open(counting(), Target::Vcpu(V0)).unwrap();
    let sibling = rig.open_in_group(counting(), &task, &leader).unwrap();
    for (attr, leader) in [
        (pinned(), &leader),
        (counting(), &sibling),
        (inherited(counting()), &leader),
        (counting(), &here),
        (counting(), &machine),
    ] {
        invalid(rig.open_in_group(attr, &task, leader));
    }
    invalid(rig.open_in_group(counting(), &other, &leader));
    // As many events as there are counters, and none more.
    rig.open_in_group(counting(), &task, &leader).unwrap();
    invalid(rig.open_in_group(counting(), &task, &leader));
    // Of a leader that has ended.
    let gone = rig.open_task(
        Attr {
            remove_on_exec: true,
            ..counting()
        },
        &task,
    );
    rig.exec(&task).unwrap();
    invalid(rig.open_in_group(counting(), &task, &gone));
    rig.close(&gone).unwrap();
    let refused = rig.open_in_group(counting(), &task, &gone).unwrap_err();
    assert_eq!((refused, refused.errno()), (PerfError::Closed, 9));
    rig.audit();
}

#[test]
fn operations_have_their_own_conditions() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let counts = rig.open_task(counting(), &task);
    let family = rig.open_task(inherited(sampling(10)), &task);
    let event = rig.open_task(sampling(10), &task);
    invalid(rig.refresh(&counts, 1));
    invalid(rig.refresh(&family, 1));
    invalid(rig.set_period(&counts, 1));
    invalid(rig.set_period(&event, 0));
    invalid(rig.set_period(&event, Attr::MAX_PERIOD + 1));
    rig.set_period(&event, Attr::MAX_PERIOD).unwrap();
    // An acknowledgement of nothing.
    invalid(rig.cpu(0).trap_done());
    rig.run_task(0, &task);
    invalid(rig.cpu(0).trap_done());
    // Nobody left, although nobody was there.
    rig.idle(0);
    assert!(rig.cpu(0).switch(None, Leaves::Queued, None).is_ok());
}

#[test]
fn a_closed_event_is_closed_for_everything() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let event = rig.open_task(sampling(10), &task);
    // Another handle of the same event.
    rig.close(&event.clone()).unwrap();
    let perf = rig.perf.clone();
    let mut buffer = [Reading::default(); 1];
    let refusals = [
        rig.close(&event),
        rig.enable(&event),
        rig.disable(&event),
        rig.refresh(&event, 1),
        rig.reset(&event),
        rig.set_period(&event, 5),
        perf.enable_group(&event, &mut rig),
        perf.disable_group(&event, &mut rig),
        perf.reset_group(&event, &mut rig),
        perf.read(&event, &mut rig).map(drop),
        perf.read_group(&event, &mut buffer, &mut rig).map(drop),
        perf.status(&event).map(drop),
    ];
    assert_eq!(refusals, [Err(PerfError::Closed); 12]);
    assert_eq!(PerfError::Closed.errno(), 9);
    // Its place is taken by another one, which is none of the old handle's business.
    let other = rig.open_task(sampling(10), &task);
    assert_eq!(rig.disable(&event), Err(PerfError::Closed));
    assert!(rig.is_on(&other));
}

#[test]
fn what_no_source_counts_is_not_opened() {
    let mut rig = Rig::with(PerfConfig {
        supports: |config| config.event == Event::CoreCycles,
        ..PerfConfig::new(1)
    });
    let task = rig.task(0);
    let branches = EventSelect(0x3_00C4).decode();
    for target in [Target::Task(&task), Target::Vcpu(V0)] {
        let refused = rig.open(Attr::counting(branches), target).unwrap_err();
        assert_eq!((refused, refused.errno()), (PerfError::NotCounted, 2));
        rig.open(counting(), target).unwrap();
    }
}

#[test]
fn a_buffer_is_as_long_as_the_group() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let leader = rig.open_task(counting(), &task);
    let sibling = rig.open_in_group(counting(), &task, &leader).unwrap();
    rig.run_task(0, &task);
    rig.happen(0, 5);
    let perf = rig.perf.clone();
    let mut short = [Reading::default(); 1];
    let refused = perf.read_group(&leader, &mut short, &mut rig).unwrap_err();
    assert_eq!((refused, refused.errno()), (PerfError::NoSpace(2), 28));
    let mut buffer = [Reading::default(); 3];
    // Whichever of them is asked.
    for event in [&leader, &sibling] {
        assert_eq!(perf.read_group(event, &mut buffer, &mut rig), Ok(2));
        let read = buffer.map(|reading| (reading.id, reading.count));
        assert_eq!(read, [(leader.id().0, 5), (sibling.id().0, 5), (0, 0)]);
    }
}

#[test]
fn vcpus_and_tasks_are_what_they_are() {
    let mut rig = Rig::new(2, 4);
    let perf = rig.perf.clone();
    let absent = VcpuId(2);
    let none = PerfError::NoSuchVcpu(absent);
    assert_eq!(none.errno(), 19);
    assert_eq!(perf.cpu(absent, ScriptSource::new()).unwrap_err(), none);
    assert_eq!(perf.create_task(absent).unwrap_err(), none);
    assert_eq!(perf.online(absent, &mut rig), Err(none));
    assert_eq!(perf.offline(absent, &mut rig), Err(none));
    let again = perf.cpu(V0, ScriptSource::new()).unwrap_err();
    assert_eq!((again, again.errno()), (PerfError::Attached(V0), 16));
    // Who is gone leaves the place to another.
    rig.cpus[0] = None;
    rig.cpus[0] = Some(perf.cpu(V0, ScriptSource::new()).unwrap());
    rig.online(0).unwrap();
    rig.audit();

    let task = rig.task(0);
    let id = task.id();
    assert_eq!(perf.migrate(&task, absent), Err(none));
    assert_eq!(perf.wake(&task, absent), Err(none));
    rig.run_task(0, &task);
    let current = PerfError::Current { task: id, vcpu: V0 };
    assert_eq!(rig.switch(1, Some(&task)), Err(current));
    assert_eq!(current.errno(), 16);
    for refused in [
        rig.cpu(1)
            .switch(Some(&task), Leaves::Queued, None)
            .unwrap_err(),
        perf.wake(&task, V1).unwrap_err(),
    ] {
        assert!(
            matches!(refused, PerfError::NotCurrent(task) | PerfError::NotBlocked(task) if task == id)
        );
        assert_eq!(refused.errno(), 22);
    }
    rig.block(0);
    let blocked = rig.switch(1, Some(&task)).unwrap_err();
    assert_eq!((blocked, blocked.errno()), (PerfError::Blocked(id), 22));
    rig.exit(&task).unwrap();
    for refused in [perf.migrate(&task, V1), perf.wake(&task, V1)] {
        assert_eq!(refused, Err(PerfError::NoSuchTask));
    }
    assert_eq!(PerfError::NoSuchTask.errno(), 3);
}
