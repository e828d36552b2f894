// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Q7, Q8: announcements, and the host's own word (I21).

use perf_port::{Command, Errno, Id, Leaves};
use perf_port_host::TaskState;
use vpmu::context::TaskId;

use crate::rig::*;

/// Two tasks, queued on vCPU 0, and an event on both, so that switches are announced.
fn watched() -> (World, [Id; 2], [Id; 2]) {
    let mut world = World::new(2);
    let tasks = [world.create(0), world.create(0)];
    let events = tasks.map(|task| world.open(0, ticks(task)));
    (world, tasks, events)
}

fn to(prev: Option<Id>, next: Option<Id>) -> Command {
    Command::Switch {
        prev,
        leaves: Leaves::Queued,
        next,
    }
}

fn blocks(prev: Id) -> Command {
    Command::Switch {
        prev: Some(prev),
        leaves: Leaves::Blocked,
        next: None,
    }
}

fn state(world: &World, task: Id) -> (TaskState, u32) {
    let tasks = world.port.tasks();
    let line = tasks.iter().find(|line| line.id == TaskId(task.get()));
    let line = line.expect("it is there");
    (line.state, line.vcpu.0)
}

#[test]
fn q7_counts_follow_the_announced() {
    let (mut world, [a, b], [on_a, on_b]) = watched();
    world.run_task(0, a);
    world.tick(0, true);
    let said = world.switch(0, Some(a), Leaves::Queued, Some(b));
    assert_eq!(said, Some(Ok(0)));
    world.tick(0, true);
    world.tick(0, false);
    world.run_task(1, a);
    world.tick(1, true);
    assert_eq!((world.count_of(on_a), world.count_of(on_b)), (2, 2));
    assert_eq!(state(&world, a), (TaskState::Running, 1));
}

#[test]
fn q7_while_nobody_wants_to_know_nothing_is_announced() {
    let mut world = World::new(2);
    let task = world.create(0);
    assert_eq!(world.switch(1, None, Leaves::Queued, Some(task)), None);
    world.enter(1, true);
    // Opened from another vCPU: the page says where it runs.
    let event = world.open(0, ticks(task));
    assert!(world.announces(0) && world.announces(1));
    world.tick(1, true);
    assert_eq!(world.count_of(event), 1);
    world.close(0, event);
    assert!(!world.announces(0) && !world.announces(1));
}

/// U3: the host looked at the page first.
#[test]
fn q7_a_switch_to_what_is_current_is_done() {
    let (mut world, [a, b], _) = watched();
    world.run_task(0, a);
    for prev in [None, Some(a), Some(b)] {
        assert_eq!(world.command(0, to(prev, Some(a))), Ok(0));
    }
    assert_eq!(state(&world, a), (TaskState::Running, 0));
}

/// U2: it was woken, and nobody had to say so.
#[test]
fn q7_a_switch_wakes_what_was_blocked() {
    let (mut world, [a, _], [on_a, _]) = watched();
    world.run_task(0, a);
    world.idle(0, a, Leaves::Blocked);
    assert_eq!(state(&world, a), (TaskState::Blocked, 0));
    assert_eq!(world.command(1, to(None, Some(a))), Ok(0));
    world.tick(1, true);
    assert_eq!(world.count_of(on_a), 1);
}

#[test]
fn i21_a_task_is_current_on_one_vcpu() {
    let (mut world, [a, b], [on_a, _]) = watched();
    world.run_task(0, a);
    world.set_current(1, Some(a));
    let lie = world.command(1, to(None, Some(a)));
    assert_eq!(lie, Err(Errno::Busy));
    world.audit();
    assert_eq!(state(&world, a), (TaskState::Running, 0));
    world.tick(1, true);
    assert_eq!(world.count_of(on_a), 0, "it does not run there");
    // Nor does a look at the page make it so.
    let lie = world.command(1, to(Some(b), Some(b)));
    assert_eq!(lie, Err(Errno::Invalid));
    world.audit();
    assert_eq!(state(&world, a), (TaskState::Running, 0));
}

