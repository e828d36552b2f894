// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Halts for good, with interrupts disabled: only the host can end this.

#![no_std]
#![no_main]

use rt::{cpu, println};

rt::kernel!(main);

fn main() {
    println!("halting");
    cpu::halt_forever()
}
