// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What comes between an overflow and its trap: another vCPU's call (R10), a switch to a task that
//! trades contexts (R11), a migration (R12), a long sleep.

use rt::sched::port::{self, EventNumber, EventState, Id, Open, OpenFlags, Target};
use rt::sched::{self, State, Step, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, check_eq, diag};

use crate::law::{BOTH, KERNEL, Traps, asked, number};
use crate::service;

/// Calls from another vCPU while the task overflows.
const CALLS: u64 = 150;
/// Stores of each of the task's rounds.
const STORES: u64 = 4;

/// A task that overflows in every way, until it is to rest.
fn busy() -> Result<Tid, Text> {
    service::let_rest(false);
    sched::set_word(0, 0);
    let script = [
        Step::blocks(),
        Step::store(1),
        service::ticks(1),
        Step::store_and_yield(),
        service::tick_and_yield(),
        Step::adds(0),
        service::rests(),
        Step::goes_to(1),
    ];
    let task = sched::spawn("busy", 1, &script)?;
    sched::await_state(task, State::Blocked)?;
    Ok(task)
}

/// Another task on the same vCPU, so that there are switches.
fn neighbour() -> Result<Tid, Text> {
    sched::spawn("neighbour", 1, &[Step::yields(), Step::goes_to(0)])
}

fn end(tasks: &[Tid]) -> Outcome {
    for &task in tasks {
        sched::kill(task);
        sched::join(task)?;
    }
    Ok(())
}

/// R10: an event of the same task is switched off and on by another vCPU, by a call to that which
/// runs the task, which reschedules. The event that traps is on all the while (I19), and misses
/// nothing.
pub(crate) fn enabled() -> Outcome {
    let (task, other) = (busy()?, neighbour()?);
    let event = Traps::on(task, 1, BOTH)?;
    let counter = Open::new(EventNumber::PortTick, Target::Task(number(task)));
    let counter: Id = port::must("open", |port| port.open(&counter))?.event;
    sched::wake(task, 1);
    event.await_handled(&[task], 1)?;
    for _ in 0..CALLS {
        port::must("disable", |port| port.disable(counter))?;
        port::must("enable", |port| port.enable(counter))?;
        port::must("enable", |port| port.enable(event.id))?;
        let state = event.read()?.state;
        check!(
            matches!(state, EventState::Active | EventState::Inactive),
            "the event is {state:?}"
        );
    }
    service::let_rest(true);
    sched::await_state(task, State::Blocked)?;
    let stores = STORES * sched::word(0);
    check_eq!(event.read()?.count, stores, "stores that were counted");
    let totals = event.settle("R10, another event", &[task])?;
    check_eq!(
        (totals.queued, totals.merged),
        (stores, 0),
        "queued and merged"
    );
    port::must("close", |port| port.close(counter))?;
    end(&[task, other])
}

/// R10: the event itself is switched off and on: each store that it counts is a trap.
pub(crate) fn disabled() -> Outcome {
    let (task, other) = (busy()?, neighbour()?);
    let event = Traps::on(task, 1, BOTH)?;
    sched::wake(task, 1);
    event.await_handled(&[task], 1)?;
    for _ in 0..CALLS {
        port::must("disable", |port| port.disable(event.id))?;
        let totals = event.totals()?;
        check_eq!(
            event.read()?.count,
            totals.queued,
            "stores, while it is off"
        );
        port::must("enable", |port| port.enable(event.id))?;
    }
    service::let_rest(true);
    sched::await_state(task, State::Blocked)?;
    let stores = STORES * sched::word(0);
    let count = event.read()?.count;
    diag!("{count} of {stores} stores were counted");
    check!(count <= stores, "more than there are");
    let totals = event.settle("R10, the event itself", &[task])?;
    check_eq!(
        (totals.queued, totals.merged),
        (count, 0),
        "queued and merged"
    );
    end(&[task, other])
}

