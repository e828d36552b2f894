// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The embedding examples, run where a KVM is and read.

use std::error::Error;

#[path = "../examples/embed.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod embed;

#[path = "../examples/embed_port/main.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod embed_port;

#[path = "../../vpmu/examples/registers.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod registers;

mod watchdog;

/// What an example printed, also shown to whoever runs the tests.
fn printed(run: impl FnOnce(&mut Vec<u8>) -> Result<(), Box<dyn Error>>) -> String {
    let _watchdog = watchdog::Watchdog::new();
    let mut output = Vec::new();
    run(&mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    println!("{output}");
    output
}

/// How many cycles the guest printed.
fn cycles(output: &str) -> u64 {
    let mut counts = output
        .lines()
        .filter_map(|line| line.strip_suffix(" cycles"));
    counts.next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_loop_of_ones_own_counts_and_is_interrupted() {
    let output = printed(embed::run);
    let pmis = output.matches("A PMI, with status 0x1\n").count();
    assert!(pmis >= 3, "{pmis} PMIs");
    let cycles = cycles(&output);
    // The other counter overflowed after a million each time.
    assert!(cycles >= 3_000_000, "{cycles} cycles");
    // One more may have come while the guest read its counter, with interrupts off.
    let delivered = [pmis, pmis + 1].map(|pmis| format!("delivered {pmis} PMIs"));
    assert!(
        delivered.iter().any(|delivered| output.contains(delivered)),
        "the host says otherwise"
    );
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_guest_of_ones_own_tells_of_its_task_and_traps_it() {
    let output = printed(embed_port::run);
    let traps: Vec<_> = output
        .lines()
        .filter(|line| line.starts_with("A trap"))
        .collect();
    // The third tick, and before the task's next instruction: it has not counted that one.
    let counted = |n| format!("A trap with a 7: the task had counted {n}");
    assert_eq!(traps, [2, 5, 8].map(counted));
    assert!(output.contains("The host knows the task worker\n"));
    // PAGE, CREATE, OPEN, and TRAP_DONE three times.
    assert!(output.contains("6 calls and 9 ticks\n"));
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn the_registers_alone_need_no_kvm() {
    let output = printed(registers::run);
    assert_eq!(cycles(&output), 35_000);
    assert!(output.contains("delivered 3 PMIs"));
}
