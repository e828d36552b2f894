// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tasks that make no switch after their events were opened: nothing but the look at the pages can
//! tell that they run.

use rt::sched::{self, State, Step, Tid};
use rt::tap::Outcome;
use rt::text::Text;

use crate::RUNNERS;
use rt::sched::event::{By, TickEvent};

const ROUNDS: u64 = 10;
const STORES: u64 = 5;

/// The shared word that lets all of them store.
const GATE: usize = 0;

/// A task that spins in user mode until it is let through; then it stores, and blocks.
fn spinner(cpu: usize) -> Result<Tid, Text> {
    let script = [
        Step::blocks(),
        Step::awaits(GATE, 1),
        Step::store(STORES),
        Step::goes_to(0),
    ];
    let task = sched::spawn("spinner", cpu, &script)?;
    sched::await_state(task, State::Blocked)?;
    Ok(task)
}

/// Wakes a task, and waits until it spins.
fn spins(task: Tid, cpu: usize) -> Outcome {
    sched::wake(task, cpu);
    sched::await_state(task, State::Running)
}

fn passes(tasks: &[Tid]) -> Outcome {
    sched::set_word(GATE, 1);
    for &task in tasks {
        sched::await_state(task, State::Blocked)?;
    }
    sched::set_word(GATE, 0);
    Ok(())
}

fn over() -> Outcome {
    sched::tasks().for_each(sched::kill);
    sched::join_all()
}

/// One on each vCPU, with an event each; then only one of them has one.
pub(crate) fn found() -> Outcome {
    let mut tasks = [Tid(0); RUNNERS.len()];
    for (task, cpu) in tasks.iter_mut().zip(RUNNERS) {
        *task = spinner(cpu)?;
    }
    for by in [By::Vcpu, By::Host] {
        for round in 0..ROUNDS {
            for (task, cpu) in tasks.into_iter().zip(RUNNERS) {
                spins(task, cpu)?;
            }
            let alone = rt::index(round) % tasks.len();
            let watched = if round.is_multiple_of(2) {
                &tasks[..]
            } else {
                &tasks[alone..=alone]
            };
            let mut events = [None; RUNNERS.len()];
            for (event, &task) in events.iter_mut().zip(watched) {
                *event = Some(TickEvent::open(by, task)?.0);
            }
            passes(&tasks)?;
            for event in events.into_iter().flatten() {
                event.expect(STORES, "a task that did not switch")?;
            }
        }
    }
    over()
}

/// While nobody asks, a task goes from vCPU to vCPU: what the host believed when announcements were
/// switched off is wrong when they are switched on again.
pub(crate) fn moved() -> Outcome {
    let task = spinner(RUNNERS[0])?;
    let other = spinner(RUNNERS[0])?;
    for round in 0..3 * ROUNDS {
        let at = rt::index(round);
        let (cpu, next) = (RUNNERS[at % 3], RUNNERS[(at + 1) % 3]);
        // It runs, and the host knows.
        spins(task, cpu)?;
        TickEvent::open(By::Vcpu, task)?.0.close()?;
        // Now the host does not know: that it is over, that it runs elsewhere, and who runs there.
        passes(&[task])?;
        spins(other, cpu)?;
        spins(task, next)?;
        let event = TickEvent::open(By::Vcpu, task)?.0;
        passes(&[task, other])?;
        event.expect(STORES, "the task that moved")?;
    }
    over()
}
