// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Documents quote code as it is.

/// The blocks of a document that are Rust, as they are.
fn rust_blocks(document: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while lines.by_ref().any(|line| line == "```rust") {
        let block = lines.by_ref().take_while(|line| *line != "```");
        blocks.push(block.map(|line| format!("{line}\n")).collect());
    }
    blocks
}

#[test]
fn the_example_of_an_integration_test_is_the_one_that_runs() {
    let document = include_str!("../../docs/integration-tests.md");
    let test = include_str!("kvm_integration.rs");
    let blocks = rust_blocks(document);
    assert_eq!(blocks.first().map(String::as_str), Some(test));
}
