// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A test run with a point that fails.

#![no_std]
#![no_main]

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("fine", || Ok(())),
        ("fails", || rt::fail!("on purpose")),
        ("fine again", || Ok(())),
    ]);
}
