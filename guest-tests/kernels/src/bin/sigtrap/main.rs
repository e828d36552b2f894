// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every overflow is queued or merged, and every queued trap reaches its task once (S1, S2, S6, S7):
//! whatever goes on between the overflow and the task's return to user mode. `port.tick` makes all of
//! it exact.
//!
//! Each point prints the law with the numbers of its events, and the last one their sums:
//!
//! ```text
//! overflows = queued + merged + refused, queued = sent + dropped + pending, handled = sent
//! ```

#![no_std]
#![no_main]

mod basic;
mod ends;
mod handlers;
mod law;
mod limits;
mod order;
mod races;
mod service;

use rt::sched::{self, port};
use rt::tap::Outcome;
use rt::{check, check_eq};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("the machine has a perf port", present),
        ("the n-th store traps, whatever n is", basic::every),
        (
            "a trap in kernel mode waits for user mode",
            basic::in_kernel,
        ),
        ("a trap after the last look is not missed", basic::in_window),
        ("what is merged keeps the first address", order::merged),
        (
            "two events at one instruction are two traps",
            order::at_once,
        ),
        (
            "traps come in the order of their overflows",
            order::in_order,
        ),
        ("overflows in a handler trap after it", handlers::own),
        ("a handler that yields keeps its traps", handlers::yields),
        ("a handler that blocks keeps its traps", handlers::blocks),
        (
            "a handler that migrates keeps its traps",
            handlers::migrates,
        ),
        ("an enable elsewhere takes no trap", races::enabled),
        ("a disable elsewhere takes no trap", races::disabled),
        ("tasks that trade contexts keep their traps", races::traded),
        ("a trap goes with its task to another vCPU", races::migrated),
        ("a trap waits for a blocked task to be woken", races::woken),
        ("a limit of n is n traps", limits::exact),
        ("the last trap survives a reschedule", limits::rescheduled),
        ("a closed event's trap still comes", ends::closed),
        (
            "a close while it overflows takes no trap",
            ends::closed_running,
        ),
        ("two tasks close each other's events", ends::each_other),
        ("a task's exit drops its trap", ends::dropped),
        ("tasks are killed with traps on their way", ends::killed),
        ("the law holds for all of it", law::whole),
        ("no switch was refused, and nothing odd came", clean),
    ]);
}

/// vCPU 0 is the controller's; the others run tasks.
fn present() -> Outcome {
    let cpus = sched::init()?;
    check_eq!(cpus, CPUS, "CPUs");
    check!(port::exists(), "there is none");
    sched::set_service(service::serve);
    (1..CPUS).try_for_each(sched::enter)
}

const CPUS: usize = 4;

fn clean() -> Outcome {
    check_eq!(service::untold(), 0, "traps that the page did not tell of");
    (0..CPUS).try_for_each(|cpu| sched::counts(cpu).check(cpu))?;
    sched::stop()
}
