// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Quiescence: traps drained, tasks exited, events closed. Then everything must add up.

use std::sync::Arc;

use vcpu_call::VcpuId;
use vpmu::context::order::Place;
use vpmu::context::{EventId, Leaves, State, TrapCounts};

use crate::books::{EventBook, Role};
use crate::guest::{acknowledge, enter, plug, return_to_user, run, switch_to, thread};
use crate::host;
use crate::world::{Thread, World};

const LAST: VcpuId = VcpuId(0);

/// The one thread that is left settles everything.
pub(crate) fn settle(world: Arc<World>) {
    let mut me = thread(&world, LAST);
    plug(&world, &mut me, true);
    drain(&world, &mut me);
    let mut accounts = Vec::new();
    let (closed, open) = world
        .take_events()
        .into_iter()
        .partition(|book| book.is_closing());
    bury(closed, &mut accounts);
    for book in &open {
        check_still(&world, &mut me, book);
    }
    world.put_events(open);
    exit_all(&world, &mut me);
    for book in world.events() {
        host::close(&world, &mut me, &book);
    }
    plug(&world, &mut me, false);
    drop(me);
    bury(world.take_events(), &mut accounts);
    check_laws(&world, &accounts);
}

/// What is left of an event when its handles are gone.
struct Account {
    id: EventId,
    sigtrap: bool,
    traps: TrapCounts,
}

/// Nobody but the handles of this test holds events that are closed, nor their children, though
/// their tasks may still be there (I17).
fn bury(events: Vec<Arc<EventBook>>, accounts: &mut Vec<Account>) {
    for book in events {
        let (id, ear) = (book.event.id(), Arc::clone(&book.ear));
        accounts.push(Account {
            id,
            sigtrap: book.attr().sigtrap.is_some(),
            traps: book.event.traps(),
        });
        drop(book);
        assert_eq!(Arc::strong_count(&ear), 1, "I17: event {id} is held");
    }
}

/// Every task that is alive takes all its traps (I14).
fn drain(world: &World, me: &mut Thread) {
    for book in world.tasks() {
        if book.exited.is_raised() {
            continue;
        }
        if let Place::Blocked(_) = book.task.place() {
            world.perf.wake(&book.task, LAST).unwrap();
        }
        assert!(switch_to(world, me, Leaves::Queued, Some(&book)));
        if book.is_trapped() {
            acknowledge(world, me);
        }
        while return_to_user(world, me) {
            acknowledge(world, me);
        }
        assert_eq!(world.watch.pending(book.task.id()), 0, "I14: drained");
        enter(world, me);
    }
    assert!(switch_to(world, me, Leaves::Queued, None));
}

/// What an event says of itself when nothing happens any more.
fn check_still(world: &World, me: &mut Thread, book: &EventBook) {
    host::look(world, book);
    let reading = world.perf.read(&book.event, me).unwrap();
    host::read(world, me, book);
    let status = world.perf.status(&book.event).unwrap();
    book.check_ear(&status);
    assert!(!status.pending, "I15: a trap is left {status:?}");
    let Some(period) = book.exact_period() else {
        return;
    };
    // Nothing is held back off the counters, so whole periods are overflows.
    if let (Some(reading), false) = (reading, matches!(status.state, State::Active(_))) {
        let due = reading.count / period;
        assert_eq!(status.overflows, due, "I14: {reading:?} {status:?}");
    }
}

/// Tasks exit, some of them while they are current, and nothing of them counts on (I8).
fn exit_all(world: &World, me: &mut Thread) {
    for (nth, book) in world.tasks().into_iter().enumerate() {
        if book.exited.is_raised() {
            continue;
        }
        if nth % 2 == 0 {
            assert!(switch_to(world, me, Leaves::Queued, Some(&book)));
            enter(world, me);
            run(world, me, 100);
        }
        host::exit(world, me, &book);
        run(world, me, 100);
        enter(world, me);
    }
    assert!(switch_to(world, me, Leaves::Queued, None));
    for book in world.events() {
        host::look(world, &book);
        host::read(world, me, &book);
    }
}

/// The counting law, to the unit (I14).
fn check_laws(world: &World, accounts: &[Account]) {
    let mut law = (0, 0);
    for Account { id, traps, .. } in accounts {
        let gone = traps.sent + traps.dropped;
        assert_eq!(traps.queued, gone, "I14: {traps:?} of {id}");
        law.0 += traps.queued + traps.merged + traps.refused;
        law.1 += traps.queued;
    }
    // Overflows of inherited events, whose numbers nobody knows, are all traps.
    let traps = |id| {
        let known = accounts.iter().find(|account| account.id == id);
        known.is_none_or(|account| account.sigtrap)
    };
    assert_eq!(world.watch.overflows(traps), law.0, "I14: overflows");
    assert_eq!(world.watch.queued(), law.1, "I14: queued");
}

impl EventBook {
    /// Its period, if that was the same from the beginning and nothing ever held it back for good.
    fn exact_period(&self) -> Option<u64> {
        let attr = self.attr();
        let exact = self.role == Role::Quiet && attr.samples() && !attr.inherit;
        exact.then_some(attr.period)
    }
}
