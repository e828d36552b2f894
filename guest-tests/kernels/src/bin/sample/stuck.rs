// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A task that is stuck on a vCPU that is gone, and an event that is opened on it meanwhile.

use rt::sched::port::{EventNumber, EventState, Id, Target};
use rt::sched::{self, State, Step};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, check_eq, hotplug, println, smp, time};

use crate::event;
use crate::numbers::Thousands;
use crate::tasks::run_all;

const STORES: u64 = 25;

/// Unplugs vCPU 1 under a task, for good.
///
/// # Errors
/// What did not work; a count that is not exact.
pub(crate) fn show() -> Outcome {
    println!("\n\nA vCPU goes, and a task stays\n");
    let script = [Step::blocks(), Step::store(STORES), Step::exits()];
    let task = sched::spawn("stuck", 1, &script)?;
    sched::await_state(task, State::Blocked)?;
    unplug()?;
    println!(
        "Task {} blocked on vCPU 1, and the guest gave that vCPU back: it is gone. An event",
        sched::port_id(task)
    );
    let start = time::tsc();
    let opened = event::count(EventNumber::PortTick, Target::Task(event::id(task)))?;
    let open = time::tsc() - start;
    let start = time::tsc();
    check_eq!(
        event::read(opened.event)?.count,
        0,
        "the count of a stuck task"
    );
    let read = time::tsc() - start;
    println!(
        "that is opened on the task waits for neither: {} TSC cycles, rounds: {}; a read: {}.",
        Thousands(open),
        opened.rounds,
        Thousands(read)
    );
    sched::wake(task, 0);
    run_all()?;
    let counted = event::read_all(opened.event)?.count;
    println!("Woken on vCPU 0, the task stored {STORES} times; the event counted {counted} ticks.");
    check_eq!(counted, STORES, "ticks of the task that was stuck");
    event::close(opened.event)?;
    sched::join(task)
}

/// Gives vCPU 1 back, and waits until the host has done its part.
fn unplug() -> Outcome {
    let witness = event::count(EventNumber::PortTick, Target::Vcpu(1))?.event;
    sched::leave(1, 0)?;
    smp::stop_cpu(1)?;
    hotplug::eject(1);
    let deadline = time::Deadline::after_ms(30_000);
    while !is_over(witness)? {
        check!(!deadline.is_over(), "vCPU 1 is still there after 30 s");
    }
    event::close(witness)
}

/// Whether an event never counts again.
fn is_over(event: Id) -> Result<bool, Text> {
    Ok(event::read(event)?.state == EventState::Exit)
}
