// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One event, one overflow, one trap: where it comes, and with what in it.

use rt::sched::{self, State, Step, after_store, port};
use rt::tap::Outcome;
use rt::{check, check_eq};

use crate::law::{KERNEL, Traps, USER, asked, run};
use crate::service;

const DATA: usize = 5;
const OFFSET: u64 = 24;

/// The n-th store overflows, and its trap comes before the task's next instruction.
pub(crate) fn every() -> Outcome {
    const STORES: u64 = 40;
    for period in [1, 2, 3, 7, 40, 41] {
        let script = [
            Step::blocks(),
            Step::store_at(OFFSET, STORES),
            Step::exits(),
        ];
        let task = sched::spawn("every", 1, &script)?;
        let event = Traps::open(&port::Open {
            period,
            ..asked(task, DATA, USER)
        })?;
        run(task, 1)?;
        check_eq!(
            sched::logged(task),
            STORES / period,
            "period {period}: traps"
        );
        for (trap, nth) in sched::log(task).zip(1..) {
            check_eq!(
                trap.left,
                STORES + 1 - nth * period,
                "stores left, its own included"
            );
            check_eq!(trap.rip, after_store(), "where the task goes on");
            check_eq!(trap.event, event.id.get(), "the event");
            check_eq!(trap.task, sched::port_id(task), "the task");
            check_eq!(trap.address, port::tick_page() + OFFSET, "the address");
            check_eq!(trap.data, DATA as u64, "the data");
            check!(!trap.by_user, "it came by USER");
        }
        let totals = event.settle("every n-th", &[task])?;
        check_eq!(totals.queued, STORES / period, "period {period}: queued");
        sched::join(task)?;
    }
    Ok(())
}

/// An overflow in the kernel is told of at once, and waits for the return to user mode.
pub(crate) fn in_kernel() -> Outcome {
    const ROUNDS: u64 = 50;
    let script = [
        Step::blocks(),
        service::tick_and_look(),
        Step::store(1),
        Step::repeats(1, ROUNDS),
        Step::exits(),
    ];
    let task = sched::spawn("kernel", 1, &script)?;
    let event = Traps::on(task, DATA, KERNEL)?;
    let before = sched::counts(1);
    run(task, 1)?;
    let after = sched::counts(1);
    check_eq!(service::untold(), 0, "traps that the page did not tell of");
    check_eq!(after.by_user - before.by_user, ROUNDS, "traps by USER");
    check_eq!(after.by_exception, before.by_exception, "exceptions");
    for trap in sched::log(task) {
        check!(trap.rip != after_store(), "it came after the next store");
    }
    let totals = event.settle("in the kernel", &[task])?;
    check_eq!(totals.queued, ROUNDS, "queued");
    sched::join(task)
}

/// A trap that comes up between the last look and the IRET is seen by the look that follows: the
/// task's next step is an exit, at which a trap that was missed would come.
pub(crate) fn in_window() -> Outcome {
    const ROUNDS: u64 = 20;
    let script = [
        Step::blocks(),
        Step::store(1),
        Step::repeats(0, ROUNDS),
        Step::exits(),
    ];
    let task = sched::spawn("window", 1, &script)?;
    let event = Traps::on(task, DATA, KERNEL)?;
    let before = sched::counts(1);
    for round in 1..=ROUNDS {
        sched::await_state(task, State::Blocked)?;
        sched::store_in_window(1, 1);
        sched::wake(task, 1);
        event.await_handled(&[task], round)?;
    }
    sched::await_state(task, State::Exited)?;
    let after = sched::counts(1);
    for trap in sched::log(task) {
        check!(trap.rip != after_store(), "it came after the next store");
    }
    check_eq!(after.by_exception, before.by_exception, "exceptions");
    check_eq!(after.by_user - before.by_user, ROUNDS, "traps by USER");
    let totals = event.settle("in the window", &[task])?;
    check_eq!(
        (totals.queued, totals.merged),
        (ROUNDS, 0),
        "queued and merged"
    );
    sched::join(task)
}
