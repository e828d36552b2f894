// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Q4, Q5: limits.

use std::sync::Arc;

use perf_port::{Command, Errno, EventNumber, Id, Name, Open, OpenFlags, Target, io};
use perf_port_host::PortLimits;

use crate::rig::*;

const SECOND: u64 = 1_000_000_000;

fn limited(limits: PortLimits) -> World {
    World::with(2, limits)
}

#[test]
fn q4_there_are_only_so_many_tasks() {
    let mut world = limited(PortLimits {
        tasks: 3,
        ..PortLimits::default()
    });
    let name = Name::NONE;
    let first = world.create(0);
    let second = world.create(1);
    let fork = Command::Fork {
        parent: first,
        name: None,
    };
    world.command(0, fork).unwrap();
    let create = Command::Create { vcpu: 0, name };
    assert_eq!(world.command(0, create), Err(Errno::NoMemory));
    assert_eq!(world.command(1, fork), Err(Errno::NoMemory));
    assert_eq!(world.port.tasks().len(), 3);
    // One that exits makes room; one that was refused takes none.
    world.command(0, Command::Exit { task: second }).unwrap();
    let absent = Command::Create { vcpu: 9, name };
    assert_eq!(world.command(0, absent), Err(Errno::NoSuchVcpu));
    assert!(world.command(0, create).is_ok());
    assert_eq!(world.command(0, create), Err(Errno::NoMemory));
}

#[test]
fn q4_there_are_only_so_many_events() {
    let mut world = limited(PortLimits {
        events: 2,
        ..PortLimits::default()
    });
    let task = world.create(0);
    let first = world.open(0, ticks(task));
    // Refused for another reason: it takes no place.
    let absent = Open::new(EventNumber::PortTick, Target::Vcpu(5));
    let refused = world.command(0, Command::Open(absent));
    assert_eq!(refused, Err(Errno::NoSuchVcpu));
    world.open(1, Open::new(EventNumber::Cycles, Target::Vcpu(1)));
    let third = Command::Open(ticks(task));
    assert_eq!(world.command(0, third), Err(Errno::NoMemory));
    assert_eq!(world.port.events(), 2);
    // An exit closes nothing.
    world.command(0, Command::Exit { task }).unwrap();
    let task = world.create(0);
    let third = Command::Open(ticks(task));
    assert_eq!(world.command(0, third), Err(Errno::NoMemory));
    world.close(0, first);
    assert!(world.command(0, third).is_ok());
}

/// Forks inherit events without opening any: they come to an end as well.
#[test]
fn q4_forks_inherit_only_so_many_events() {
    let mut world = limited(PortLimits {
        events: 5,
        ..PortLimits::default()
    });
    let task = world.create(0);
    for _ in 0..2 {
        let open = Open {
            flags: OpenFlags::INHERIT,
            ..ticks(task)
        };
        world.open(0, open);
    }
    let fork = |parent| Command::Fork { parent, name: None };
    let child = world.command(0, fork(task)).unwrap();
    assert_eq!(world.command(0, fork(task)), Err(Errno::NoMemory));
    let child = Id::new(child).unwrap();
    assert_eq!(world.command(0, fork(child)), Err(Errno::NoMemory));
    // A task without events inherits none, nor does one of whose events none is inherited.
    let other = world.create(0);
    assert!(world.command(0, fork(other)).is_ok());
    world.open(0, ticks(other));
    assert!(world.command(0, fork(other)).is_ok());
    assert_eq!(world.command(0, fork(task)), Err(Errno::NoMemory));
    world.command(0, Command::Exit { task: child }).unwrap();
    assert!(world.command(0, fork(task)).is_ok());
}

fn nop(world: &mut World, vcpu: u32) -> Result<u64, Errno> {
    world.command(vcpu, Command::Nop)
}

