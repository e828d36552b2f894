// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From a test's end and output to whether it noticed.

use lab_agent::wire::Exit;

use crate::job::Ended;

/// How the harness's line of a point ends that the kernel never came to.
const NOT_REPORTED: &str = "# not reported";

/// What stands in the place of a point when the kernel's run itself went wrong.
const WHOLE_RUN: &str = "(the run as a whole)";

/// What Loom and Shuttle say of an execution that has no end in sight.
const TOO_MANY_STEPS: [&str; 2] = [
    "Model exceeded maximum number of branches",
    "exceeded max_steps bound",
];

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

/// The same of a test that a model checker runs: one that never ends is not waited for.
pub(crate) fn of_model_test(ended: &Ended, output: &str, name: &str) -> Verdict {
    let verdict = of_rust_test(ended, output, name);
    let endless = TOO_MANY_STEPS.iter().any(|words| output.contains(words));
    if verdict == Verdict::Fails && endless {
        return Verdict::Hangs;
    }
    verdict
}

/// The verdict of the guest harness, which was given the kernel `name` alone. It prints
/// `name: ok POINT` or `name: FAILED POINT # why` of each point and `name: time-out ...` of a
/// kernel it had to end.
pub(crate) fn of_kernel(ended: &Ended, output: &str, name: &str, point: Option<&str>) -> Verdict {
    let code = match ended {
        Ended::Deadline => return Verdict::Hangs,
        Ended::Exit(Exit::NotStarted(why)) => return Verdict::Unclear(why.clone()),
        Ended::Exit(exit) => exit.shell_code(),
    };
    let said = || {
        output
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let wanted = |line: &str| point.is_none_or(|point| line.contains(point));
    let failures = || {
        said()
            .filter_map(|line| line.strip_prefix("FAILED "))
            .filter(|l| wanted(l))
    };
    if failures().any(|line| !line.ends_with(NOT_REPORTED) && !line.starts_with(WHOLE_RUN)) {
        return Verdict::Fails;
    }
    if said().any(|line| line.starts_with("time-out ")) {
        return Verdict::Hangs;
    }
    if failures().next().is_some() {
        return Verdict::Fails;
    }
    match point {
        None if code == 0 => Verdict::Passes,
        None => Verdict::Unclear(format!("the harness ends with {code} and names no point")),
        // Whatever becomes of the others.
        Some(_) if said().any(|line| line.starts_with("ok ") && wanted(line)) => Verdict::Passes,
        Some(point) => Verdict::Unclear(format!("there is no point `{point}`")),
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
    fn an_execution_without_an_end_is_a_hang_under_a_model_checker() {
        let failed = Ended::Exit(Exit::Code(101));
        let output = |what: &str| format!("\nrunning 1 test\ntest a ... FAILED\n{what}\n");
        let verdict = |what: &str| of_model_test(&failed, &output(what), "a");
        assert_eq!(verdict("deadlock; threads = [..]"), Verdict::Fails);
        let loom = "Model exceeded maximum number of branches. This is often caused by";
        assert_eq!(verdict(loom), Verdict::Hangs);
        let shuttle = "exceeded max_steps bound 1000000. this might be caused by";
        assert_eq!(verdict(shuttle), Verdict::Hangs);
        assert_eq!(of_model_test(&FINE, &output(loom), "a"), Verdict::Passes);
        assert_eq!(of_rust_test(&failed, &output(loom), "a"), Verdict::Fails);
    }

    fn kernel(code: u8, output: &str, point: Option<&str>) -> Verdict {
        of_kernel(&Ended::Exit(Exit::Code(code)), output, "overflow", point)
    }

    #[test]
    fn a_named_point_must_be_the_one_that_fails() {
        let output = "overflow: ok masked\noverflow: FAILED doubled # 1001 of 1000\n\
                      overflow: exit code 1 after 2.0 s\noverflow| not ok 3 - lost\n";
        assert_eq!(kernel(1, output, Some("doubled")), Verdict::Fails);
        assert_eq!(kernel(1, output, None), Verdict::Fails);
        assert_eq!(kernel(1, output, Some("masked")), Verdict::Passes);
        let verdict = kernel(1, output, Some("lost"));
        assert!(matches!(verdict, Verdict::Unclear(_)), "{verdict:?}");
    }

    #[test]
    fn a_kernel_that_passes_must_have_had_the_point() {
        let output = "overflow: ok masked\noverflow: exit code 0 after 2.0 s\n";
        assert_eq!(kernel(0, output, Some("masked")), Verdict::Passes);
        assert_eq!(kernel(0, output, None), Verdict::Passes);
        assert!(matches!(
            kernel(0, output, Some("lost")),
            Verdict::Unclear(_)
        ));
        assert!(matches!(kernel(101, "panicked", None), Verdict::Unclear(_)));
    }

    #[test]
    fn a_kernel_that_was_ended_hangs_unless_the_point_failed_before() {
        let output = "overflow: FAILED masked # lost\noverflow: FAILED doubled # not reported\n\
                      overflow: FAILED (the run as a whole) # time-out\n\
                      overflow: time-out after 90.0 s\n";
        assert_eq!(kernel(1, output, Some("doubled")), Verdict::Hangs);
        assert_eq!(kernel(1, output, Some("masked")), Verdict::Fails);
        let crashed = "overflow: FAILED doubled # not reported\noverflow: triple fault after 1 s\n";
        assert_eq!(kernel(1, crashed, Some("doubled")), Verdict::Fails);
        assert_eq!(
            of_kernel(&Ended::Deadline, "", "overflow", None),
            Verdict::Hangs
        );
    }
}
