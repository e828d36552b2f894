// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers that overflow themselves: their traps wait until they are done, wherever that is.

use rt::sched::{self, Handler, State, Step, Then, Tid, port};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, check_eq, time};

use crate::law::{Traps, USER};

const STORES: u64 = 5;
const OFFSET: u64 = 8;
/// Of the traps that are handled first.
const ROUNDS: u64 = 12;
/// Made by the handler of each of them.
const OWN: u64 = 3;

/// A task whose handler stores before it ends as `then` says.
fn spawn(then: Then) -> Result<(Tid, Traps), Text> {
    let script = [
        Step::blocks(),
        Step::store_at(OFFSET, STORES),
        Step::yields(),
        Step::exits(),
    ];
    let task = sched::spawn("handler", 1, &script)?;
    let event = Traps::on(task, 1, USER)?;
    sched::set_handler(
        task,
        Handler {
            rounds: ROUNDS,
            stores: OWN,
            then,
        },
    );
    sched::await_state(task, State::Blocked)?;
    Ok((task, event))
}

/// Each handler's stores are one trap, which comes as soon as the handler has returned.
fn check(task: Tid, event: Traps) -> Outcome {
    let page = port::tick_page();
    for (trap, nth) in sched::log(task).zip(0..) {
        // The first store of the task's; those of the handlers, one after the other; the other ones.
        let offset = if (1..=ROUNDS).contains(&nth) {
            0
        } else {
            OFFSET
        };
        check_eq!(trap.address, page + offset, "the address of trap {nth}");
        check_eq!(trap.by_user, offset == 0, "how trap {nth} came");
    }
    let totals = event.settle("in handlers", &[task])?;
    check_eq!(
        (totals.queued, totals.merged),
        (STORES + ROUNDS, ROUNDS * (OWN - 1)),
        "queued and merged"
    );
    sched::join(task)
}

pub(crate) fn own() -> Outcome {
    let (task, event) = spawn(Then::Returns)?;
    sched::wake(task, 1);
    sched::await_state(task, State::Exited)?;
    check(task, event)
}

/// With another task in between, one trap handed over and one on its way.
pub(crate) fn yields() -> Outcome {
    sched::set_word(0, 0);
    let other = sched::spawn(
        "other",
        1,
        &[Step::adds(1), Step::yields(), Step::goes_to(0)],
    )?;
    let (task, event) = spawn(Then::Yields)?;
    let before = sched::word(1);
    sched::wake(task, 1);
    sched::await_state(task, State::Exited)?;
    check!(
        sched::word(1) > before + ROUNDS / 2,
        "nobody ran in between"
    );
    sched::kill(other);
    sched::join(other)?;
    check(task, event)
}

pub(crate) fn blocks() -> Outcome {
    let (task, event) = spawn(Then::Blocks)?;
    sched::wake(task, 1);
    for round in 0..ROUNDS {
        sched::await_state(task, State::Blocked)?;
        let totals = event.totals()?;
        check_eq!(
            (totals.sent, totals.pending),
            (round + 1, 1),
            "sent and pending in handler {round}"
        );
        sched::wake(task, 1 + rt::index(round) % 3);
    }
    sched::await_state(task, State::Exited)?;
    check(task, event)
}

pub(crate) fn migrates() -> Outcome {
    let (task, event) = spawn(Then::Migrates(2))?;
    sched::wake(task, 1);
    let over = time::wait_ms(30_000, || sched::state(task) == State::Exited);
    check!(over, "the task did not exit: {:?}", sched::state(task));
    for (trap, nth) in sched::log(task).zip(0..) {
        let cpu = if nth == 0 { 1 } else { 2 };
        check_eq!(trap.cpu, cpu, "the vCPU of trap {nth}");
    }
    check(task, event)
}
