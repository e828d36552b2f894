// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Q14, and what the event commands do.

use perf_port::{
    Command, Errno, EventNumber, EventState, Id, Leaves, Name, Open, OpenFlags, Target,
};

use crate::rig::*;

fn running() -> (World, Id) {
    let mut world = World::new(2);
    let task = world.create(0);
    world.run_task(0, task);
    (world, task)
}

fn refused(world: &mut World, open: Open) -> Errno {
    world.command(0, Command::Open(open)).unwrap_err()
}

#[test]
fn flags_are_what_they_say() {
    let (mut world, task) = running();
    let with = |flags| Open {
        flags,
        ..ticks(task)
    };
    let all = world.open(0, ticks(task));
    let user = world.open(0, with(OpenFlags::EXCLUDE_KERNEL));
    let kernel = world.open(0, with(OpenFlags::EXCLUDE_USER));
    let off = world.open(0, with(OpenFlags::DISABLED));
    for user in [true, true, true, false] {
        world.tick(0, user);
    }
    let counts = [all, user, kernel, off].map(|event| world.count_of(event));
    assert_eq!(counts, [4, 3, 1, 0]);
    let group = false;
    world
        .command(0, Command::Enable { event: off, group })
        .unwrap();
    world.tick(0, true);
    assert_eq!(world.count_of(off), 1);
    assert_eq!(world.reading(0, off).state, EventState::Active);
}

#[test]
fn what_is_pinned_gets_a_counter_or_an_error() {
    let (mut world, task) = running();
    // Four counters, five that insist.
    let pinned = Open {
        flags: OpenFlags::PINNED,
        ..ticks(task)
    };
    let events: Vec<_> = (0..5).map(|_| world.open(0, pinned)).collect();
    let failed = events[4];
    let before = world.outs(0);
    assert_eq!(world.command(0, Command::Read { event: failed }), Ok(1));
    let mut after = world.outs(0);
    assert_eq!(after[4], EventState::Error.number());
    after[4] = before[4];
    assert_eq!(after, before, "only its state is said");
    world.close(0, events[0]);
    let group = false;
    let enable = Command::Enable {
        event: failed,
        group,
    };
    assert_eq!(world.command(0, enable), Ok(0), "another chance");
    assert_eq!(world.reading(0, failed).state, EventState::Active);
}

#[test]
fn an_event_can_be_bound_to_a_vcpu() {
    let (mut world, task) = running();
    let there = Open {
        target: Target::TaskOn(task, 1),
        ..ticks(task)
    };
    let event = world.open(0, there);
    world.tick(0, true);
    world.idle(0, task, Leaves::Queued);
    world.run_task(1, task);
    world.tick(1, true);
    assert_eq!(world.count_of(event), 1);
}

#[test]
fn q14_an_event_with_a_limit_stops_there() {
    let (mut world, task) = running();
    for flags in [OpenFlags::NONE, OpenFlags::DISABLED] {
        let open = Open {
            flags,
            period: 2,
            limit: 3,
            ..ticks(task)
        };
        let event = world.open(0, open);
        for _ in 0..10 {
            world.tick(0, true);
        }
        let reading = world.reading(0, event);
        assert_eq!((reading.count, reading.overflows), (6, 3));
        assert_eq!(reading.state, EventState::Off);
        let again = Command::Refresh {
            event,
            overflows: 1,
        };
        assert_eq!(world.command(0, again), Ok(0));
        for _ in 0..10 {
            world.tick(0, true);
        }
        assert_eq!(world.reading(0, event).overflows, 4);
        world.close(0, event);
    }
}

#[test]
fn q14_a_limit_is_for_what_overflows_and_is_not_inherited() {
    let (mut world, task) = running();
    let limit = 1;
    let counts = Open {
        limit,
        ..ticks(task)
    };
    assert_eq!(refused(&mut world, counts), Errno::Invalid);
    let inherited = Open {
        flags: OpenFlags::INHERIT,
        period: 1,
        ..counts
    };
    assert_eq!(refused(&mut world, inherited), Errno::Invalid);
    assert_eq!(world.port.events(), 0);
    assert!(!world.announces(0), "nothing of it is left");
}

#[test]
fn contradictions_are_refused() {
    let (mut world, task) = running();
    let traps = trapping(task, 1, 7);
    for open in [
        // SIGTRAP needs a period, REMOVE_ON_EXEC and a task.
        Open { period: 0, ..traps },
        Open {
            flags: OpenFlags::NONE,
            ..traps
        },
        Open {
            target: Target::Vcpu(0),
            ..traps
        },
        Open {
            period: 1 << 63,
            ..ticks(task)
        },
        Open {
            flags: OpenFlags::INHERIT,
            target: Target::Vcpu(0),
            ..ticks(task)
        },
    ] {
        assert_eq!(refused(&mut world, open), Errno::Invalid, "{open:?}");
    }
    assert_eq!(world.port.events(), 0);
}

