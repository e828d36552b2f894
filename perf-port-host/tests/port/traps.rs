// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Q10, Q11: traps, from the overflow to the guest's word that it has them.

use perf_port::page::{TRAP_NONE, TRAP_TAKEN, TRAP_WAITS, TrapRecord};
use perf_port::{Command, Errno, Id, Leaves, TrapTotals};

use crate::rig::*;

/// A task that runs on vCPU 0, with an event that traps every second tick.
fn trapped() -> (World, Id, Id) {
    let mut world = World::new(2);
    let task = world.create(0);
    let event = world.open(0, trapping(task, 2, 0xD1));
    world.run_task(0, task);
    (world, task, event)
}

fn law(world: &mut World, event: Id) -> TrapTotals {
    let totals = world.traps_of(event);
    let overflows = world.reading(0, event).overflows;
    let TrapTotals {
        queued,
        merged,
        refused,
        sent,
        dropped,
        pending,
    } = totals;
    assert_eq!(overflows, queued + merged + refused);
    assert_eq!(queued, sent + dropped + pending);
    totals
}

#[test]
fn q11_in_user_mode_a_trap_is_handed_over_at_once() {
    let (mut world, task, event) = trapped();
    assert!(!world.tick(0, true));
    assert_eq!(world.trap(0), TRAP_NONE);
    assert!(world.tick(0, true), "the second tick overflows");
    assert_eq!(world.trap(0), TRAP_TAKEN);
    let record = TrapRecord {
        event: event.get(),
        task: task.get(),
        addr: TICK,
        data: 0xD1,
    };
    assert_eq!(world.record(0), record);
    assert_eq!(world.command(0, Command::TrapDone), Ok(0));
    assert_eq!(world.trap(0), TRAP_NONE);
    assert_eq!(law(&mut world, event).sent, 1);
}

#[test]
fn q10_in_kernel_mode_it_waits_for_the_return() {
    let (mut world, _, event) = trapped();
    world.tick(0, false);
    assert!(!world.tick(0, false));
    assert_eq!(world.trap(0), TRAP_WAITS);
    assert_eq!(law(&mut world, event).pending, 1);
    assert_eq!(world.command(0, Command::User), Ok(1));
    assert_eq!(world.trap(0), TRAP_TAKEN);
    assert_eq!(world.record(0).event, event.get());
    assert_eq!(world.command(0, Command::User), Ok(0), "there is no other");
    assert_eq!(world.trap(0), TRAP_TAKEN);
    assert_eq!(world.command(0, Command::TrapDone), Ok(0));
    assert_eq!(world.trap(0), TRAP_NONE);
}

#[test]
fn q11_without_a_trap_there_is_nothing_to_take() {
    let (mut world, ..) = trapped();
    let before = world.record(0);
    assert_eq!(world.command(0, Command::User), Ok(0));
    assert_eq!((world.trap(0), world.record(0)), (TRAP_NONE, before));
    assert!(!world.enter(0, true));
    let (port, thread) = world.vcpu(0);
    assert!(!port.hand_over(thread));
    assert_eq!(world.command(0, Command::TrapDone), Err(Errno::Invalid));
}

#[test]
fn q10_the_next_one_comes_when_the_one_before_was_acknowledged() {
    let (mut world, task, first) = trapped();
    let second = world.open(0, trapping(task, 2, 0xD2));
    world.tick(0, true);
    assert!(world.tick(0, true), "both overflow");
    assert_eq!(world.record(0).data, 0xD1, "the first one's comes first");
    assert!(!world.enter(0, true), "one at a time");
    assert_eq!(world.command(0, Command::User), Ok(0));
    assert_eq!(world.command(0, Command::TrapDone), Ok(1));
    assert_eq!(world.trap(0), TRAP_WAITS);
    assert!(world.enter(0, true));
    assert_eq!(world.record(0).data, 0xD2);
    assert_eq!(world.command(0, Command::TrapDone), Ok(0));
    for event in [first, second] {
        let totals = law(&mut world, event);
        assert_eq!((totals.queued, totals.sent), (1, 1));
    }
}

