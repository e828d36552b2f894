// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What of a kernel's run passed. Pure: output and ending in, verdict out.
//!
//! A point passes if it is reported `ok` exactly once. Everything that makes the report as a whole
//! doubtful is a failure of its own, so that no run passes by ending early, twice or not at all.

use std::fmt;

use crate::tap::{Point, Transcript};

/// How the run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the guest's exit code.
    Code(u32),
    /// Not within its time.
    Timeout,
    /// In another way, such as a triple fault.
    Other(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Timeout => f.write_str("time-out"),
            Self::Other(how) => f.write_str(how),
        }
    }
}

/// One test of a run and how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// Why it failed; `None` if it passed.
    pub failure: Option<String>,
}

/// All tests of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The points in the order of the plan, then what is wrong with the run as a whole.
    pub tests: Vec<Test>,
}

impl Verdict {
    /// A run that could not even start, for this reason.
    #[must_use]
    pub fn not_started(reason: String) -> Self {
        Self {
            tests: vec![of_run(reason)],
        }
    }

    /// The same with one more test: that threads were moved `times` times in all.
    #[must_use]
    pub fn moved(mut self, times: u64) -> Self {
        let failure = (times == 0).then(|| "not once".to_owned());
        self.tests.push(Test {
            name: "its threads are moved between host CPUs".to_owned(),
            failure,
        });
        self
    }

    /// How many tests failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        let failed = |test: &&Test| test.failure.is_some();
        self.tests.iter().filter(failed).count()
    }

    /// How many tests passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.tests.len() - self.failed()
    }
}

fn of_run(reason: String) -> Test {
    Test {
        name: "(the run as a whole)".to_owned(),
        failure: Some(reason),
    }
}

/// Judges what a kernel reported and how its run ended.
///
/// ```
/// use guest_tests::{Ending, judge, tap::Transcript};
///
/// let transcript = Transcript::parse("TAP version 13\n1..2\nok 1 - a\nok 2 - b\n");
/// assert_eq!(judge(&transcript, &Ending::Code(0)).failed(), 0);
/// assert_eq!(judge(&transcript, &Ending::Timeout).failed(), 1);
/// ```
#[must_use]
pub fn judge(transcript: &Transcript, ending: &Ending) -> Verdict {
    let planned = match transcript.plans[..] {
        [planned] => planned,
        // Without one plan, expect what was reported; the run fails anyway.
        _ => transcript
            .points
            .iter()
            .filter_map(|point| point.number)
            .max()
            .unwrap_or(0)
            .min(transcript.points.len()),
    };
    let mut tests: Vec<Test> = (1..=planned).map(|n| test(transcript, n)).collect();
    let points_passed = tests.iter().all(|test| test.failure.is_none());
    let faults = faults(transcript, planned)
        .into_iter()
        .chain(fault_of_ending(ending, points_passed));
    tests.extend(faults.map(of_run));
    Verdict { tests }
}

/// Point `number` of the plan.
fn test(transcript: &Transcript, number: usize) -> Test {
    let reports: Vec<&Point> = transcript
        .points
        .iter()
        .filter(|point| point.number == Some(number))
        .collect();
    let failure = match reports[..] {
        [] => Some("not reported".to_owned()),
        [point] if point.passed() => None,
        [point] => Some(point.remark.clone().unwrap_or_else(|| "not ok".to_owned())),
        _ => Some(format!("reported {} times", reports.len())),
    };
    let name = match reports.first() {
        Some(point) if !point.name.is_empty() => point.name.clone(),
        _ => format!("point {number}"),
    };
    Test { name, failure }
}

/// What is wrong with the report as a whole.
fn faults(transcript: &Transcript, planned: usize) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(reason) = &transcript.bail_out {
        faults.push(format!("Bail out! {reason}"));
    }
    if !transcript.versioned {
        faults.push("no `TAP version 13` line".to_owned());
    }
    match transcript.plans[..] {
        [] => faults.push("no plan".to_owned()),
        [0] => faults.push("a plan of no points".to_owned()),
        [_] => {}
        _ => faults.push(format!("{} plans", transcript.plans.len())),
    }
    for point in &transcript.points {
        match point.number {
            None => faults.push(format!("a point without a number: {}", point.name)),
            Some(number) if !(1..=planned).contains(&number) => {
                faults.push(format!("point {number} is not in the plan: {}", point.name));
            }
            Some(_) => {}
        }
    }
    faults
}

