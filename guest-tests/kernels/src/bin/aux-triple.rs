// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Ends in a triple fault.

#![no_std]
#![no_main]

use rt::{cpu, println};

rt::kernel!(main);

fn main() {
    println!("about to triple fault");
    cpu::triple_fault()
}
