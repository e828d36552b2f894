// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tasks that do nothing but switch until they are let through a gate; behind it they store, and
//! switch after every few stores. So what they store from an installation's return on is known to
//! the unit.

use rt::random::Random;
use rt::sched::{self, State, Step, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, check_eq, cmdline, diag, time};

use crate::RUNNERS;
use rt::sched::event::{By, TickEvent};

const TASKS: usize = 3 * RUNNERS.len();
/// Switches without an announcement that are waited for.
const UNTOLD: u64 = 20;
/// Turns behind the gate.
const TURNS: u64 = 3;
/// Events that are open behind the gate.
const MOST_EVENTS: usize = 4;
/// How long something may take that is a matter of some switches.
const PATIENCE_MS: u64 = 30_000;

/// The shared word that lets tasks through.
const GATE: usize = 0;
/// The one that counts those who came to the gate.
const CAME: usize = 1;

/// What a task stores in a turn.
const fn stores(number: usize) -> u64 {
    1 + number as u64 % 4
}

fn spawn(number: usize) -> Result<Tid, Text> {
    let script = [
        Step::blocks(),
        Step::adds(CAME),
        Step::yields_until(GATE, 1),
        Step::store(stores(number)),
        Step::yields(),
        Step::repeats(3, TURNS),
        Step::goes_to(0),
    ];
    let task = sched::spawn("switches", RUNNERS[number % RUNNERS.len()], &script)?;
    sched::await_state(task, State::Blocked)?;
    Ok(task)
}

pub(crate) fn watched(by: By, rounds: u64) -> Outcome {
    let mut random = Random::new(cmdline::number("seed").unwrap_or_else(time::tsc));
    sched::set_word(CAME, 0);
    let mut tasks = [Tid(0); TASKS];
    for (number, task) in tasks.iter_mut().enumerate() {
        *task = spawn(number)?;
    }
    let before = announced();
    for round in 1..=rounds {
        gather(&tasks, round, &mut random)?;
        unannounced()?;
        through_the_gate(by, &tasks, &mut random)
            .map_err(|why| Text::format(format_args!("round {round}: {why}")))?;
    }
    diag!("{} switches were announced", announced() - before);
    sched::tasks().for_each(sched::kill);
    sched::join_all()
}

/// All are woken, some of them elsewhere than where they blocked, and come to the gate.
fn gather(tasks: &[Tid], round: u64, random: &mut Random) -> Outcome {
    for &task in tasks {
        let cpu = RUNNERS[rt::index(random.below(RUNNERS.len() as u64))];
        sched::wake(task, cpu);
    }
    sched::await_word(CAME, round * TASKS as u64)
}

fn switches() -> u64 {
    RUNNERS.map(|cpu| sched::counts(cpu).switches).iter().sum()
}

fn announced() -> u64 {
    RUNNERS.map(|cpu| sched::counts(cpu).announced).iter().sum()
}

/// With no event anywhere, there are switches and no commands.
fn unannounced() -> Outcome {
    let told = announced();
    let enough = switches() + UNTOLD;
    check!(
        time::wait_ms(PATIENCE_MS, || switches() >= enough),
        "the tasks do not switch"
    );
    check_eq!(announced(), told, "announced switches, with no event");
    Ok(())
}

/// Opens events, some for a moment only, and lets the tasks store.
fn through_the_gate(by: By, tasks: &[Tid], random: &mut Random) -> Outcome {
    for _ in 0..random.below(3) {
        let task = tasks[rt::index(random.below(TASKS as u64))];
        TickEvent::open(by, task)?.0.close()?;
        // Announcements end in the middle of whatever the tasks are at.
        time::spin(random.below(200_000));
    }
    let first = rt::index(random.below(TASKS as u64));
    let many = 1 + rt::index(random.below(MOST_EVENTS as u64));
    let mut events = [None; MOST_EVENTS];
    let numbers = (0..many).map(|number| (first + number) % TASKS);
    for (event, number) in events.iter_mut().zip(numbers) {
        *event = Some((number, TickEvent::open(by, tasks[number])?.0));
    }
    sched::set_word(GATE, 1);
    for &task in tasks {
        sched::await_state(task, State::Blocked)?;
    }
    sched::set_word(GATE, 0);
    for (number, event) in events.into_iter().flatten() {
        event.expect(stores(number) * TURNS, "a task that switches")?;
    }
    Ok(())
}