#[test]
fn q5_there_are_only_so_many_calls_a_second() {
    let mut world = limited(PortLimits {
        calls_per_second: 5,
        ..PortLimits::default()
    });
    // The registration was the first.
    for _ in 0..4 {
        assert_eq!(nop(&mut world, 0), Ok(0));
    }
    assert_eq!(nop(&mut world, 0), Err(Errno::TryAgain));
    assert_eq!(world.status(0), 0, "it is in the page");
    assert_eq!(nop(&mut world, 1), Ok(0), "each vCPU has its own");
    world.pass(SECOND / 5 - 1);
    assert_eq!(nop(&mut world, 0), Err(Errno::TryAgain));
    world.pass(1);
    assert_eq!(nop(&mut world, 0), Ok(0));
    assert_eq!(nop(&mut world, 0), Err(Errno::TryAgain));
    // However long it was quiet, what was saved is a second's.
    world.pass(1000 * SECOND);
    for _ in 0..5 {
        assert_eq!(nop(&mut world, 0), Ok(0));
    }
    assert_eq!(nop(&mut world, 0), Err(Errno::TryAgain));
}

#[test]
fn q5_a_call_that_was_too_many_does_nothing() {
    let mut world = limited(PortLimits {
        calls_per_second: 2,
        ..PortLimits::default()
    });
    let task = world.create(0);
    world.ram.loads();
    let refused = world.command(0, Command::Exit { task });
    assert_eq!(refused, Err(Errno::TryAgain));
    assert!(world.ram.loads().is_empty(), "its block is not looked at");
    assert_eq!(world.port.tasks().len(), 1);
    // Nor does a registration, but a page can always be taken back.
    world.register(0, frame(1));
    assert_eq!((world.status(0), world.read(0, io::PAGE)), (11, frame(0)));
    world.register(0, 0);
    assert_eq!((world.status(0), world.read(0, io::PAGE)), (0, 0));
}

#[test]
fn q5_without_a_limit_there_is_none() {
    let mut world = World::new(1);
    for _ in 0..10_000 {
        assert_eq!(nop(&mut world, 0), Ok(0));
    }
}

#[test]
fn q4_an_event_can_be_opened_once_more_for_each_that_is_closed() {
    let mut world = limited(PortLimits {
        events: 1,
        ..PortLimits::default()
    });
    let task = world.create(0);
    let mut last: Option<Id> = None;
    for _ in 0..100 {
        let event = world.open(0, ticks(task));
        assert!(Some(event) > last, "Q6: no number comes again");
        world.close(0, event);
        last = Some(event);
    }
    assert_eq!(world.port.events(), 0);
}

/// An event that is closed with its trap on the way costs the host as much as one that is open, until
/// the task has the trap.
#[test]
fn q4_a_closed_event_whose_trap_is_on_its_way_keeps_its_place() {
    let mut world = limited(PortLimits {
        events: 2,
        ..PortLimits::default()
    });
    let task = world.create(0);
    world.run_task(0, task);
    let mut closed = 0;
    while let Ok(event) = world.command(0, Command::Open(trapping(task, 1, 7))) {
        world.tick(0, false);
        world.close(0, Id::new(event).unwrap());
        closed += 1;
        assert!(closed <= 2, "as many as there may be");
    }
    assert_eq!(world.command(0, Command::User), Ok(1));
    assert!(
        world
            .command(0, Command::Open(trapping(task, 1, 7)))
            .is_ok()
    );
}

/// A machine that ends takes everything with it: tasks, events, traps on their way and handed over, and
/// the pages that name tasks.
#[test]
fn i17_nothing_outlives_the_machine() {
    let mut world = World::new(2);
    let task = world.create(0);
    world.open(0, trapping(task, 1, 7));
    world.open(0, trapping(task, 1, 8));
    world.run_task(0, task);
    assert!(
        world.tick(0, true),
        "the first trap is handed over, the other one waits"
    );
    let ram = Arc::downgrade(&world.ram);
    drop(world);
    assert!(ram.upgrade().is_none(), "something keeps the guest's RAM");
}
