// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Several overflows before the task can get a trap: of one event they are one trap (S2), of several
//! events one each, first in, first out.

use rt::sched::{self, Logged, Step, after_store, port};
use rt::tap::Outcome;
use rt::{check, check_eq};

use crate::law::{BOTH, KERNEL, Traps, USER, asked, run};
use crate::service::{self, APART};

/// Where the `nth` of a task's kernel stores goes to.
fn place(nth: u64) -> u64 {
    port::tick_page() + nth * APART
}

/// R17: a trap on its way keeps the address of the first overflow.
pub(crate) fn merged() -> Outcome {
    const ROUNDS: u64 = 20;
    const TICKS: u64 = 5;
    let script = [
        Step::blocks(),
        service::ticks(TICKS),
        Step::repeats(1, ROUNDS),
        Step::exits(),
    ];
    let task = sched::spawn("merged", 1, &script)?;
    let event = Traps::on(task, 1, KERNEL)?;
    run(task, 1)?;
    for trap in sched::log(task) {
        check_eq!(trap.address, place(1), "the address of the first");
    }
    let totals = event.settle("merged", &[task])?;
    check_eq!(
        (totals.queued, totals.merged),
        (ROUNDS, ROUNDS * (TICKS - 1)),
        "queued and merged"
    );
    sched::join(task)
}

/// Two events that count the same store: the task gets both traps there, the second one when it has
/// acknowledged the first.
pub(crate) fn at_once() -> Outcome {
    const STORES: u64 = 20;
    let script = [Step::blocks(), Step::store(STORES), Step::exits()];
    let task = sched::spawn("at once", 1, &script)?;
    let events = [Traps::on(task, 1, USER)?, Traps::on(task, 2, BOTH)?];
    run(task, 1)?;
    let mut log = sched::log(task);
    let mut left = STORES;
    while let (Some(first), Some(second)) = (log.next(), log.next()) {
        for (trap, event) in [first, second].iter().zip(&events) {
            check_eq!(trap.event, event.id.get(), "the event, in their order");
            check_eq!(trap.data, event.data as u64, "its data");
            check_eq!(
                (trap.rip, trap.left),
                (after_store(), left),
                "the instruction"
            );
        }
        check!(
            !first.by_user && second.by_user,
            "the second comes as the first is done"
        );
        left -= 1;
    }
    check_eq!(left, 0, "stores without both traps");
    for event in events {
        let totals = event.settle("at one instruction", &[task])?;
        check_eq!(
            (totals.queued, totals.merged),
            (STORES, 0),
            "queued and merged"
        );
    }
    sched::join(task)
}

/// Periods of 1, 2 and 3 overflow in this order, whichever event was opened first.
pub(crate) fn in_order() -> Outcome {
    const ROUNDS: u64 = 12;
    const TICKS: u64 = 6;
    for periods in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
        let script = [
            Step::blocks(),
            service::ticks(TICKS),
            Step::repeats(1, ROUNDS),
            Step::exits(),
        ];
        let task = sched::spawn("in order", 1, &script)?;
        let mut events = [None; 3];
        for (period, event) in periods.into_iter().zip(&mut events) {
            *event = Some(Traps::open(&port::Open {
                period,
                ..asked(task, rt::index(period), KERNEL)
            })?);
        }
        run(task, 1)?;
        let mut traps = 0;
        for (trap, number) in sched::log(task).zip(0..) {
            let period = 1 + number % 3;
            let Logged { data, address, .. } = trap;
            check_eq!((data, address), (period, place(period)), "trap {number}");
            traps += 1;
        }
        check_eq!(traps, 3 * ROUNDS, "traps");
        for (event, period) in events.into_iter().flatten().zip(periods) {
            let totals = event.settle("in order", &[task])?;
            check_eq!(totals.queued, ROUNDS, "queued with period {period}");
            check_eq!(totals.merged, ROUNDS * (TICKS / period - 1), "merged");
        }
        sched::join(task)?;
    }
    Ok(())
}
