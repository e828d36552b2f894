// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An inherited event that traps.

use rt::sched::port::{self, OpenFlags};
use rt::sched::{self, Step};
use rt::tap::Outcome;
use rt::{check, check_eq, diag};

use crate::family::{Counter, at_rest, end_all, wake_all};

const CPU: usize = 1;
const ROUNDS: u64 = 40;
const PERIOD: u64 = 4;
const DATA: usize = 9;
const TASKS: usize = 4;

/// A task that traps is not traded until it took its trap (I12); the trap comes before its next store,
/// so none is merged.
pub(crate) fn sent_once() -> Outcome {
    let script = [
        Step::blocks(),
        Step::forks(5),
        Step::forks(8),
        Step::forks(11),
        Step::goes_to(13),
        Step::store(2),
        Step::store_and_yield(),
        Step::goes_to(14),
        Step::store(1),
        Step::yields(),
        Step::goes_to(14),
        Step::store(6),
        Step::goes_to(14),
        Step::yields(),
        // Everyone.
        Step::store(5),
        Step::store_and_yield(),
        Step::repeats(14, ROUNDS),
        Step::blocks(),
        Step::goes_to(14),
    ];
    let root = sched::spawn("trapped", CPU, &script)?;
    at_rest(1)?;
    let counter = Counter::open(root, |open| {
        open.flags = OpenFlags::INHERIT
            .with(OpenFlags::REMOVE_ON_EXEC)
            .with(OpenFlags::EXCLUDE_KERNEL);
        open.period = PERIOD;
        open.data = Some(DATA as u64);
    })?;
    sched::wake(root, CPU);
    at_rest(TASKS)?;
    for _ in 0..2 {
        wake_all(CPU);
        at_rest(TASKS)?;
    }
    let stores = 3 * ROUNDS * 6 * TASKS as u64 + 3 + 1 + 6;
    counter.expect(stores, "the family")?;

    let totals = port::must("traps", |port| port.traps(counter.0))?;
    diag!(
        "{stores} stores by {TASKS} tasks, a trap with every {PERIOD}: queued {}, merged {}, refused {}, \
         sent {}, dropped {}, pending {}",
        totals.queued,
        totals.merged,
        totals.refused,
        totals.sent,
        totals.dropped,
        totals.pending
    );
    check_eq!(totals.merged, 0, "merged");
    check_eq!(totals.refused, 0, "refused");
    check_eq!(totals.pending, 0, "pending at rest");
    check_eq!(totals.dropped, 0, "dropped, with nobody dead");
    check_eq!(totals.sent, totals.queued, "sent");
    // Each copy of the event has a period of its own, and has not come to the end of its last one.
    let most = stores / PERIOD;
    let least = (stores - (PERIOD - 1) * TASKS as u64).div_ceil(PERIOD);
    check!(
        (least..=most).contains(&totals.queued),
        "{} overflows, not {least} to {most}",
        totals.queued
    );
    let handled: u64 = sched::tasks().map(|tid| sched::tally(tid, DATA)).sum();
    check_eq!(handled, totals.sent, "traps that handlers saw");
    for tid in sched::tasks() {
        let task = sched::port_id(tid);
        for trap in sched::log(tid) {
            check_eq!(trap.task, task, "whose trap it is");
            check_eq!(trap.event, counter.0.get(), "the event of the trap");
        }
    }
    end_all()?;
    counter.close()
}
