// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From a test's end and output to whether it noticed.

use lab_agent::wire::Exit;

use crate::job::Ended;

/// What a test says about the code it was run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It passes.
    Passes,
    /// It is this test that fails.
    Fails,
    /// It does not come to an end.
    Hangs,
    /// It was not run, or something else is wrong.
    Unclear(String),
}

/// The verdict of the harness of Rust's tests, which was asked for the test `name` alone.
pub(crate) fn of_rust_test(ended: &Ended, output: &str, name: &str) -> Verdict {
    let code = match ended {
        Ended::Deadline => return Verdict::Hangs,
        Ended::Exit(Exit::NotStarted(why)) => return Verdict::Unclear(why.clone()),
        Ended::Exit(exit) => exit.shell_code(),
    };
    if !output.lines().any(|line| line == "running 1 test") {
        return Verdict::Unclear(format!("there is no test `{name}`"));
    }
    // A test that aborts or crashes the process leaves no line of its own.
    if code == 0 {
        Verdict::Passes
    } else {
        Verdict::Fails
    }
}

/// The verdict of the guest harness, which was given one kernel alone.
pub(crate) fn of_kernel(ended: &Ended, output: &str, point: Option<&str>) -> Verdict {
    let code = match ended {
        Ended::Deadline => return Verdict::Hangs,
        Ended::Exit(Exit::NotStarted(why)) => return Verdict::Unclear(why.clone()),
        Ended::Exit(exit) => exit.shell_code(),
    };
    let Some(point) = point else {
        return if code == 0 {
            Verdict::Passes
        } else {
            Verdict::Fails
        };
    };
    let mut lines = output.lines().filter(|line| line.contains(point));
    let failed = |line: &str| line.trim_start().starts_with("not ok ");
    if lines.clone().any(failed) {
        Verdict::Fails
    } else if code != 0 {
        Verdict::Unclear(format!("something other than the point `{point}` fails"))
    } else if lines.any(|line| line.trim_start().starts_with("ok ")) {
        Verdict::Passes
    } else {
        Verdict::Unclear(format!("there is no point `{point}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Ended = Ended::Exit(Exit::Code(0));

    #[test]
    fn rust_tests_must_have_run() {
        let one = "\nrunning 1 test\ntest a::b ... FAILED\n";
        let failed = Ended::Exit(Exit::Code(101));
        assert_eq!(of_rust_test(&failed, one, "a::b"), Verdict::Fails);
        assert_eq!(
            of_rust_test(&Ended::Exit(Exit::Signal(6)), one, "a::b"),
            Verdict::Fails
        );
        assert_eq!(of_rust_test(&FINE, one, "a::b"), Verdict::Passes);
        assert_eq!(of_rust_test(&Ended::Deadline, one, "a::b"), Verdict::Hangs);
        let none = "\nrunning 0 tests\n";
        assert!(matches!(
            of_rust_test(&FINE, none, "a::b"),
            Verdict::Unclear(_)
        ));
    }

    #[test]
    fn a_named_point_must_be_the_one_that_fails() {
        let output = "TAP version 13\nok 1 - masked\nnot ok 2 - doubled # 1001 of 1000\n";
        let failed = Ended::Exit(Exit::Code(1));
        assert_eq!(of_kernel(&failed, output, Some("doubled")), Verdict::Fails);
        assert_eq!(of_kernel(&failed, output, None), Verdict::Fails);
        for point in ["masked", "lost"] {
            let verdict = of_kernel(&failed, output, Some(point));
            assert!(matches!(verdict, Verdict::Unclear(_)), "{point}");
        }
        let output = "ok 1 - masked\n";
        assert_eq!(of_kernel(&FINE, output, Some("masked")), Verdict::Passes);
        assert_eq!(of_kernel(&FINE, output, None), Verdict::Passes);
        assert!(matches!(
            of_kernel(&FINE, output, Some("lost")),
            Verdict::Unclear(_)
        ));
        assert_eq!(of_kernel(&Ended::Deadline, output, None), Verdict::Hangs);
    }
}
