// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A task that is told of the overflows of an event on it, by SIGTRAP.

use rt::sched::port::{self, EventNumber, Open, OpenFlags, Target};
use rt::sched::{self, Step, after_store};
use rt::tap::Outcome;
use rt::trap::vector;
use rt::{check, check_eq, println};

use crate::event;
use crate::tasks::{begin, run_all};

const STORES: u64 = 25;
const PERIOD: u64 = 10;
/// Where in the tick page.
const OFFSET: u64 = 0x20;
/// Whatever the task wants to be told.
const DATA: u64 = 0x5eed;

/// Lets a task be trapped and shows what its handler was given.
///
/// # Errors
/// What did not work; a trap that is not the one expected.
pub(crate) fn show() -> Outcome {
    let script = [
        Step::blocks(),
        Step::store_at(OFFSET, STORES),
        Step::exits(),
    ];
    let task = sched::spawn("trapped", 1, &script)?;
    let open = Open {
        flags: OpenFlags::REMOVE_ON_EXEC.with(OpenFlags::EXCLUDE_KERNEL),
        period: PERIOD,
        data: Some(DATA),
        ..Open::new(EventNumber::PortTick, Target::Task(event::id(task)))
    };
    let event = port::must("open", |port| port.open(&open))?.event;
    println!("\n\nA task is trapped\n");
    println!(
        "Task {} stores {STORES} times, and each {PERIOD}th store overflows event {}. That is a SIGTRAP:",
        sched::port_id(task),
        event.get()
    );
    println!(
        "exception {} in its user mode, before its next instruction. Its handler wrote down:\n",
        vector::PERF_TRAP
    );
    begin(task, 1)?;
    run_all()?;
    println!("  trap  store  event     address    data");
    for (number, trap) in (1..).zip(sched::log(task)) {
        let store = STORES - trap.left + 1;
        println!(
            "  {number:>4}  {store:>5}  {:>5}  {:>#10x}  {:>#6x}",
            trap.event, trap.address, trap.data
        );
        check_eq!(store, number * PERIOD, "the store that overflowed");
        check_eq!(trap.rip, after_store(), "where the task goes on");
        check!(!trap.by_user, "a trap came on the way out of the kernel");
    }
    let totals = port::must("traps", |port| port.traps(event))?;
    println!(
        "\nBy the host's books: {} traps queued, {} sent, {} merged, {} dropped.",
        totals.queued, totals.sent, totals.merged, totals.dropped
    );
    let traps = STORES / PERIOD;
    check_eq!(sched::logged(task), traps, "traps that were handled");
    check_eq!((totals.queued, totals.sent), (traps, traps), "queued, sent");
    event::close(event)?;
    sched::join(task)
}
