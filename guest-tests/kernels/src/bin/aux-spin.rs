// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All CPUs spin for ever, without an exit of their own.

#![no_std]
#![no_main]

use rt::{println, smp};

rt::kernel!(main);

fn spin() -> rt::tap::Outcome {
    loop {
        core::hint::spin_loop();
    }
}

fn main() {
    let count = smp::start_all().expect("the other CPUs start");
    println!("{count} CPUs spin");
    (1..count).for_each(|cpu| smp::start(cpu, spin));
    let _ = spin();
}
