// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Fork trees with inherited events: whatever the tasks of a family count, and whoever of them trades
//! contexts with whom (W2), the sum is what they did, to the unit (I11, I12).
//!
//! Trades cannot be seen from here. But tasks of one family take turns on one vCPU, which is when
//! they happen; and where a trade is done by halves, or between two that are not alike, a count here
//! is wrong.

#![no_std]
#![no_main]

mod alone;
mod family;
mod traps;
mod tree;

use rt::sched::{self, port};
use rt::tap::Outcome;
use rt::{check, check_eq};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("the machine has a perf port", present),
        ("a tree's counts add up, alive and dead", tree::adds_up),
        ("strangers in between change nothing", tree::strangers),
        (
            "an event of one of the family counts that one",
            alone::both_ways,
        ),
        ("a family is switched off and on as a whole", tree::switched),
        ("a family is spread over all vCPUs", tree::spread),
        (
            "traps of a family reach those who overflowed",
            traps::sent_once,
        ),
        ("no switch was refused, and nothing odd came", clean),
    ]);
}

/// vCPU 0 is the controller's; the others run tasks.
fn present() -> Outcome {
    let cpus = sched::init()?;
    check!(cpus >= 2, "only {cpus} CPU: this kernel wants two");
    check!(port::exists(), "there is none");
    (1..cpus).try_for_each(sched::enter)
}

fn clean() -> Outcome {
    let announced: u64 = rt::smp::online()
        .map(|cpu| sched::counts(cpu).announced)
        .sum();
    check!(announced > 0, "no switch was announced: nothing was tested");
    for cpu in rt::smp::online() {
        let counts = sched::counts(cpu);
        counts.check(cpu)?;
        check_eq!(counts.refused, 0, "refused announcements of CPU {cpu}");
    }
    check_eq!(sched::failed_forks(), 0, "forks that failed");
    sched::stop()
}
