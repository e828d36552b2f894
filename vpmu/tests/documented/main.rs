// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What `docs/semantics.md` says of tests and rules is true.

// It reads the page.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All words that begin with `letter` and two digits, such as `r01_`.
fn tests_named(text: &str, letter: char) -> BTreeSet<&str> {
    let words = text.split(|char: char| !char.is_alphanumeric() && char != '_');
    let named = |word: &&str| {
        let mut chars = word.chars();
        chars.next() == Some(letter)
            && chars.next().is_some_and(|char| char.is_ascii_digit())
            && chars.next().is_some_and(|char| char.is_ascii_digit())
            && chars.next() == Some('_')
    };
    words.filter(named).collect()
}

#[test]
fn every_race_has_the_test_that_the_page_names() {
    let page = read("../docs/semantics.md");
    let named = tests_named(&page, 'r');
    for race in 1..=24 {
        let number = format!("r{race:02}");
        let file = read(format!("tests/races/{number}.rs"));
        let tests: Vec<_> = named
            .iter()
            .filter(|name| name.starts_with(&number))
            .collect();
        assert!(!tests.is_empty(), "R{race} has no test on the page");
        for test in tests {
            assert!(file.contains(&format!("fn {test}(")), "no test {test}");
        }
    }
}

#[test]
fn every_invariant_has_tests_of_its_name() {
    let page = read("../docs/semantics.md");
    for invariant in 1..=21 {
        let row = format!("\n| I{invariant} | ");
        assert!(page.contains(&row), "I{invariant} is not on the page");
        let file = read(format!("tests/invariants/i{invariant:02}.rs"));
        let test = format!("fn i{invariant:02}_");
        assert!(file.contains(&test), "I{invariant} has no test");
    }
}

/// Rules as the page or a module's documentation lists them: `- **N1** …`.
fn rules(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().map(|line| line.trim_start_matches("//! "));
    let rules = lines.filter_map(|line| line.strip_prefix("- **"));
    rules
        .filter_map(|rule| Some(rule.split_once("** ")?.0))
        .filter(|rule| rule.len() == 2 && rule.ends_with(|char: char| char.is_ascii_digit()))
        .collect()
}

#[test]
fn the_page_has_the_rules_that_the_code_has() {
    let page = read("../docs/semantics.md");
    let mut code = String::new();
    for file in [
        "announce", "install", "order", "overflow", "pmu", "sigtrap", "switch",
    ] {
        code += &read(format!("src/context/{file}.rs"));
    }
    code += &read("../vcpu-call/src/lib.rs");
    let (page, code) = (rules(&page), rules(&code));
    assert!(code.len() > 20, "{code:?} are not all rules");
    assert_eq!(page, code);
}
