// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Brings together what a test says with a mutant and what it says without.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};

use super::native::Tried;
use super::patch::{Patch, Test};
use super::queue::Job;
use super::score::{self, Score, seconds};
use crate::say;

/// The jobs done so far.
#[derive(Default)]
pub(crate) struct Ledger<'a> {
    /// The tests tried without a mutant, and whether they pass.
    sound: BTreeMap<&'a Test, Result<()>>,
    /// Mutants done while their test has yet to be tried without one.
    early: Vec<(&'a Patch, &'a Test, Result<Tried>)>,
    /// The mutants on which there is a verdict.
    score: Score,
}

impl<'a> Ledger<'a> {
    /// Enters a job that is done and tells what is known by it.
    pub(crate) fn enter(&mut self, job: Job<'a>, tried: Result<Tried>) {
        match job {
            Job::Mutant(patch, test) => self.early.push((patch, test, tried)),
            Job::Unmutated(test) => {
                let sound = tried.and_then(|tried| {
                    say::step(format_args!(
                        "{test} without a mutant: {}",
                        seconds(tried.run)
                    ));
                    score::check_unmutated(&tried.verdict)
                });
                self.sound.insert(test, sound);
            }
        }
        let ready = self
            .early
            .extract_if(.., |(_, test, _)| self.sound.contains_key(test));
        for (patch, test, tried) in ready {
            let time = tried.as_ref().map_or_else(|_| "not run".to_owned(), time);
            let verdict = match &self.sound[test] {
                Ok(()) => tried.map(|tried| tried.verdict),
                Err(error) => Err(anyhow!("{error:#}")),
            };
            self.score.add(patch, verdict, &time);
        }
    }

    /// The score when all is done.
    pub(crate) fn close(self) -> Score {
        self.score
    }
}

/// How long something took, and how much of that the building.
fn time(tried: &Tried) -> String {
    let all = seconds(tried.build + tried.run);
    format!("{all} ({} to build)", seconds(tried.build))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::patch::Binary;
    use super::super::verdict::Verdict;
    use super::*;

    fn test() -> Test {
        let binary = Binary {
            model: None,
            package: "vpmu".to_owned(),
            file: None,
        };
        Test {
            binary,
            name: "t".to_owned(),
        }
    }

    fn tried(verdict: Verdict) -> Result<Tried> {
        Ok(Tried {
            verdict,
            build: Duration::from_millis(900),
            run: Duration::from_millis(200),
        })
    }

    #[test]
    fn a_mutant_is_judged_once_its_test_is_known_to_pass_without_it() {
        let (test, patch) = (test(), Patch::sample("m"));
        let mut ledger = Ledger::default();
        ledger.enter(Job::Mutant(&patch, &test), tried(Verdict::Fails));
        assert_eq!(ledger.score.killed, 0);
        ledger.enter(Job::Unmutated(&test), tried(Verdict::Passes));
        ledger.enter(Job::Mutant(&patch, &test), tried(Verdict::Fails));
        let score = ledger.close();
        assert_eq!((score.killed, score.survived, score.failed), (2, 0, 0));
    }

    #[test]
    fn a_test_that_fails_anyway_kills_nothing() {
        let (test, patch) = (test(), Patch::sample("m"));
        for unmutated in [tried(Verdict::Fails), Err(anyhow!("does not compile"))] {
            let mut ledger = Ledger::default();
            ledger.enter(Job::Unmutated(&test), unmutated);
            ledger.enter(Job::Mutant(&patch, &test), tried(Verdict::Fails));
            let score = ledger.close();
            assert_eq!((score.killed, score.survived, score.failed), (0, 0, 1));
        }
    }

    #[test]
    fn times_tell_how_much_was_building() {
        assert_eq!(
            time(&tried(Verdict::Fails).unwrap()),
            "1.1 s (0.9 s to build)"
        );
    }
}
