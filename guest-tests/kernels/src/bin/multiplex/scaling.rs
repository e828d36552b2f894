// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What an event would have counted is told from what it did: count * enabled / running, held
//! against a pinned event of the same kind and the same time.

use rt::sched::port::{EventNumber, Open, Reading};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, check_eq, diag};

use crate::events::{COUNTERS, Events, pinned, task};
use crate::worker::Worker;

/// Events that take turns: a good third of them waits at any time.
const MANY: usize = 24;

/// The time of a measurement, in which each event has hundreds of turns, in milliseconds.
const LONG_MS: u64 = 4_000;

pub(crate) fn cycles() -> Outcome {
    let mut worker = Worker::spinning()?;
    let cycles = Open::new(EventNumber::Cycles, task(worker.tid)?);
    let always = Events::alike(pinned(cycles), 1)?;
    let events = Events::alike(cycles, MANY)?;
    worker.spin_for(LONG_MS)?;
    let whole = times(&always, &events)?;
    let mut worst = 0;
    for (number, reading) in events.read()?.enumerate() {
        let scaled = u128::from(reading.count) * u128::from(reading.enabled);
        let scaled = scaled / u128::from(reading.running);
        let off = scaled.abs_diff(u128::from(whole.count));
        check!(
            off * 50 <= u128::from(whole.count),
            "event {number}: {scaled} by {reading:?}, not {} within 2 %",
            whole.count
        );
        worst = worst.max(off * 10_000 / u128::from(whole.count));
    }
    diag!("{} cycles, and {worst}/100 % off at worst", whole.count);
    Ok(())
}

/// Ticks come as fast as the host lets them, faster in one turn than in another, and one event has
/// other turns than the next. But together the events had every turn, so that all of them scale to
/// what was counted exactly.
pub(crate) fn ticks() -> Outcome {
    const ROUND: u64 = 5_000;
    let mut worker = Worker::ticking(ROUND)?;
    let ticks = Open::new(EventNumber::PortTick, task(worker.tid)?);
    let always = Events::alike(pinned(ticks), 1)?;
    let events = Events::alike(ticks, MANY)?;
    worker.rounds_until(|| Ok(events.least()? > 0))?;
    let whole = times(&always, &events)?;
    check_eq!(whole.count, worker.ticks(), "the pinned one's count");
    let running: u64 = events.read()?.map(|reading| reading.running).sum();
    let scaled = u128::from(events.sum()?) * u128::from(whole.enabled);
    check_eq!(
        scaled,
        u128::from(whole.count) * u128::from(running),
        "what all together scale to"
    );
    Ok(())
}

/// All of them were opened before the task first ran, and it is blocked: their times are the same,
/// and no counter was free for a nanosecond. Returns what the pinned one says.
fn times(always: &Events, events: &Events) -> Result<Reading, Text> {
    let mut whole = Reading::default();
    for reading in always.read()? {
        check_eq!(reading.running, reading.enabled, "the pinned one's time");
        whole = reading;
    }
    let mut running = whole.running;
    for (number, reading) in events.read()?.enumerate() {
        check_eq!(reading.enabled, whole.enabled, "the time of event {number}");
        check!(reading.running > 0, "event {number} never had a turn");
        running += reading.running;
    }
    let counters = COUNTERS as u64 * whole.enabled;
    check_eq!(running, counters, "the running times of all together");
    Ok(whole)
}
