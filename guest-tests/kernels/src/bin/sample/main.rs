// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a guest gets of perfvisor, shown by itself: a profile by the PMU's overflow interrupts, and tasks
//! that are counted by the perf port. For people, not for the test harness.

#![no_std]
#![no_main]

mod counted;
mod event;
mod numbers;
mod profile;
mod stuck;
mod tasks;
mod trapped;
mod work;

use rt::{exit, println};

rt::kernel!(main);

fn main() {
    if let Err(why) = profile::show().and_then(|()| tasks::show()) {
        println!("\nThis did not work: {why}");
        exit::exit(1);
    }
}
