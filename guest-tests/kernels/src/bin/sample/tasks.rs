// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tasks in user mode on two vCPUs, and what the perf port counts of them.

use rt::sched::{self, State, Tid, port};
use rt::tap::Outcome;
use rt::{check, hotplug, println, smp, time};

use crate::{counted, stuck, trapped};

/// Runs the tasks, or says why there is nothing to show.
///
/// # Errors
/// What did not work.
pub(crate) fn show() -> Outcome {
    println!("\n\nTasks, counted wherever they run\n");
    sched::init()?;
    if !port::exists() {
        println!("CPUID tells of no perf port: nobody counts on this guest's tasks.");
        return Ok(());
    }
    if !smp::is_online(1) || !hotplug::exists() {
        println!("This takes two vCPUs, of which one can be unplugged: they are not here.");
        return Ok(());
    }
    sched::enter(1)?;
    counted::show()?;
    trapped::show()?;
    stuck::show()
}

/// Waits until a task is blocked, as it is in the first step of its script, and lets it run on `cpu`.
///
/// # Errors
/// If it does not block within 30 s.
pub(crate) fn begin(task: Tid, cpu: usize) -> Outcome {
    sched::await_state(task, State::Blocked)?;
    sched::wake(task, cpu);
    Ok(())
}

/// Runs tasks on CPU 0 as well until all have exited.
///
/// # Errors
/// If they do not within 60 s.
pub(crate) fn run_all() -> Outcome {
    let over = || sched::tasks().all(|task| sched::state(task) == State::Exited);
    let deadline = time::Deadline::after_ms(60_000);
    sched::run_here(|| over() || deadline.is_over());
    check!(over(), "tasks did not exit within 60 s");
    Ok(())
}
