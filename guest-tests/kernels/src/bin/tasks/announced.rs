// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Switches cost no command unless a task has an event.

use rt::sched::{self, State, Step, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, check_eq};

use crate::counter::{BOTH, Counter};

const ROUNDS: u64 = 1_000;
const TASKS: usize = 2;

/// Tasks that wait for their start, and then do nothing but yield to each other on CPU 1.
fn tasks() -> Result<[Tid; TASKS], Text> {
    let script = [
        Step::blocks(),
        Step::yields(),
        Step::repeats(1, ROUNDS),
        Step::exits(),
    ];
    let tasks = [
        sched::spawn("left", 1, &script)?,
        sched::spawn("right", 1, &script)?,
    ];
    for task in tasks {
        sched::await_state(task, State::Blocked)?;
    }
    Ok(tasks)
}

/// Lets them run: how many switches there were, and how many of them were announced.
fn switches(tasks: [Tid; TASKS]) -> Result<(u64, u64), Text> {
    // Both are there before the first of them runs.
    let gate = sched::spawn("gate", 1, &[Step::awaits(0, 1), Step::exits()])?;
    sched::await_state(gate, State::Running)?;
    let before = sched::counts(1);
    for task in tasks {
        sched::wake(task, 1);
    }
    sched::set_word(0, 1);
    for task in tasks.into_iter().chain([gate]) {
        sched::join(task)?;
    }
    sched::set_word(0, 0);
    let after = sched::counts(1);
    let switches = after.switches - before.switches;
    check!(switches >= 2 * ROUNDS, "only {switches} switches");
    Ok((switches, after.announced - before.announced))
}

pub(crate) fn off() -> Outcome {
    let (_, announced) = switches(tasks()?)?;
    check_eq!(announced, 0, "announced switches");
    // A vCPU's event counts whatever runs there.
    let counter = Counter::of_vcpu(1, BOTH)?;
    let (_, announced) = switches(tasks()?)?;
    check_eq!(announced, 0, "announced switches with an event of the vCPU");
    counter.expect(0, "the vCPU")
}

pub(crate) fn on() -> Outcome {
    // One that outlives the others: the event of a task that has exited asks for nothing.
    let witness = sched::spawn("witness", 2, &[Step::blocks(), Step::exits()])?;
    let counter = Counter::of_task(witness, BOTH)?;
    let (switches_made, announced) = switches(tasks()?)?;
    check_eq!(announced, switches_made, "announced switches");
    sched::wake(witness, 2);
    sched::join(witness)?;
    counter.expect(0, "a task that does not store")?;
    // With the last event gone, it is over.
    let (_, announced) = switches(tasks()?)?;
    check_eq!(announced, 0, "announced switches afterwards");
    Ok(())
}
