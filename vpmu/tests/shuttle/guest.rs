// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU's thread: a guest that switches tasks, counts, takes traps, and lies.

use std::sync::Arc;

use vcpu_call::{Park, VcpuId};
use vpmu::context::order::Place;
use vpmu::context::{Leaves, PerfError, Sample, Task};
use vpmu::source::script::ScriptSource;

use crate::dice;
use crate::host;
use crate::truth::TaskBook;
use crate::watch::add;
use crate::world::{Thread, World};

const STEPS: u64 = 40;

/// Both ends of a vCPU that has no thread yet.
pub(crate) fn thread(world: &World, vcpu: VcpuId) -> Thread {
    let cpu = world.perf.cpu(vcpu, ScriptSource::new()).unwrap();
    Thread::new(cpu, world.calls.vcpu(vcpu).unwrap())
}

/// Lives until nobody wants anything any more.
pub(crate) fn live(world: &World, vcpu: VcpuId) {
    let mut me = thread(world, vcpu);
    world.wake_at_the_end(me.waker());
    plug(world, &mut me, true);
    for _ in 0..STEPS {
        step(world, &mut me);
    }
    world.done();
    while !world.is_over() {
        me.park();
    }
    plug(world, &mut me, false);
}

/// The mailbox is opened and closed with the vCPU, as by a VMM that plugs for good.
pub(crate) fn plug(world: &World, me: &mut Thread, online: bool) {
    let vcpu = me.cpu().id();
    world.plugging(vcpu, || {
        if online {
            assert_eq!(me.online(), Ok(()));
        } else if world.calls.is_online(vcpu) {
            assert_eq!(me.offline(), Ok(()));
        }
        assert!(online || !me.cpu().is_online(), "I10: online without calls");
    });
    assert_eq!(me.cpu().audit(), Ok(()), "when plugged");
}

fn step(world: &World, me: &mut Thread) {
    world.pass(dice::below(20));
    match dice::below(16) {
        0..6 => {
            me.serve();
            switch(world, me);
        }
        6..10 => host::something(world, me),
        10 => me.cpu_mut().rotate(),
        11 => acknowledge(world, me),
        12 if dice::once_in(3) => {
            world.operation();
            let online = dice::once_in(2);
            plug(world, me, online);
        }
        _ => {}
    }
    if me.cpu().is_online() {
        enter(world, me);
        // The entry itself may have served a call that took it offline.
        if me.cpu().is_online() {
            run(world, me, dice::below(30));
        }
    } else {
        me.serve();
        assert_eq!(me.cpu().audit(), Ok(()), "while offline");
    }
}

/// All that is done before the guest is entered, and what must hold then.
pub(crate) fn enter(world: &World, me: &mut Thread) {
    loop {
        me.serve();
        look(world, me);
        me.cpu_mut().irq_work();
        if dice::once_in(2) {
            return_to_user(world, me);
        }
        me.cpu_mut().arm();
        if !me.pending() {
            break;
        }
    }
    add(&world.totals.entries, 1);
    check_entry(world, me);
}

/// I1, I2 and I21 at the entry to the guest.
fn check_entry(world: &World, me: &Thread) {
    let vcpu = me.cpu().id();
    assert_eq!(me.cpu().audit(), Ok(()), "at the entry of vCPU {vcpu}");
    let current = me.cpu().current().map(Task::id);
    assert_eq!(
        world.watch.current(vcpu),
        current,
        "I2: not who was announced"
    );
    for book in world.tasks() {
        let here = book.task.place() == Place::Current(vcpu);
        let is = Some(book.task.id()) == current;
        assert_eq!(here, is, "I21: {} on vCPU {vcpu}", book.task.id());
    }
}

/// Looks at the counters, sometimes with a sample at an address that never comes again.
fn look(world: &World, me: &mut Thread) {
    let vcpu = me.cpu().id();
    let addr = if dice::once_in(3) { 0 } else { world.stamp() };
    let sample = (addr != 0).then_some(Sample { addr, user: true });
    world.watch.sample(vcpu, addr);
    me.cpu_mut().count(sample);
    world.watch.sample(vcpu, 0);
}

/// The guest goes on in user mode: it takes the trap that is due, or there is none (I13).
pub(crate) fn return_to_user(world: &World, me: &mut Thread) -> bool {
    let Some(task) = me.cpu().current().cloned() else {
        assert_eq!(me.cpu_mut().return_to_user(), None, "I13: for nobody");
        return false;
    };
    let book = world.book_of(&task);
    match me.cpu_mut().return_to_user() {
        Some(trap) => {
            assert!(
                !book.is_trapped(),
                "I13: a trap before the one before it was taken"
            );
            world.watch.check_sent(&trap);
            book.set_trapped(true);
            true
        }
        None => {
            let pending = world.watch.pending(task.id());
            let none = book.is_trapped() || book.exiting.is_raised() || pending == 0;
            assert!(none, "I13: {pending} traps are kept from {}", task.id());
            false
        }
    }
}

