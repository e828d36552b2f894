// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! More events than counters: who counts when, and how much, to the unit where the events are ticks.
//!
//! A task on vCPU 1 makes ticks while the events of the port are on it or on its vCPU, and blocks
//! while they are read: so what was counted is known, whoever had the counters.

#![no_std]
#![no_main]

mod errors;
mod events;
mod groups;
mod scaling;
mod sharing;
mod worker;

use rt::sched;
use rt::tap::Outcome;
use rt::{check, model};

rt::kernel!(main);

fn main() {
    model::find();
    rt::tap::run(&[
        ("the machine has a perf port", begin),
        (
            "events of a vCPU take turns and leave no counter free",
            sharing::of_vcpu,
        ),
        (
            "events of a task take turns on both vCPUs",
            sharing::of_task,
        ),
        ("those of the vCPU come first", sharing::of_both),
        (
            "a counter of the guest's own takes one",
            sharing::beside_the_guests_own,
        ),
        ("pinned events count all the time", sharing::beside_pinned),
        ("a group counts as a whole", groups::whole),
        ("a group of too many events is refused", groups::too_large),
        (
            "a pinned event of a vCPU without a counter is in error",
            errors::of_vcpu,
        ),
        (
            "a pinned event of a task without a counter is in error",
            errors::of_task,
        ),
        (
            "pinned events of the vCPU push those of the task out",
            errors::of_both,
        ),
        ("cycles scale to what they are within 2 %", scaling::cycles),
        ("ticks of all events together scale exactly", scaling::ticks),
    ]);
}

/// The vCPU that is measured; vCPU 0 opens and reads.
const VCPU: usize = 1;

fn begin() -> Outcome {
    let cpus = sched::init()?;
    check!(cpus > VCPU, "only {cpus} CPU: this kernel wants two");
    check!(sched::port::exists(), "there is none");
    sched::enter(VCPU)
}
