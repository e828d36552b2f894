// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The task that goes to and fro, and the events on it.

use rt::sched::{self, State, Step, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::time::Deadline;
use rt::{check, check_eq, diag};

use crate::window::{Span, TICKS};
use crate::{HERE, THERE};
use rt::sched::event::{By, TickEvent};

/// Ticks on each vCPU before the task moves on: what is lost if an event is put into the lists of a
/// task that just came to run.
const STAY: u64 = 6;
/// How often it goes there and back.
const TRIPS: u64 = 400;
/// An event stays open for so many ticks at least.
const OPEN_FOR: u64 = 4;
/// How long the task may take for those.
const PATIENCE_MS: u64 = 30_000;

/// What else there is while events are opened and closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Company {
    /// Nothing: with each event announcements begin, and with it they end.
    None,
    /// An event on another task: all is announced.
    Announced,
    /// Another event on this task.
    Event,
}

/// What was opened, and what that took.
#[derive(Default)]
struct Tally {
    opened: u64,
    rounds: u64,
    most_rounds: u64,
}

/// Opens and closes events until the task has come to rest.
pub(crate) fn watched(by: &[By], company: Company) -> Outcome {
    sched::set_word(TICKS, 0);
    let witness = sched::spawn("witness", HERE, &[Step::blocks(), Step::exits()])?;
    let task = sched::spawn("to and fro", HERE, &script())?;
    for tid in [witness, task] {
        sched::await_state(tid, State::Blocked)?;
    }
    let companion = match company {
        Company::None => None,
        Company::Announced => Some(TickEvent::open(By::Vcpu, witness)?.0),
        Company::Event => Some(TickEvent::open(By::Vcpu, task)?.0),
    };
    sched::wake(task, HERE);
    let mut tally = Tally::default();
    // The last event stays until the end.
    while sched::word(TICKS) < ALL * 3 / 4 {
        some(by, task, &mut tally)?;
    }
    let (last, opened) = open(by[0], task, &mut tally)?;
    sched::await_state(task, State::Blocked)?;
    diag!(
        "{} events opened in {} of {ALL} ticks, {} rounds, {} at most for one",
        tally.opened,
        opened.ends_at(),
        tally.rounds,
        tally.most_rounds
    );
    check_eq!(sched::word(TICKS), ALL, "the task's own total");
    let count = last.count()?;
    opened.expect_at_rest(count)?;
    check_eq!(last.count()?, count, "the count of a task at rest");
    last.close()?;
    if let Some(companion) = companion {
        let whole = if company == Company::Event { ALL } else { 0 };
        check_eq!(companion.count()?, whole, "the other event's count");
        companion.close()?;
    }
    sched::tasks().for_each(sched::kill);
    sched::join_all()
}

/// All ticks of the task's.
const ALL: u64 = 2 * STAY * TRIPS;

fn script() -> [Step; 11] {
    [
        Step::blocks(),
        Step::adds(TICKS),
        Step::store(1),
        Step::repeats(1, STAY),
        Step::migrates(THERE),
        Step::adds(TICKS),
        Step::store(1),
        Step::repeats(5, STAY),
        Step::migrates(HERE),
        Step::repeats(1, TRIPS),
        Step::goes_to(0),
    ]
}

/// One event of each, at once.
fn some(by: &[By], task: Tid, tally: &mut Tally) -> Outcome {
    let both = by.len() > 1;
    if both {
        let (posted, opened) = Span::of(|| {
            TickEvent::post(task);
            // The guest's own come and go while the host opens its own.
            while rt::host::answer().is_none() {
                one(By::Vcpu, task, tally)?;
            }
            TickEvent::posted(task)
        })?;
        return counts(posted.0, opened);
    }
    one(by[0], task, tally)
}

fn one(by: By, task: Tid, tally: &mut Tally) -> Outcome {
    let (event, opened) = open(by, task, tally)?;
    counts(event, opened)
}

/// Opens an event, within the rounds that the task's moves allow.
fn open(by: By, task: Tid, tally: &mut Tally) -> Result<(TickEvent, Span), Text> {
    let switches = || sched::counts(HERE).switches + sched::counts(THERE).switches;
    let before = switches();
    let ((event, rounds), opened) = Span::of(|| TickEvent::open(by, task))?;
    // On each of the two vCPUs one may have begun before.
    let moves = switches() - before + 2;
    check!(rounds <= 1 + moves, "{rounds} rounds, and {moves} switches");
    tally.opened += 1;
    tally.rounds += rounds;
    tally.most_rounds = tally.most_rounds.max(rounds);
    Ok((event, opened))
}

/// Reads an event when the task has gone on, and closes it.
fn counts(event: TickEvent, opened: Span) -> Outcome {
    let deadline = Deadline::after_ms(PATIENCE_MS);
    let enough = (opened.ends_at() + OPEN_FOR).min(ALL);
    while sched::word(TICKS) < enough {
        check!(!deadline.is_over(), "the task stands still");
    }
    let (count, read) = Span::of(|| event.count())?;
    opened.expect(count, read)?;
    event.close()
}
