// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A task blocks on a vCPU, and the vCPU is unplugged. Whoever opens an event on the task then, or
//! changes, reads or closes one, does not wait for the vCPU or the task (I4, R3, R4): and the event
//! counts when the task runs again, wherever that is.

#![no_std]
#![no_main]

mod asker;
mod storm;
mod stuck;

use rt::sched::{self, port};
use rt::tap::Outcome;
use rt::{check, check_eq};

use asker::By;

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("the machine has a perf port", present),
        (
            "another vCPU opens and changes events at once",
            by_another_vcpu,
        ),
        ("the host opens and changes events at once", by_the_host),
        ("so it is while the vCPU goes and comes", storm::trips),
        ("nothing odd came", clean),
    ]);
}

const CPUS: usize = 4;
/// Opens events, and runs no tasks.
const INSTALLER: usize = 1;
/// Where a task can go on instead.
const ELSEWHERE: usize = 2;
/// Goes and comes.
const STUCK: usize = 3;

fn present() -> Outcome {
    let cpus = sched::init()?;
    check_eq!(cpus, CPUS, "CPUs");
    check!(port::exists(), "there is none");
    [ELSEWHERE, STUCK].into_iter().try_for_each(sched::enter)
}

fn by_another_vcpu() -> Outcome {
    stuck::in_all_ways(By::Vcpu)
}

fn by_the_host() -> Outcome {
    stuck::in_all_ways(By::Host)
}

fn clean() -> Outcome {
    (0..CPUS).try_for_each(|cpu| sched::counts(cpu).check(cpu))?;
    sched::stop()
}
