// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The example that needs nothing but this crate, run and read.

#![cfg(not(any(loom, shuttle)))]

#[path = "../../examples/registers.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod registers;

#[test]
fn the_registers_alone_count_every_cycle_and_interrupt_three_times() {
    let mut output = Vec::new();
    registers::run(&mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let pmi = "A PMI, with status 0x1, 120 cycles late\n".repeat(3);
    let expected = format!(
        "The guest has the PMU amd-v2\n{pmi}35000 cycles\n\
         The host saw 3 overflows and delivered 3 PMIs, at most 120 cycles late\n"
    );
    assert_eq!(output, expected);
}
