// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Pinned events that find no counter: end of file, until they are enabled again and find one.

use rt::sched::port::{self, EventState, Target};
use rt::tap::Outcome;
use rt::{check, check_eq};

use crate::events::{COUNTERS, Events, failed, pinned, read, reading, state, task, ticks, vcpu};
use crate::worker::Worker;

const ROUND: u64 = 1_000;

pub(crate) fn of_vcpu() -> Outcome {
    let worker = Worker::ticking(ROUND)?;
    one_too_many(worker, vcpu())
}

pub(crate) fn of_task() -> Outcome {
    let worker = Worker::ticking(ROUND)?;
    let on = task(worker.tid)?;
    one_too_many(worker, on)
}

fn one_too_many(mut worker: Worker, on: Target) -> Outcome {
    let mut fine = Events::alike(pinned(ticks(on)), COUNTERS)?;
    let mut events = Events::new();
    let late = events.open(pinned(ticks(on)))?;
    worker.round()?;
    fine.all_counted(ROUND)?;
    check!(failed(late)?, "the last one has a counter");
    // Nobody makes room by that.
    port::must("enabling it", |vcpu| vcpu.enable(late))?;
    worker.round()?;
    fine.all_counted(2 * ROUND)?;
    check!(failed(late)?, "the last one has a counter");

    // A counter is free, and it is not its: whoever waits is asked.
    fine.close_first()?;
    worker.round()?;
    check!(failed(late)?, "it came back by itself");
    let flexible = events.open(ticks(on))?;
    worker.round()?;
    check!(failed(late)?, "it came back by itself");
    check_eq!(
        reading(flexible)?.count,
        ROUND,
        "the count of one that may wait"
    );

    port::must("enabling it", |vcpu| vcpu.enable(late))?;
    worker.round()?;
    check_eq!(
        reading(late)?.count,
        ROUND,
        "the count of the one that was in error"
    );
    check_eq!(
        reading(flexible)?.count,
        ROUND,
        "the count of the one that waits"
    );
    fine.all_counted(5 * ROUND)?;

    // Once it is disabled the other one has the counter, at its next turn.
    port::must("disabling it", |vcpu| vcpu.disable(late))?;
    worker.rounds_until(|| Ok(reading(flexible)?.count > ROUND))?;
    check_eq!(
        state(late)?,
        EventState::Off,
        "the state of the one that is disabled"
    );
    check_eq!(reading(late)?.count, ROUND, "its count");
    fine.all_counted(worker.ticks())
}

pub(crate) fn of_both() -> Outcome {
    const EACH: usize = 10;
    const FIT: usize = COUNTERS - EACH;
    let mut worker = Worker::ticking(ROUND)?;
    let of_task = Events::alike(pinned(ticks(task(worker.tid)?)), EACH)?;
    worker.round()?;
    of_task.all_counted(ROUND)?;
    let of_vcpu = Events::alike(pinned(ticks(vcpu())), EACH)?;
    worker.round()?;
    of_vcpu.all_counted(ROUND)?;
    for (number, event) in of_task.ids().enumerate() {
        let reading = read(event)?;
        check_eq!(
            reading.is_some(),
            number < FIT,
            "whether event {number} counts"
        );
        let count = reading.map_or(2 * ROUND, |reading| reading.count);
        check_eq!(count, 2 * ROUND, "the count of event {number}");
    }
    drop(of_vcpu);
    // There is room again, but nobody who asked for it.
    worker.round()?;
    for (number, event) in of_task.ids().enumerate() {
        check_eq!(
            failed(event)?,
            number >= FIT,
            "whether event {number} is in error"
        );
        port::must("enabling it", |vcpu| vcpu.enable(event))?;
    }
    worker.round()?;
    for (number, event) in of_task.ids().enumerate() {
        let expected = if number < FIT { 4 } else { 2 };
        check_eq!(
            reading(event)?.count,
            expected * ROUND,
            "the count of event {number}"
        );
    }
    Ok(())
}
