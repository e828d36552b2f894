// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How traps get to a task's handler: what the kernel `sigtrap` stands on.

use rt::sched::port::{self, EventNumber, Open, OpenFlags, Opened, Target};
use rt::sched::{self, Handler, State, Step, Then, Tid, after_store};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, check_eq, time};

use crate::counter::{KERNEL, USER, id};

const DATA: u64 = 5;

/// An event on a task that traps every so many stores.
fn trap_every(task: Tid, period: u64, flags: OpenFlags) -> Result<Opened, Text> {
    let open = Open {
        flags: flags.with(OpenFlags::REMOVE_ON_EXEC),
        period,
        data: Some(DATA),
        ..Open::new(EventNumber::PortTick, Target::Task(id(task)))
    };
    port::must("open", |port| port.open(&open))
}

/// Lets a task run that waits in its first step. It stays there to be looked at.
fn run(task: Tid) -> Outcome {
    sched::await_state(task, State::Blocked)?;
    sched::wake(task, 1);
    sched::await_state(task, State::Exited)
}

/// Checks that every overflow was one trap, and closes the event.
fn close(task: Tid, opened: Opened, traps: u64) -> Outcome {
    let event = opened.event;
    check_eq!(sched::logged(task), traps, "traps that were handled");
    check_eq!(
        sched::tally(task, rt::index(DATA)),
        traps,
        "traps with the event's data"
    );
    let totals = port::must("traps", |port| port.traps(event))?;
    check_eq!(totals.queued, traps, "traps that were queued");
    check_eq!(totals.sent, traps, "traps that were sent");
    check_eq!((totals.merged, totals.dropped), (0, 0), "others");
    port::must("close", |port| port.close(event))?;
    sched::join(task)
}

/// The n-th store overflows, and the trap comes before the next instruction.
pub(crate) fn exact() -> Outcome {
    let script = [Step::blocks(), Step::store_at(8, 10), Step::exits()];
    let task = sched::spawn("exact", 1, &script)?;
    let opened = trap_every(task, 3, USER)?;
    run(task)?;
    let mut left = [0; 3];
    for (trap, place) in sched::log(task).zip(&mut left) {
        *place = trap.left;
        check_eq!(trap.rip, after_store(), "where the task goes on");
        check_eq!(trap.task, sched::port_id(task), "the task");
        check_eq!(trap.event, opened.event.get(), "the event");
        check_eq!(trap.address, port::tick_page() + 8, "the address");
        check!(!trap.by_user, "it came by USER");
    }
    check_eq!(left, [8, 5, 2], "stores left, that of the trap included");
    close(task, opened, 3)
}

/// An overflow in the kernel waits for the return to user mode.
pub(crate) fn in_kernel() -> Outcome {
    let script = [
        Step::blocks(),
        Step::kernel_store(4),
        Step::repeats(1, 10),
        Step::exits(),
    ];
    let task = sched::spawn("kernel", 1, &script)?;
    let opened = trap_every(task, 4, KERNEL)?;
    run(task)?;
    check!(
        sched::log(task).all(|trap| trap.by_user),
        "one came as an exception"
    );
    close(task, opened, 10)
}

/// An overflow between the last check and IRET is found by the check that follows: the task does not
/// get to its next step before its handler.
pub(crate) fn in_window() -> Outcome {
    const ROUNDS: u64 = 10;
    let script = [
        Step::blocks(),
        Step::adds(0),
        Step::repeats(0, ROUNDS),
        Step::exits(),
    ];
    sched::set_word(0, 0);
    let task = sched::spawn("window", 1, &script)?;
    let opened = trap_every(task, 1, KERNEL)?;
    // It waits to be looked at in its handler.
    sched::set_handler(
        task,
        Handler {
            rounds: ROUNDS,
            stores: 0,
            then: Then::Blocks,
        },
    );
    let before = sched::counts(1);
    for round in 0..ROUNDS {
        sched::await_state(task, State::Blocked)?;
        sched::store_in_window(1, 1);
        sched::wake(task, 1);
        let handled = time::wait_ms(10_000, || sched::logged(task) == round + 1);
        check!(handled, "round {round}: no trap within 10 s");
        sched::await_state(task, State::Blocked)?;
        check_eq!(sched::word(0), round, "steps before the handler");
        sched::wake(task, 1);
        sched::await_word(0, round + 1)?;
    }
    sched::await_state(task, State::Exited)?;
    sched::set_word(0, 0);
    let after = sched::counts(1);
    check_eq!(after.by_user - before.by_user, ROUNDS, "traps by USER");
    check_eq!(after.by_exception, before.by_exception, "exceptions");
    close(task, opened, ROUNDS)
}

/// What the handler does traps as well, once it has returned.
pub(crate) fn in_handler() -> Outcome {
    let script = [Step::blocks(), Step::store(5), Step::exits()];
    let task = sched::spawn("handler", 1, &script)?;
    let opened = trap_every(task, 1, USER)?;
    sched::set_handler(
        task,
        Handler {
            rounds: 8,
            stores: 1,
            then: Then::Yields,
        },
    );
    run(task)?;
    close(task, opened, 5 + 8)
}
