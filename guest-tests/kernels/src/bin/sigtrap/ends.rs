// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The end of an event or of its task, with a trap on its way.

use rt::random::Random;
use rt::sched::port::{self, EventState};
use rt::sched::{self, State, Step};
use rt::tap::Outcome;
use rt::{check, check_eq, cmdline, diag, time};

use crate::law::{BOTH, KERNEL, Traps, note};
use crate::service;

/// R14: the event is closed, and its trap comes all the same.
pub(crate) fn closed() -> Outcome {
    const ROUNDS: usize = 20;
    let script = [Step::blocks(), service::tick_and_block(), Step::goes_to(1)];
    let task = sched::spawn("closed", 1, &script)?;
    let mut closed = [0; ROUNDS];
    for (round, place) in (0..).zip(&mut closed) {
        sched::await_state(task, State::Blocked)?;
        let event = Traps::on(task, 1, KERNEL)?;
        // It gets the last event's trap, and overflows once more.
        sched::wake(task, 1 + rt::index(round) % 3);
        event.await_handled(&[task], round)?;
        sched::await_state(task, State::Blocked)?;
        let totals = event.totals()?;
        check_eq!(
            (totals.queued, totals.pending),
            (1, 1),
            "queued and pending"
        );
        port::must("close", |port| port.close(event.id))?;
        event.is_gone()?;
        check_eq!(event.handled(&[task]), round, "traps so far");
        *place = event.id.get();
        note(
            1,
            &port::TrapTotals {
                sent: 1,
                pending: 0,
                ..totals
            },
            1,
        );
    }
    sched::wake(task, 1);
    let came = time::wait_ms(30_000, || sched::logged(task) == ROUNDS as u64);
    check!(came, "{} traps, not {ROUNDS}", sched::logged(task));
    for (trap, event) in sched::log(task).zip(closed) {
        check_eq!(trap.event, event, "the event of a trap");
    }
    sched::kill(task);
    sched::join(task)
}

/// R14: no overflow begins when the close has returned, and what began before is not lost.
pub(crate) fn closed_running() -> Outcome {
    const ROUNDS: u64 = 60;
    service::let_rest(false);
    let script = [
        Step::blocks(),
        Step::store(3),
        service::tick_and_yield(),
        service::rests(),
        Step::goes_to(1),
    ];
    let task = sched::spawn("closed", 1, &script)?;
    let other = sched::spawn("other", 1, &[Step::yields(), Step::goes_to(0)])?;
    sched::await_state(task, State::Blocked)?;
    sched::wake(task, 1);
    let mut random = Random::new(cmdline::number("seed").unwrap_or_else(time::tsc));
    let mut expected = 0;
    for _ in 0..ROUNDS {
        let event = Traps::on(task, 1, BOTH)?;
        event.await_handled(&[task], expected + 1)?;
        time::compute(random.below(20_000));
        port::must("disable", |port| port.disable(event.id))?;
        let (totals, reading) = (event.totals()?, event.read()?);
        port::must("close", |port| port.close(event.id))?;
        event.is_gone()?;
        check_eq!(totals.dropped, 0, "dropped");
        check_eq!(
            reading.overflows,
            totals.queued + totals.merged + totals.refused,
            "overflows of {totals:?}"
        );
        let sent = totals.queued;
        note(
            reading.overflows,
            &port::TrapTotals { sent, ..totals },
            sent,
        );
        expected += sent;
        event.await_handled(&[task], expected)?;
    }
    service::let_rest(true);
    sched::await_state(task, State::Blocked)?;
    diag!(
        "closed: {ROUNDS} events, {expected} queued, {} handled",
        sched::logged(task)
    );
    check_eq!(sched::logged(task), expected, "traps");
    for tid in [task, other] {
        sched::kill(tid);
        sched::join(tid)?;
    }
    Ok(())
}