/// R11: tasks of one family, with inherited events that are alike, switch to each other with a trap
/// on its way. Each gets its own.
pub(crate) fn traded() -> Outcome {
    const ROUNDS: u64 = 60;
    const OWN: u64 = 2;
    const TASKS: usize = 3;
    let script = [
        Step::blocks(),
        Step::forks(3),
        Step::forks(3),
        service::tick_and_yield(),
        Step::yields(),
        Step::store_and_yield(),
        Step::yields(),
        Step::repeats(3, ROUNDS),
        Step::blocks(),
        Step::goes_to(8),
    ];
    let root = sched::spawn("family", 1, &script)?;
    sched::await_state(root, State::Blocked)?;
    let event = Traps::open(&Open {
        flags: OpenFlags::INHERIT.with(OpenFlags::REMOVE_ON_EXEC),
        ..asked(root, 1, BOTH)
    })?;
    sched::wake(root, 1);
    event.await_handled(&[root], 1)?;
    let mut family = [root; TASKS];
    check_eq!(sched::tasks().count(), TASKS, "tasks");
    for (place, tid) in family.iter_mut().zip(sched::tasks()) {
        *place = tid;
    }
    for tid in family {
        sched::await_state(tid, State::Blocked)?;
        check_eq!(
            event.handled(&[tid]),
            OWN * ROUNDS,
            "traps of task {}",
            tid.0
        );
        for trap in sched::log(tid) {
            check_eq!(trap.task, sched::port_id(tid), "whose trap it is");
            check_eq!(trap.event, event.id.get(), "the event of the trap");
        }
    }
    let totals = event.settle_family("R11", &family, OWN * ROUNDS * TASKS as u64)?;
    check_eq!(totals.merged, 0, "merged");
    end(&family)
}

/// R12: the task leaves its vCPU with a trap on its way. It gets it on the next one, before anything
/// else.
pub(crate) fn migrated() -> Outcome {
    const ROUNDS: u64 = 60;
    const JOURNEY: [usize; 3] = [2, 3, 1];
    let script = [
        Step::blocks(),
        service::tick_and_migrate(JOURNEY[0]),
        service::tick_and_migrate(JOURNEY[1]),
        service::tick_and_migrate(JOURNEY[2]),
        Step::repeats(1, ROUNDS),
        Step::exits(),
    ];
    let task = sched::spawn("migrates", 1, &script)?;
    let event = Traps::on(task, 1, KERNEL)?;
    crate::law::run(task, 1)?;
    for (trap, cpu) in sched::log(task).zip(JOURNEY.iter().cycle()) {
        check_eq!(trap.cpu, *cpu as u64, "where a trap came");
        check!(trap.by_user, "it came after the return");
    }
    let totals = event.settle("R12", &[task])?;
    check_eq!(
        (totals.queued, totals.merged),
        (ROUNDS * JOURNEY.len() as u64, 0),
        "queued and merged"
    );
    sched::join(task)
}

/// The task sleeps with a trap on its way, and is woken, or put first, elsewhere.
pub(crate) fn woken() -> Outcome {
    const ROUNDS: usize = 24;
    let script = [
        Step::blocks(),
        service::tick_and_block(),
        Step::repeats(1, ROUNDS as u64),
        Step::exits(),
    ];
    let task = sched::spawn("sleeps", 1, &script)?;
    let event = Traps::on(task, 1, KERNEL)?;
    sched::await_state(task, State::Blocked)?;
    sched::wake(task, 1);
    for round in 0..ROUNDS {
        sched::await_state(task, State::Blocked)?;
        let totals = event.totals()?;
        check_eq!(
            (totals.sent, totals.pending),
            (round as u64, 1),
            "sent and pending"
        );
        let cpu = 1 + round % 3;
        if round % 2 == 1 {
            sched::place(task, 1 + (round + 1) % 3);
        }
        sched::wake(task, cpu);
        event.await_handled(&[task], round as u64 + 1)?;
    }
    sched::await_state(task, State::Exited)?;
    for (trap, round) in sched::log(task).zip(0..) {
        check_eq!(trap.cpu, 1 + round % 3, "where a trap came");
    }
    event.settle("woken", &[task])?;
    sched::join(task)
}
