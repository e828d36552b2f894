// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Single events: at each tick all counters count, whoever is on them.

use rt::sched;
use rt::tap::Outcome;
use rt::{check, check_eq, counter, smp};

use crate::VCPU;
use crate::events::{COUNTERS, Events, pinned, task, ticks, vcpu};
use crate::worker::Worker;

/// Ticks in a round.
const ROUND: u64 = 1_000;

/// More than there are counters.
const MANY: usize = COUNTERS + 4;

pub(crate) fn of_vcpu() -> Outcome {
    let mut worker = Worker::ticking(ROUND)?;
    let events = Events::alike(ticks(vcpu()), MANY)?;
    worker.rounds_until(|| Ok(events.least()? > 0))?;
    let expected = worker.ticks() * COUNTERS as u64;
    check_eq!(events.sum()?, expected, "counts of all together");
    Ok(())
}

pub(crate) fn of_task() -> Outcome {
    let mut worker = Worker::ticking(ROUND)?;
    let events = Events::alike(ticks(task(worker.tid)?), MANY)?;
    for _ in 0..5 {
        worker.round()?;
        worker.round_here()?;
        let expected = worker.ticks() * COUNTERS as u64;
        check_eq!(events.sum()?, expected, "counts of all together");
    }
    worker.rounds_until(|| Ok(events.least()? > 0))?;
    let expected = worker.ticks() * COUNTERS as u64;
    check_eq!(events.sum()?, expected, "counts of all together");
    Ok(())
}

pub(crate) fn of_both() -> Outcome {
    const EACH: usize = 10;
    let mut worker = Worker::ticking(ROUND)?;
    let of_task = Events::alike(ticks(task(worker.tid)?), EACH)?;
    let of_vcpu = Events::alike(ticks(vcpu()), EACH)?;
    worker.rounds_until(|| Ok(of_task.least()? > 0))?;
    of_vcpu.all_counted(worker.ticks())?;
    let rest = (COUNTERS - EACH) as u64;
    check_eq!(
        of_task.sum()?,
        worker.ticks() * rest,
        "counts of the task's"
    );
    Ok(())
}

pub(crate) fn beside_the_guests_own() -> Outcome {
    let mut worker = Worker::ticking(ROUND)?;
    let events = Events::alike(ticks(vcpu()), COUNTERS)?;
    on_vcpu(start_own)?;
    let outcome = (|| {
        worker.rounds_until(|| Ok(events.least()? > 0))?;
        let expected = worker.ticks() * (COUNTERS as u64 - 1);
        check_eq!(events.sum()?, expected, "counts beside it");
        Ok(())
    })();
    on_vcpu(stop_own)?;
    outcome?;
    // What waited has its counter from the next turn on.
    worker.rounds_until(|| events.all_active())?;
    let before = events.sum()?;
    worker.round()?;
    let more = events.sum()? - before;
    check_eq!(more, ROUND * COUNTERS as u64, "counts without it");
    Ok(())
}

/// Work for vCPU 1 while it runs no tasks.
fn on_vcpu(work: smp::Work) -> Outcome {
    sched::leave(VCPU, 0)?;
    let outcome = smp::run_on(VCPU, work);
    sched::enter(VCPU)?;
    outcome
}

fn own() -> Option<counter::Counter> {
    counter::counting().next()
}

fn start_own() -> Outcome {
    check!(own().is_some(), "the PMU has no counter");
    counter::reset();
    own().into_iter().for_each(|own| own.start(false));
    counter::set_control(own().map_or(0, counter::Counter::bit));
    Ok(())
}

fn stop_own() -> Outcome {
    let counted = own().map_or(0, counter::Counter::get);
    counter::reset();
    check!(counted > 0, "the guest's own counted nothing");
    Ok(())
}

pub(crate) fn beside_pinned() -> Outcome {
    const PINNED: usize = 6;
    let mut worker = Worker::ticking(ROUND)?;
    let on = task(worker.tid)?;
    // They come last and go first.
    let flexible = Events::alike(ticks(on), MANY)?;
    let always = Events::alike(pinned(ticks(on)), PINNED)?;
    worker.rounds_until(|| Ok(flexible.least()? > 0))?;
    always.all_counted(worker.ticks())?;
    for reading in always.read()? {
        check_eq!(reading.running, reading.enabled, "the time of a pinned one");
    }
    for reading in flexible.read()? {
        check!(
            reading.running < reading.enabled,
            "one never waited: {reading:?}"
        );
    }
    let rest = (COUNTERS - PINNED) as u64;
    check_eq!(
        flexible.sum()?,
        worker.ticks() * rest,
        "counts of the others"
    );
    Ok(())
}
