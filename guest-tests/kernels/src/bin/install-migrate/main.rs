// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A task goes to and fro between two vCPUs as fast as it can, while events on it are opened and
//! closed from a third one and by the host (R1, R2, R5, R6). When an installation has returned, every
//! tick of the task's is counted (I3); and it looked for the task once for each move at most (I5).

#![no_std]
#![no_main]

mod runner;
mod window;

use rt::sched::{self, event::By, port};
use rt::tap::Outcome;
use rt::{check, check_eq};

use runner::Company;

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("the machine has a perf port", present),
        (
            "a task's only event misses no tick, opened by another vCPU",
            || runner::watched(&[By::Vcpu], Company::None),
        ),
        (
            "a task's second event misses no tick, opened by another vCPU",
            || runner::watched(&[By::Vcpu], Company::Event),
        ),
        (
            "a task's only event misses no tick, opened by the host",
            || runner::watched(&[By::Host], Company::None),
        ),
        ("nor do those that both open at once", || {
            runner::watched(&[By::Vcpu, By::Host], Company::Announced)
        }),
        ("nothing odd came", clean),
    ]);
}

const CPUS: usize = 4;
/// Between these two the task goes to and fro.
const HERE: usize = 1;
const THERE: usize = 2;

fn present() -> Outcome {
    let cpus = sched::init()?;
    check_eq!(cpus, CPUS, "CPUs");
    check!(port::exists(), "there is none");
    [HERE, THERE].into_iter().try_for_each(sched::enter)
}

fn clean() -> Outcome {
    (0..CPUS).try_for_each(|cpu| sched::counts(cpu).check(cpu))?;
    sched::stop()
}
