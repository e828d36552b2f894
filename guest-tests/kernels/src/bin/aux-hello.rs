// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Says hello and ends with the exit code that the command line asks for (`exit=N`).

#![no_std]
#![no_main]

use rt::{cmdline, exit, println};

rt::kernel!(main);

fn main() {
    println!("hello from the guest: {}", cmdline::get());
    let code = cmdline::number("exit").and_then(|code| u32::try_from(code).ok());
    exit::exit(code.unwrap_or(0));
}