#[test]
fn q10_overflows_inside_the_handler_are_merged() {
    let (mut world, _, event) = trapped();
    world.tick(0, true);
    world.tick(0, true);
    for _ in 0..6 {
        assert!(!world.tick(0, true));
    }
    let totals = law(&mut world, event);
    assert_eq!((totals.queued, totals.merged, totals.sent), (2, 2, 1));
    assert_eq!(world.command(0, Command::TrapDone), Ok(1));
    assert!(world.enter(0, true));
    assert_eq!(world.command(0, Command::TrapDone), Ok(0));
    let totals = law(&mut world, event);
    assert_eq!((totals.queued, totals.sent, totals.pending), (2, 2, 0));
}

/// R12: the trap goes where its task goes.
#[test]
fn q10_a_switch_says_what_the_next_task_has() {
    let (mut world, task, _) = trapped();
    let other = world.create(0);
    world.tick(0, false);
    world.tick(0, false);
    assert_eq!(world.trap(0), TRAP_WAITS);
    let said = world.switch(0, Some(task), Leaves::Queued, Some(other));
    assert_eq!(said, Some(Ok(0)));
    assert_eq!(world.trap(0), TRAP_NONE, "not the other one's");
    assert!(!world.enter(0, true));
    world.run_task(1, task);
    assert_eq!(world.trap(1), TRAP_WAITS);
    assert!(world.enter(1, true));
    assert_eq!(world.trap(1), TRAP_TAKEN);
    // Handed over, it is still the task's business when it comes back.
    world.idle(1, task, Leaves::Queued);
    assert_eq!(world.trap(1), TRAP_NONE);
    world.idle(0, other, Leaves::Queued);
    world.run_task(0, task);
    assert_eq!(world.trap(0), TRAP_TAKEN);
    assert_eq!(world.command(0, Command::TrapDone), Ok(0));
}

/// R14: an event is closed with its trap on the way.
#[test]
fn a_trap_outlives_its_event() {
    let (mut world, _, event) = trapped();
    world.tick(0, false);
    world.tick(0, false);
    world.close(0, event);
    assert!(world.announces(0), "its task has to be followed");
    assert_eq!(world.command(0, Command::User), Ok(1));
    assert_eq!(world.record(0).event, event.get());
    assert!(world.announces(0), "until it has it");
    assert_eq!(world.command(0, Command::TrapDone), Ok(0));
    assert!(!world.announces(0));
    assert_eq!(world.port.events(), 0);
}

#[test]
fn q10_an_exit_takes_its_traps_along() {
    let (mut world, task, event) = trapped();
    world.tick(0, false);
    world.tick(0, false);
    assert_eq!(world.command(0, Command::Exit { task }), Ok(0));
    assert_eq!(world.trap(0), TRAP_NONE);
    assert_eq!(law(&mut world, event).dropped, 1);
    assert_eq!(world.command(0, Command::User), Ok(0));
    assert!(!world.enter(0, true));
}

/// Another vCPU ends the task: what waited for it is gone, and this one's page says so at its next
/// entry.
#[test]
fn q10_an_exit_from_elsewhere_takes_its_word_back() {
    let (mut world, task, _) = trapped();
    world.tick(0, false);
    world.tick(0, false);
    assert_eq!(world.trap(0), TRAP_WAITS);
    assert_eq!(world.command(1, Command::Exit { task }), Ok(0));
    assert!(!world.enter(0, false));
    assert_eq!(world.trap(0), TRAP_NONE);
}

#[test]
fn a_family_has_its_traps_counted_together() {
    let mut world = World::new(1);
    let parent = world.create(0);
    let open = perf_port::Open {
        flags: perf_port::OpenFlags::REMOVE_ON_EXEC.with(perf_port::OpenFlags::INHERIT),
        ..trapping(parent, 1, 7)
    };
    let event = world.open(0, open);
    let fork = Command::Fork { parent, name: None };
    let child = Id::new(world.command(0, fork).unwrap()).unwrap();
    world.run_task(0, child);
    world.tick(0, false);
    let totals = world.traps_of(event);
    assert_eq!((totals.queued, totals.pending), (1, 1));
    assert!(world.enter(0, true));
    let record = world.record(0);
    assert_eq!((record.event, record.task), (event.get(), child.get()));
    assert_eq!(world.command(0, Command::TrapDone), Ok(0));
    let totals = world.traps_of(event);
    assert_eq!((totals.sent, totals.pending), (1, 0));
    assert_eq!(world.count_of(event), 1);
}