#[test]
fn a_group_counts_together() {
    let (mut world, task) = running();
    let leader = world.open(
        0,
        Open {
            flags: OpenFlags::DISABLED,
            ..ticks(task)
        },
    );
    let joined = Open {
        leader: Some(leader),
        ..ticks(task)
    };
    let member = world.open(0, joined);
    world.tick(0, true);
    assert_eq!(world.count_of(member), 0, "its leader is off");
    let (event, group) = (leader, true);
    assert_eq!(world.command(0, Command::Enable { event, group }), Ok(0));
    world.tick(0, true);
    world.tick(0, true);
    assert_eq!([leader, member].map(|event| world.count_of(event)), [2, 2]);
    assert_eq!(world.command(0, Command::Reset { event, group }), Ok(0));
    assert_eq!([leader, member].map(|event| world.count_of(event)), [0, 0]);
    assert_eq!(world.command(0, Command::Disable { event, group }), Ok(0));
    world.tick(0, true);
    assert_eq!([leader, member].map(|event| world.count_of(event)), [0, 0]);
    let of_member = Command::Reset {
        event: member,
        group: false,
    };
    assert_eq!(world.command(0, of_member), Ok(0));
}

#[test]
fn one_event_alone_is_reset_and_disabled() {
    let (mut world, task) = running();
    let leader = world.open(0, ticks(task));
    let member = world.open(
        0,
        Open {
            leader: Some(leader),
            ..ticks(task)
        },
    );
    world.tick(0, true);
    let (event, group) = (member, false);
    assert_eq!(world.command(0, Command::Reset { event, group }), Ok(0));
    assert_eq!([leader, member].map(|event| world.count_of(event)), [1, 0]);
    assert_eq!(world.command(0, Command::Disable { event, group }), Ok(0));
    world.tick(0, true);
    assert_eq!([leader, member].map(|event| world.count_of(event)), [2, 0]);
}

#[test]
fn a_period_is_set_anew() {
    let (mut world, task) = running();
    let event = world.open(
        0,
        Open {
            period: 100,
            ..ticks(task)
        },
    );
    let period = |period| Command::Period { event, period };
    assert_eq!(world.command(0, period(1)), Ok(0));
    world.tick(0, true);
    assert_eq!(world.reading(0, event).overflows, 1);
    assert_eq!(world.command(0, period(0)), Err(Errno::Invalid));
    assert_eq!(world.command(0, period(1 << 63)), Err(Errno::Invalid));
}

#[test]
fn times_are_the_tasks() {
    let (mut world, task) = running();
    let event = world.open(0, ticks(task));
    world.pass(500);
    world.idle(0, task, Leaves::Queued);
    world.pass(1_000_000);
    let reading = world.reading(1, event);
    assert_eq!((reading.enabled, reading.running), (500, 500));
    assert_eq!(reading.state, EventState::Inactive);
}

#[test]
fn forked_tasks_are_counted_and_executed_ones_lose_theirs() {
    let (mut world, parent) = running();
    let open = Open {
        flags: OpenFlags::INHERIT.with(OpenFlags::REMOVE_ON_EXEC),
        ..ticks(parent)
    };
    let event = world.open(0, open);
    let fork = Command::Fork { parent, name: None };
    let child = Id::new(world.command(0, fork).unwrap()).unwrap();
    world.run_task(1, child);
    world.tick(0, true);
    world.tick(1, true);
    assert_eq!(world.count_of(event), 2);
    let name = Name::new("other");
    let exec = Command::Exec { task: child, name };
    assert_eq!(world.command(1, exec), Ok(0));
    world.tick(1, true);
    assert_eq!(world.count_of(event), 2, "what it counted before stays");
    let exec = Command::Exec { task: parent, name };
    assert_eq!(world.command(0, exec), Ok(0));
    world.tick(0, true);
    let reading = world.reading(0, event);
    assert_eq!((reading.count, reading.state), (2, EventState::Exit));
}

#[test]
fn every_event_is_the_one_that_was_asked_for() {
    let (mut world, task) = running();
    for number in EventNumber::ALL {
        let event = world.open(0, Open::new(number, Target::Task(task)));
        world.tick(0, true);
        world.cpu(0).source_mut().inner_mut().count(100);
        let expected = if number == EventNumber::PortTick {
            1
        } else {
            100
        };
        assert_eq!(world.count_of(event), expected, "{number:?}");
        world.close(0, event);
    }
}