fn fault_of_ending(ending: &Ending, points_passed: bool) -> Option<String> {
    match ending {
        Ending::Code(0) if points_passed => None,
        Ending::Code(0) => Some("exit code 0 although points failed".to_owned()),
        Ending::Code(1) if !points_passed => None,
        Ending::Code(code) if points_passed => {
            Some(format!("exit code {code} although all points passed"))
        }
        Ending::Code(code) => Some(format!("exit code {code}, not 1, for failed points")),
        Ending::Timeout => Some("no end within the time".to_owned()),
        Ending::Other(how) => Some(format!("no exit code: {how}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(output: &str, ending: &Ending) -> Verdict {
        judge(&Transcript::parse(output), ending)
    }

    fn failures(output: &str, ending: &Ending) -> Vec<String> {
        let tests = verdict(output, ending).tests;
        tests.into_iter().filter_map(|test| test.failure).collect()
    }

    const GOOD: &str = "TAP version 13\n1..2\nok 1 - a\nok 2 - b\n";

    #[test]
    fn a_good_run_passes() {
        let verdict = verdict(GOOD, &Ending::Code(0));
        assert_eq!((verdict.passed(), verdict.failed()), (2, 0));
    }

    #[test]
    fn a_failed_point_keeps_its_reason() {
        let output = "TAP version 13\n1..2\nnot ok 1 - a # 5, not 6\nok 2 - b\n";
        let verdict = verdict(output, &Ending::Code(1));
        assert_eq!((verdict.passed(), verdict.failed()), (1, 1));
        assert_eq!(verdict.tests[0].failure.as_deref(), Some("5, not 6"));
    }

    #[test]
    fn exit_code_and_points_must_agree() {
        let bad = "TAP version 13\n1..1\nnot ok 1 - a\n";
        for (output, code, failed) in [
            (GOOD, 0, 0),
            (GOOD, 1, 1),
            (bad, 1, 1),
            (bad, 0, 2),
            (bad, 7, 2),
        ] {
            let verdict = verdict(output, &Ending::Code(code));
            assert_eq!(verdict.failed(), failed, "{output} {code}");
        }
    }

    #[test]
    fn a_run_without_an_exit_code_fails() {
        assert_eq!(failures(GOOD, &Ending::Timeout), ["no end within the time"]);
        let ending = Ending::Other("triple fault".to_owned());
        assert_eq!(failures(GOOD, &ending), ["no exit code: triple fault"]);
    }

    #[test]
    fn the_plan_must_be_there_once_and_not_empty() {
        let no_plan = "TAP version 13\nok 1 - a\n";
        assert_eq!(failures(no_plan, &Ending::Code(0)), ["no plan"]);
        let empty = "TAP version 13\n1..0\n";
        assert_eq!(failures(empty, &Ending::Code(0)), ["a plan of no points"]);
        let two = "TAP version 13\n1..1\nok 1 - a\n1..1\n";
        assert_eq!(failures(two, &Ending::Code(0)), ["2 plans"]);
        let none = failures("", &Ending::Code(0));
        assert_eq!(none, ["no `TAP version 13` line", "no plan"]);
    }

    #[test]
    fn a_run_that_stops_short_of_its_plan_fails() {
        let output = "TAP version 13\n1..3\nok 1 - a\n";
        let verdict = verdict(output, &Ending::Code(0));
        assert_eq!((verdict.passed(), verdict.failed()), (1, 3));
        assert_eq!(verdict.tests[2].name, "point 3");
        assert_eq!(verdict.tests[2].failure.as_deref(), Some("not reported"));
    }

    #[test]
    fn points_beyond_the_plan_fail() {
        let output = "TAP version 13\n1..1\nok 1 - a\nok 2 - b\n";
        assert_eq!(
            failures(output, &Ending::Code(0)),
            ["point 2 is not in the plan: b"]
        );
        let output = "TAP version 13\n1..1\nok 1 - a\nok 0 - b\nok - c\n";
        assert_eq!(failures(output, &Ending::Code(0)).len(), 2);
    }

    #[test]
    fn a_point_reported_twice_fails() {
        let output = "TAP version 13\n1..2\nok 1 - a\nok 1 - a\nok 2 - b\n";
        assert_eq!(failures(output, &Ending::Code(1)), ["reported 2 times"]);
    }

    #[test]
    fn a_bail_out_fails() {
        let output = "TAP version 13\n1..2\nok 1 - a\nok 2 - b\nBail out! trap\n";
        assert_eq!(failures(output, &Ending::Code(0)), ["Bail out! trap"]);
    }

    #[test]
    fn a_run_that_did_not_start_fails() {
        let verdict = Verdict::not_started("no /dev/kvm".to_owned());
        assert_eq!((verdict.passed(), verdict.failed()), (0, 1));
    }

    #[test]
    fn threads_that_stay_where_they_are_fail() {
        let verdict = verdict(GOOD, &Ending::Code(0));
        assert_eq!(verdict.clone().moved(1).failed(), 0);
        assert_eq!(verdict.moved(0).failed(), 1);
    }

    #[test]
    fn an_absurd_point_number_without_a_plan_costs_nothing() {
        let output = format!("TAP version 13\nok {} - a\n", usize::MAX);
        assert!(verdict(&output, &Ending::Code(0)).tests.len() < 5);
    }
}