#[test]
fn q7_who_leaves_was_there() {
    let (mut world, [a, b], _) = watched();
    world.run_task(0, a);
    let lie = world.command(0, to(Some(b), None));
    assert_eq!(lie, Err(Errno::Invalid));
    let lie = world.command(0, to(None, Some(b)));
    assert_eq!(lie, Err(Errno::Invalid));
    assert_eq!(state(&world, a), (TaskState::Running, 0));
    assert_eq!(world.command(0, to(Some(a), Some(b))), Ok(0));
}

#[test]
fn q8_a_blocked_task_is_woken_where_it_is_said() {
    let (mut world, [a, _], _) = watched();
    world.run_task(0, a);
    assert_eq!(world.command(0, blocks(a)), Ok(0));
    let wake = Command::Wake { task: a, vcpu: 1 };
    assert_eq!(world.command(0, wake), Ok(0));
    assert_eq!(state(&world, a), (TaskState::Queued, 1));
}

/// It blocked while nobody had to say so.
#[test]
fn q8_waking_what_is_queued_places_it() {
    let (mut world, [a, _], _) = watched();
    let wake = Command::Wake { task: a, vcpu: 1 };
    assert_eq!(world.command(0, wake), Ok(0));
    assert_eq!(state(&world, a), (TaskState::Queued, 1));
    let absent = Command::Wake { task: a, vcpu: 2 };
    assert_eq!(world.command(0, absent), Err(Errno::NoSuchVcpu));
}

#[test]
fn i21_what_runs_is_neither_woken_nor_moved() {
    let (mut world, [a, _], _) = watched();
    world.run_task(0, a);
    let (task, vcpu) = (a, 1);
    let wake = world.command(1, Command::Wake { task, vcpu });
    assert_eq!(wake, Err(Errno::Busy));
    let moved = world.command(1, Command::Migrate { task, vcpu });
    assert_eq!(moved, Err(Errno::Busy));
    assert_eq!(state(&world, a), (TaskState::Running, 0));
}

#[test]
fn migrate_places_what_does_not_run() {
    let (mut world, [a, b], _) = watched();
    let to_1 = Command::Migrate { task: a, vcpu: 1 };
    assert_eq!(world.command(0, to_1), Ok(0));
    assert_eq!(state(&world, a), (TaskState::Queued, 1));
    world.run_task(0, b);
    world.command(0, blocks(b)).unwrap();
    let to_1 = Command::Migrate { task: b, vcpu: 1 };
    assert_eq!(world.command(0, to_1), Ok(0));
    assert_eq!(state(&world, b), (TaskState::Blocked, 1));
}

/// Seed 1: a task that blocks on a vCPU that is gone has its event opened, read and closed at once.
#[test]
fn a_task_that_is_stuck_is_answered_at_once() {
    let (mut world, [a, b], _) = watched();
    world.run_task(1, a);
    world.idle(1, a, Leaves::Blocked);
    let (port, thread) = world.vcpu(1);
    port.unplug(thread);
    let perf = world.perf.clone();
    let gone = vcpu_call::VcpuId(1);
    perf.offline(gone, world.host()).unwrap();
    world.threads.deaf.push(gone);
    let event = world.open(0, ticks(a));
    assert_eq!(world.outs(0)[0], 1, "one round");
    let group = false;
    for command in [
        Command::Disable { event, group },
        Command::Enable { event, group },
        Command::Reset { event, group },
        Command::Read { event },
    ] {
        assert_eq!(world.command(0, command), Ok(0), "{command:?}");
    }
    let wake = Command::Wake { task: a, vcpu: 0 };
    assert_eq!(world.command(0, wake), Ok(0));
    world.run_task(0, a);
    world.tick(0, true);
    assert_eq!(world.count_of(event), 1);
    world.close(0, event);
    world.idle(0, a, Leaves::Queued);
    world.run_task(0, b);
}
