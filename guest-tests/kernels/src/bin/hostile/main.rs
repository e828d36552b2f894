// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that means harm: it lies to the perf port about its tasks, writes garbage to the port, the
//! hotplug controller and the PMU's MSRs from all vCPUs at once, rewrites commands while they run and
//! registers pages of others. It wastes its own time and nothing else: the VMM neither panics nor hangs
//! nor grows, and what is honest afterwards works to the unit.
//!
//! `seconds=N` on the command line says how long each storm takes, `seed=N` what is done in it.

#![no_std]
#![no_main]

mod attack;
mod honest;
mod lies;
mod limits;
mod shared;
mod storm;
mod user;

use rt::footprint;
use rt::sched::{self, port};
use rt::tap::Outcome;
use rt::{check, check_eq};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("the machine has a perf port", present),
        ("a lie about who runs where changes no count", lies::places),
        ("a trap that was not given cannot be done", lies::traps),
        ("a page that goes takes no trap with it", lies::page),
        ("there is an end to tasks and events", limits::reached),
        ("all vCPUs do harm at once", first_storm),
        ("and an honest task counts to the unit", honest::round),
        ("vCPUs go and come in the middle of it", storm::with_hotplug),
        ("all of them are back", storm::all_back),
        ("and all do harm once more", last_storm),
        ("an honest task still counts to the unit", honest::round),
        ("the limits are where they were", limits::reached),
        ("the VMM takes no more than before", no_more_than_before),
        ("nothing odd came of what was honest", clean),
    ]);
}

const CPUS: usize = 4;
/// What the VMM may take more at the end, for buffers that have found their size.
const GROWTH_KIB: u32 = 2048;

fn present() -> Outcome {
    let cpus = sched::init()?;
    check_eq!(cpus, CPUS, "CPUs");
    check!(port::exists(), "there is none");
    Ok(())
}

fn first_storm() -> Outcome {
    storm::of_all(1)?;
    footprint::before()
}

fn last_storm() -> Outcome {
    storm::of_all(3)?;
    footprint::after()
}

fn no_more_than_before() -> Outcome {
    footprint::flat(GROWTH_KIB)
}

fn clean() -> Outcome {
    (0..CPUS).try_for_each(|cpu| sched::counts(cpu).check(cpu))?;
    Ok(())
}