/// R16: each with a trap of its own on its way, on two vCPUs at once.
pub(crate) fn each_other() -> Outcome {
    const ROUNDS: u64 = 20;
    let script = |event| {
        [
            Step::blocks(),
            service::tick_and_close(event, 2),
            Step::goes_to(0),
        ]
    };
    let tasks = [
        sched::spawn("one", 1, &script(1))?,
        sched::spawn("other", 2, &script(0))?,
    ];
    for round in 1..=ROUNDS {
        for task in tasks {
            sched::await_state(task, State::Blocked)?;
        }
        let [one, other] = tasks;
        let events = [Traps::on(one, 1, KERNEL)?, Traps::on(other, 2, KERNEL)?];
        service::will_close(events.map(|event| event.id));
        sched::wake(one, 1);
        sched::wake(other, 2);
        // Each closes before it gets its own trap.
        for (event, task) in events.into_iter().zip(tasks) {
            event.await_handled(&[task], round)?;
            sched::await_state(task, State::Blocked)?;
        }
        for (event, task) in events.into_iter().zip(tasks) {
            event.is_gone()?;
            if let Some(trap) = sched::log(task).last() {
                check_eq!(trap.event, event.id.get(), "the event of the trap");
            }
            let totals = port::TrapTotals {
                queued: 1,
                sent: 1,
                ..port::TrapTotals::default()
            };
            note(1, &totals, 1);
        }
    }
    check_eq!(service::not_closed(), 0, "events that were not closed");
    for tid in tasks {
        check_eq!(sched::logged(tid), ROUNDS, "traps");
        sched::kill(tid);
        sched::join(tid)?;
    }
    Ok(())
}

/// S7: what is on its way to a task that exits is dropped, and counted.
pub(crate) fn dropped() -> Outcome {
    for round in 0..10 {
        let script = [
            Step::blocks(),
            Step::store(round),
            service::tick_and_block(),
            Step::exits(),
        ];
        let task = sched::spawn("dropped", 1, &script)?;
        let event = Traps::on(task, 1, BOTH)?;
        sched::await_state(task, State::Blocked)?;
        sched::wake(task, 1);
        let pending = time::wait_ms(30_000, || {
            event.totals().is_ok_and(|totals| totals.pending == 1)
                && sched::state(task) == State::Blocked
        });
        check!(pending, "no trap on its way: {:?}", event.totals()?);
        sched::kill(task);
        sched::await_state(task, State::Exited)?;
        check_eq!(event.read()?.state, EventState::Exit, "the event's state");
        let totals = event.settle("dropped", &[task])?;
        check_eq!(
            (totals.sent, totals.dropped),
            (round, 1),
            "sent and dropped"
        );
        sched::join(task)?;
    }
    Ok(())
}

/// Wherever it is: the law holds, and nothing comes twice.
pub(crate) fn killed() -> Outcome {
    const ROUNDS: usize = 40;
    let mut random = Random::new(cmdline::number("seed").unwrap_or_else(time::tsc));
    let script = [
        Step::blocks(),
        Step::store(2),
        service::tick_and_yield(),
        service::ticks(3),
        service::tick_and_migrate(3),
        Step::store_and_migrate(2),
        Step::goes_to(1),
    ];
    let other = sched::spawn("other", 3, &[Step::yields(), Step::goes_to(0)])?;
    let (mut queued, mut dropped, mut cut) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let task = sched::spawn("killed", 2, &script)?;
        let event = Traps::on(task, 1, BOTH)?;
        sched::await_state(task, State::Blocked)?;
        sched::wake(task, 2);
        event.await_handled(&[task], 1 + random.below(3))?;
        time::compute(random.below(30_000));
        sched::kill(task);
        sched::await_state(task, State::Exited)?;
        let totals = event.totals()?;
        let overflows = event.check("killed", &totals)?;
        let handled = event.handled(&[task]);
        // It may have been killed before the first instruction of its handler.
        check!(
            (handled..=handled + 1).contains(&totals.sent),
            "{handled} traps handled of {} sent",
            totals.sent
        );
        cut += totals.sent - handled;
        dropped += totals.dropped;
        queued += totals.queued;
        note(overflows, &totals, handled);
        port::must("close", |port| port.close(event.id))?;
        sched::join(task)?;
    }
    diag!(
        "killed: {ROUNDS} tasks; {queued} queued = {} sent + {dropped} dropped; {cut} were on their way to \
         the handler",
        queued - dropped
    );
    sched::kill(other);
    sched::join(other)
}