/// The guest says that it took its trap, which it may not have been given.
pub(crate) fn acknowledge(world: &World, me: &mut Thread) {
    let book = me.cpu().current().map(|task| world.book_of(task));
    let due = book.as_ref().is_some_and(|book| book.is_trapped());
    let done = me.cpu_mut().trap_done();
    assert_eq!(done.is_ok(), due, "I13: acknowledged {done:?}");
    if let Some(book) = book {
        book.set_trapped(false);
    }
}

/// The guest runs, and `n` events of each kind happen.
pub(crate) fn run(world: &World, me: &mut Thread, n: u64) {
    let vcpu = me.cpu().id();
    if let Some(task) = me.cpu().current() {
        let book = world.book_of(task);
        // The last moment at which another thread runs, until all is written down.
        if !task.has_exited() {
            book.happen(vcpu, n);
        }
    }
    add(&world.vcpu(vcpu).counts, n);
    me.cpu_mut().source_mut().count(n);
}

fn relatives(world: &World, prev: Option<&Task>) -> Vec<Arc<TaskBook>> {
    let tasks = world.tasks();
    let swaps = |book: &&Arc<TaskBook>| {
        let queued = matches!(book.task.place(), Place::Queued(_));
        queued && prev.is_some_and(|prev| world.book_of(prev).is_related(book))
    };
    tasks.iter().filter(swaps).cloned().collect()
}

/// The guest switches tasks, or says so.
fn switch(world: &World, me: &mut Thread) {
    world.operation();
    let prev = me.cpu().current().cloned();
    let next = match dice::below(8) {
        0 => None,
        1..5 => {
            let relative = dice::pick(&relatives(world, prev.as_ref())).cloned();
            relative.or_else(|| world.task_that(|place| matches!(place, Place::Queued(_))))
        }
        5 | 6 => world.task_that(|place| matches!(place, Place::Queued(_))),
        _ => Some(world.task()),
    };
    let leaves = if dice::once_in(3) {
        Leaves::Blocked
    } else {
        Leaves::Queued
    };
    if dice::once_in(8) {
        lie(world, me, next.as_deref());
    }
    switch_to(world, me, leaves, next.as_deref());
}

/// Says that somebody leaves who is not there.
fn lie(world: &World, me: &mut Thread, next: Option<&TaskBook>) {
    let liar = world.task();
    let current = me.cpu().current().map(Task::id);
    if current == Some(liar.task.id()) {
        return;
    }
    let next = next.map(|next| next.task.clone());
    let told = me.cpu_mut().switch(Some(&liar.task), Leaves::Blocked, next);
    assert!(told.is_err(), "I21: somebody else left");
    assert_eq!(me.cpu().current().map(Task::id), current, "I21: refused");
}

/// Announces a switch and holds the answer against the host's own word.
pub(crate) fn switch_to(
    world: &World,
    me: &mut Thread,
    leaves: Leaves,
    next: Option<&TaskBook>,
) -> bool {
    let vcpu = me.cpu().id();
    let prev = me.cpu().current().map(|task| world.book_of(task));
    let dead = next.is_some_and(|next| next.exited.is_raised());
    let parties: Vec<&TaskBook> = prev.as_deref().into_iter().chain(next).collect();
    parties.iter().for_each(|book| book.begin());
    let told = me.cpu_mut().switch(
        prev.as_ref().map(|prev| &prev.task),
        leaves,
        next.map(|next| next.task.clone()),
    );
    parties.iter().for_each(|book| book.finish());
    let current = me.cpu().current().map(Task::id);
    match told {
        Ok(left) => {
            assert!(!dead, "I8: a task that has exited runs");
            assert_eq!(left.map(|task| task.id()), prev.map(|prev| prev.task.id()));
            assert_eq!(current, next.map(|next| next.task.id()));
            let here = next.is_none_or(|next| next.task.place() == Place::Current(vcpu));
            assert!(here, "I21: current on vCPU {vcpu} and elsewhere");
            true
        }
        Err(error) => {
            let before = prev.map(|prev| prev.task.id());
            assert_eq!(current, before, "I21: a refused switch changed something");
            match error {
                PerfError::NoSuchVcpu(_) => assert!(!me.cpu().is_online(), "a good vCPU refuses"),
                PerfError::Current { .. } | PerfError::Blocked(_) => assert!(next.is_some()),
                PerfError::NoSuchTask => {
                    assert!(next.is_some_and(|next| next.exiting.is_raised()));
                }
                error => panic!("switch says {error}"),
            }
            false
        }
    }
}
