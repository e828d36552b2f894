// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! docs/races.md names tests and mutants: those that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::catalogue::RACES;
use crate::workspace;

const PAGE: &str = "docs/races.md";

/// The names of mutants and tests in the page; a star at the end stands for whatever follows.
fn names(page: &str) -> BTreeSet<&str> {
    let lines = page.lines();
    lines
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|name| !name.contains(' '))
        .collect()
}

/// All text of the files in `folder`, one after the other.
fn text_of(folder: &Path) -> String {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    texts.collect()
}

/// Whether `fn NAME` is in `text`.
fn has_test(text: &str, name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(start) => text.contains(&format!("fn {start}")),
        None => text.contains(&format!("fn {name}(")),
    }
}

fn has_mutant(mutants: &[String], name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(start) => mutants.iter().any(|mutant| mutant.starts_with(start)),
        None => mutants.iter().any(|mutant| mutant == name),
    }
}

#[test]
fn the_page_names_what_there_is() {
    let root = workspace::root();
    let page = fs::read_to_string(root.join(PAGE)).unwrap();
    let races = text_of(&root.join("vpmu/tests/races"));
    let mutants: Vec<String> = fs::read_dir(root.join("xtask/mutants"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    let mut counted = [0; 3];
    for name in names(&page) {
        if let Some((file, test)) = name.split_once("::") {
            let file = root.join(format!("vpmu/tests/loom/{file}.rs"));
            assert!(has_test(&fs::read_to_string(file).unwrap(), test), "{name}");
            counted[0] += 1;
        } else if ["perf-", "port-"].iter().any(|kind| name.starts_with(kind)) {
            assert!(has_mutant(&mutants, name), "{name}");
            counted[1] += 1;
        } else if name.starts_with('r') && name.contains('_') {
            assert!(has_test(&races, name), "{name}");
            counted[2] += 1;
        }
    }
    assert!(counted.iter().all(|count| *count > 5), "{counted:?}");
}

#[test]
fn every_race_is_in_the_page() {
    let page = fs::read_to_string(workspace::root().join(PAGE)).unwrap();
    for race in 1..=24 {
        assert!(page.contains(&format!("\n| R{race} | ")), "R{race}");
    }
}

#[test]
fn every_picture_of_the_page_is_there_and_drawn_by_the_catalogue() {
    let docs = workspace::root().join("docs");
    let page = fs::read_to_string(workspace::root().join(PAGE)).unwrap();
    let mut shown = 0;
    for link in page.split("](race-").skip(1) {
        let name = link.split(')').next().unwrap();
        assert!(docs.join(format!("race-{name}")).is_file(), "{name}");
        let kernel = name
            .strip_suffix("-fixed.svg")
            .or_else(|| name.strip_suffix("-broken.svg"));
        assert!(
            RACES.iter().any(|race| Some(race.kernel) == kernel),
            "{name}"
        );
        shown += 1;
    }
    assert!(shown > 0);
}

#[test]
fn every_mutant_of_the_catalogue_is_there() {
    let patches = workspace::root().join("xtask/mutants");
    for race in RACES {
        let patch = patches.join(format!("{}.patch", race.mutant));
        assert!(patch.is_file(), "{}", race.mutant);
    }
}
