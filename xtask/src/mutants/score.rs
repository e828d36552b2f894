// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What becomes of mutants, counted and told.

use std::time::Duration;

use anyhow::{Result, bail};

use super::patch::Patch;
use super::verdict::Verdict;

/// How many fared how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    /// Their test noticed.
    pub(crate) killed: u32,
    /// It did not.
    pub(crate) survived: u32,
    /// They could not be tried.
    pub(crate) failed: u32,
}

impl Score {
    /// Counts one and says so.
    pub(crate) fn add(&mut self, patch: &Patch, tried: Result<Verdict>, time: &str) {
        let (count, what) = match tried {
            Ok(Verdict::Fails) => (&mut self.killed, "killed".to_owned()),
            Ok(Verdict::Hangs) if patch.hang => (&mut self.killed, "killed (hangs)".to_owned()),
            Ok(Verdict::Hangs) => (&mut self.survived, "SURVIVED (its test hangs)".to_owned()),
            Ok(Verdict::Passes) => (&mut self.survived, "SURVIVED".to_owned()),
            Ok(Verdict::Unclear(why)) => (&mut self.survived, format!("SURVIVED ({why})")),
            Err(error) => (&mut self.failed, format!("ERROR ({error:#})")),
        };
        *count += 1;
        println!("{}: {}: {what}, {time}", patch.name, patch.mutant);
    }

    /// Whether none was left alive.
    pub(crate) fn is_clean(&self) -> bool {
        self.survived == 0 && self.failed == 0
    }
}

/// A test that does not pass on the tree as it is proves nothing about mutants.
pub(crate) fn check_unmutated(verdict: &Verdict) -> Result<()> {
    match verdict {
        Verdict::Passes => Ok(()),
        Verdict::Fails => bail!("its test fails without it too"),
        Verdict::Hangs => bail!("its test hangs without it too"),
        Verdict::Unclear(why) => bail!("without it: {why}"),
    }
}

/// A time as it is told.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_hang_counts_only_where_it_is_foreseen() {
        let mut score = Score::default();
        for (hang, tried) in [
            (false, Ok(Verdict::Fails)),
            (true, Ok(Verdict::Hangs)),
            (false, Ok(Verdict::Hangs)),
            (true, Ok(Verdict::Passes)),
            (false, Ok(Verdict::Unclear("x".to_owned()))),
            (false, Err(anyhow!("does not compile"))),
        ] {
            let patch = Patch {
                hang,
                ..Patch::sample("m")
            };
            score.add(&patch, tried, "1.0 s");
        }
        assert_eq!(
            score,
            Score {
                killed: 2,
                survived: 3,
                failed: 1
            }
        );
        assert!(!score.is_clean());
    }

    #[test]
    fn only_a_test_that_passes_proves_anything() {
        assert!(check_unmutated(&Verdict::Passes).is_ok());
        for verdict in [
            Verdict::Fails,
            Verdict::Hangs,
            Verdict::Unclear("x".to_owned()),
        ] {
            assert!(check_unmutated(&verdict).is_err(), "{verdict:?}");
        }
    }
}
