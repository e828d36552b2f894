// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf core's numbered rules: each must have a mutant that a test named after it kills.

use super::patch::Patch;

/// The invariants and the races, by their letter and how many there are.
const RULES: [(char, u32); 2] = [('i', 21), ('r', 24)];

/// The numbers, such as `r07`, that are in the name of no test that kills one of `patches`.
pub(crate) fn missing(patches: &[Patch]) -> Vec<String> {
    let killers: Vec<&str> = patches
        .iter()
        .filter_map(|patch| patch.killer.test_name())
        .collect();
    let numbers = RULES
        .into_iter()
        .flat_map(|(letter, count)| (1..=count).map(move |number| format!("{letter}{number:02}")));
    numbers
        .filter(|number| !killers.iter().any(|name| is_in(number, name)))
        .collect()
}

/// Whether `number` is a word of its own in a test's `name` and not the last one, which says what
/// the rule is.
fn is_in(number: &str, name: &str) -> bool {
    let mut words = name.split([':', '_']);
    words.next_back();
    words.any(|word| word == number)
}

#[cfg(test)]
mod tests {
    use super::super::patch::{Binary, Killer, Test};
    use super::*;

    fn killed_by(name: &str) -> Patch {
        let binary = Binary {
            model: None,
            package: "vpmu".to_owned(),
            file: None,
        };
        Patch {
            killer: Killer::Native(Test {
                binary,
                name: name.to_owned(),
            }),
            ..Patch::sample("m")
        }
    }

    #[test]
    fn without_mutants_every_number_is_missing() {
        let missing = missing(&[]);
        assert_eq!(missing.len(), 45);
        assert_eq!(
            (&*missing[0], &*missing[20], &*missing[21]),
            ("i01", "i21", "r01")
        );
    }

    #[test]
    fn names_of_tests_cover_the_numbers_in_them() {
        let left = |name| {
            let missing = missing(&[killed_by(name), Patch::sample("of-a-guest")]);
            45 - missing.len()
        };
        assert_eq!(left("races::limit::r13_i16_the_last_trap_is_kept"), 2);
        assert_eq!(left("r24_announcements_turned_on"), 1);
        assert_eq!(left("races::r25_there_is_none"), 0);
        assert_eq!(left("races::r1_needs_two_digits"), 0);
        assert_eq!(left("races::vcpur13_is_no_word"), 0);
        assert_eq!(left("races::r13"), 0);
    }
}
