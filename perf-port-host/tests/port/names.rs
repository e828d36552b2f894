// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Q6, Q9: what a guest can name, and what things are called.

use perf_port::{Command, Errno, EventState, Id, Leaves, Name, Target};
use perf_port_host::{TaskLine, TaskState};
use vcpu_call::VcpuId;
use vpmu::context::{self, Attr, TaskId};
use vpmu::{Event, EventConfig};

use crate::rig::*;

fn of_task(task: Id) -> [Command; 7] {
    let (vcpu, name) = (0, Name::NONE);
    let next = Some(task);
    [
        Command::Fork {
            parent: task,
            name: None,
        },
        Command::Exec { task, name },
        Command::Exit { task },
        Command::Migrate { task, vcpu },
        Command::Wake { task, vcpu },
        Command::Switch {
            prev: None,
            leaves: Leaves::Queued,
            next,
        },
        Command::Open(ticks(task)),
    ]
}

fn of_event(event: Id) -> [Command; 11] {
    [
        Command::Close { event },
        Command::Enable {
            event,
            group: false,
        },
        Command::Enable { event, group: true },
        Command::Disable {
            event,
            group: false,
        },
        Command::Disable { event, group: true },
        Command::Refresh {
            event,
            overflows: 1,
        },
        Command::Reset {
            event,
            group: false,
        },
        Command::Reset { event, group: true },
        Command::Period { event, period: 1 },
        Command::Read { event },
        Command::Traps { event },
    ]
}

fn lines(world: &World) -> Vec<(u64, String, TaskState, u32, usize)> {
    let line = |line: TaskLine| {
        let TaskLine {
            id: TaskId(id),
            name,
            state,
            vcpu: VcpuId(vcpu),
            events,
        } = line;
        (id, name.to_string(), state, vcpu, events)
    };
    world.port.tasks().into_iter().map(line).collect()
}

#[test]
fn q6_a_number_that_was_not_given_names_nothing() {
    let mut world = World::new(1);
    let task = world.create(0);
    let other = Id::new(task.get() + 1).unwrap();
    for command in of_task(other) {
        let refused = world.command(0, command);
        assert_eq!(refused, Err(Errno::NoSuchTask), "{command:?}");
    }
    for command in of_event(other) {
        let refused = world.command(0, command);
        assert_eq!(refused, Err(Errno::BadEvent), "{command:?}");
    }
}

#[test]
fn q6_the_hosts_events_cannot_be_named() {
    let mut world = World::new(1);
    let task = world.create(0);
    let handle = world.port.task(TaskId(task.get())).unwrap();
    let attr = Attr::counting(EventConfig::everywhere(Event::PortTick));
    let open = context::Open::new(attr, context::Target::Task(&handle));
    let event = world.perf.clone().open(&open, world.host()).unwrap();
    let id = Id::new(event.id().0).unwrap();
    for command in of_event(id) {
        assert_eq!(world.command(0, command), Err(Errno::BadEvent));
    }
    let leader = perf_port::Open {
        leader: Some(id),
        ..ticks(task)
    };
    let refused = world.command(0, Command::Open(leader));
    assert_eq!(refused, Err(Errno::BadEvent));
    // Nor do they take the guest's places.
    assert_eq!(world.port.events(), 0);
    world.perf.clone().close(&event, world.host()).unwrap();
}

#[test]
fn q9_an_exited_task_is_gone_and_its_events_are_read() {
    let mut world = World::new(1);
    let task = world.create(0);
    let event = world.open(0, ticks(task));
    world.run_task(0, task);
    world.tick(0, true);
    assert_eq!(world.command(0, Command::Exit { task }), Ok(0));
    assert_eq!(lines(&world), []);
    assert!(world.port.task(TaskId(task.get())).is_none());
    for command in of_task(task) {
        let refused = world.command(0, command);
        assert_eq!(refused, Err(Errno::NoSuchTask), "{command:?}");
    }
    world.tick(0, true);
    let reading = world.reading(0, event);
    assert_eq!((reading.count, reading.state), (1, EventState::Exit));
    // It is current until the guest says otherwise, which names it for the last time.
    let leave = Command::Switch {
        prev: Some(task),
        leaves: Leaves::Queued,
        next: None,
    };
    assert_eq!(world.command(0, leave), Ok(0));
    world.close(0, event);
    for command in of_event(event) {
        assert_eq!(world.command(0, command), Err(Errno::BadEvent));
    }
}

#[test]
fn q6_no_number_comes_again() {
    let mut world = World::new(1);
    let mut last = 0;
    for _ in 0..10 {
        let task = world.create(0);
        assert!(task.get() > last);
        last = task.get();
        world.command(0, Command::Exit { task }).unwrap();
    }
}

#[test]
fn tasks_are_listed_as_they_are() {
    let mut world = World::new(2);
    let create = Command::Create {
        vcpu: 1,
        name: Name::new("init"),
    };
    let init = Id::new(world.command(0, create).unwrap()).unwrap();
    let fork = |name| Command::Fork { parent: init, name };
    let same = world.command(0, fork(None)).unwrap();
    let named = Some(Name::from_bytes(*b"a\x1b[2Jb\0\0\0\0\0\0\0\0\0\0"));
    let other = world.command(0, fork(named)).unwrap();
    let queued = |id, name: &str, events| (id, name.to_owned(), TaskState::Queued, 1, events);
    assert_eq!(
        lines(&world),
        [
            queued(init.get(), "init", 0),
            queued(same, "init", 0),
            queued(other, r"a\x1b[2Jb", 0),
        ]
    );
    // An event makes it worth to know where they are.
    let event = world.open(0, ticks(init));
    world.run_task(0, init);
    let same = Id::new(same).unwrap();
    let blocked = Command::Switch {
        prev: None,
        leaves: Leaves::Queued,
        next: Some(same),
    };
    world.set_current(1, Some(same));
    world.command(1, blocked).unwrap();
    world.idle(1, same, Leaves::Blocked);
    let exec = Command::Exec {
        task: same,
        name: Name::new("shell"),
    };
    world.command(0, exec).unwrap();
    assert_eq!(
        lines(&world),
        [
            (init.get(), "init".to_owned(), TaskState::Running, 0, 1),
            (same.get(), "shell".to_owned(), TaskState::Blocked, 1, 0),
            queued(other, r"a\x1b[2Jb", 0),
        ]
    );
    world.close(1, event);
    assert_eq!(lines(&world)[0].4, 0);
}

#[test]
fn what_is_opened_on_a_vcpu_is_no_tasks() {
    let mut world = World::new(1);
    let task = world.create(0);
    let of_vcpu = perf_port::Open {
        target: Target::Vcpu(0),
        ..ticks(task)
    };
    let event = world.open(0, of_vcpu);
    assert_eq!(world.port.tasks()[0].events, 0);
    assert!(!world.announces(0), "nobody has to know what runs");
    world.tick(0, true);
    assert_eq!(world.count_of(event), 1);
}
