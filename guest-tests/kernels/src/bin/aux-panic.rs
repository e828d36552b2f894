// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Starts a test run and panics in the middle of it.

#![no_std]
#![no_main]

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("fine", || Ok(())),
        ("panics", || panic!("on purpose")),
        ("never reached", || Ok(())),
    ]);
}
