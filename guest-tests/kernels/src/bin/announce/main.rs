// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Announcements are switched on and off, by events that are opened and closed, while tasks switch as
//! fast as they can (R24). None is missed: when an event was opened, every tick of its task's is
//! counted, and nobody else's. And while there is none, no switch costs a command.

#![no_std]
#![no_main]

mod still;
mod switching;

use rt::sched::{self, event::By, port};
use rt::tap::Outcome;
use rt::{check, check_eq};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("the machine has a perf port", present),
        ("tasks that do not switch are found", still::found),
        ("a task that moved untold is found", still::moved),
        ("tasks that switch meet every change, by a vCPU", || {
            switching::watched(By::Vcpu, 40)
        }),
        ("tasks that switch meet every change, by the host", || {
            switching::watched(By::Host, 10)
        }),
        ("nothing odd came", clean),
    ]);
}

const CPUS: usize = 4;
/// The vCPUs that run tasks; CPU 0 opens events.
const RUNNERS: [usize; 3] = [1, 2, 3];

fn present() -> Outcome {
    let cpus = sched::init()?;
    check_eq!(cpus, CPUS, "CPUs");
    check!(port::exists(), "there is none");
    RUNNERS.into_iter().try_for_each(sched::enter)
}

fn clean() -> Outcome {
    let announced: u64 = RUNNERS.map(|cpu| sched::counts(cpu).announced).iter().sum();
    check!(announced > 0, "no switch was announced: nothing was tested");
    (0..CPUS).try_for_each(|cpu| sched::counts(cpu).check(cpu))?;
    sched::stop()
}
