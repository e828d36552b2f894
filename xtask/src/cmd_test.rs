// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask test`: everything that must hold, part by part.

use std::cell::OnceCell;
use std::num::NonZero;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use crate::checks::{self, Outcome};
use crate::cmd_ctl_session;
use crate::cmd_guest;
use crate::cmd_mutants::{self, Kind};
use crate::fuzz;
use crate::host_kvm::{OnArgs, Place};
use crate::kvm_tests;
use crate::model::{self, Model};
use crate::say;
use crate::spdx;
use crate::workspace;

/// How often the guest kernels run at night.
const NIGHTLY_REPEAT: NonZero<u32> = NonZero::new(5).unwrap();

/// How long guest tasks are stormed in each run.
const STORM_SECONDS: u32 = 10;

/// How long guest tasks are stormed at night.
const NIGHTLY_STORM_SECONDS: u32 = 30 * 60;

/// For a few commands to a guest.
const CTL_SESSION_DEADLINE: Duration = Duration::from_secs(120);

/// Run everything: checks, native and model-checked tests, fuzzing, tests and guests on a real KVM,
/// mutants.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    on: OnArgs,

    /// Also what takes long: searches without bounds, long fuzzing, guests repeated, mutants that need
    /// guests, advisories.
    #[arg(long)]
    nightly: bool,
}

/// A part's name and what it does.
type Part<'a> = (&'static str, Box<dyn Fn() -> Result<Outcome> + 'a>);

/// One part and what became of it.
struct Line {
    name: &'static str,
    result: Result<Outcome>,
    time: Duration,
}

/// Runs all parts, whatever fails; 1 if any did.
pub(crate) fn run(args: &TestArgs) -> Result<u8> {
    let place = OnceCell::new();
    let place = || *place.get_or_init(|| args.on.decide());
    let mut parts: Vec<Part<'_>> = vec![
        ("format", Box::new(checks::format)),
        ("spdx", Box::new(spdx)),
        ("clippy", Box::new(checks::clippy)),
        ("docs", Box::new(checks::docs)),
        ("deny", Box::new(checks::deny)),
        ("oldest rust", Box::new(checks::oldest_rust)),
        ("no std", Box::new(checks::no_std)),
        ("native tests", Box::new(checks::native_tests)),
        ("loom", Box::new(|| model::tests(Model::Loom, args.nightly))),
        (
            "shuttle",
            Box::new(|| model::tests(Model::Shuttle, args.nightly)),
        ),
        ("fuzz", Box::new(|| fuzz::all(args.nightly))),
        (
            "kvm tests",
            Box::new(|| kvm_tests::run(place()).map(|()| Outcome::Passed)),
        ),
        ("guests", Box::new(|| guests(place(), args.nightly))),
        ("ctl session", Box::new(|| ctl_session(place()))),
        ("mutants", Box::new(|| mutants(Kind::Native, place))),
    ];
    if args.nightly {
        parts.push(("long storm", Box::new(|| long_storm(place()))));
        parts.push(("guest mutants", Box::new(|| mutants(Kind::Lab, place))));
        parts.push(("advisories", Box::new(checks::advisories)));
    }

    let mut lines = Vec::new();
    for (name, part) in parts {
        say::step(format_args!("== {name} =="));
        let started = Instant::now();
        let result = part();
        if let Err(error) = &result {
            say::step(format_args!("{name}: {error:#}"));
        }
        lines.push(Line {
            name,
            result,
            time: started.elapsed(),
        });
    }
    println!("{}", table(&lines));
    Ok(u8::from(lines.iter().any(|line| line.result.is_err())))
}

fn spdx() -> Result<Outcome> {
    let files = spdx::check(&workspace::root())?;
    say::step(format_args!("{files} source files name their licence"));
    Ok(Outcome::Passed)
}

fn guests(place: Place, nightly: bool) -> Result<Outcome> {
    let repeat = if nightly {
        NIGHTLY_REPEAT
    } else {
        NonZero::<u32>::MIN
    };
    // At night as long as the kernel itself chooses. By day less: it takes longer than all others.
    let how = cmd_guest::How {
        seconds: if nightly {
            None
        } else {
            NonZero::new(STORM_SECONDS)
        },
        ..cmd_guest::How::times(repeat)
    };
    judged(place, &[], &how)
}

/// Guest tasks under events from all sides for half an hour.
fn long_storm(place: Place) -> Result<Outcome> {
    let how = cmd_guest::How {
        seconds: NonZero::new(NIGHTLY_STORM_SECONDS),
        ..cmd_guest::How::times(NonZero::<u32>::MIN)
    };
    judged(place, &["storm-tasks".to_owned()], &how)
}

/// What these kernels say, or all of them without a name.
fn judged(place: Place, kernels: &[String], how: &cmd_guest::How) -> Result<Outcome> {
    let kernels = cmd_guest::test_kernels(kernels)?;
    let judgement = cmd_guest::judge(place, &kernels, how, false)?;
    ensure!(
        judgement.code == 0 && judgement.failed.is_empty(),
        "the harness ended with {}\n{}",
        judgement.code,
        judgement.failed.join("\n")
    );
    Ok(Outcome::Passed)
}

fn ctl_session(place: Place) -> Result<Outcome> {
    let code = cmd_ctl_session::session(place, CTL_SESSION_DEADLINE, false)?;
    ensure!(code == 0, "the session ended with {code}");
    Ok(Outcome::Passed)
}

fn mutants(kind: Kind, place: impl Fn() -> Place) -> Result<Outcome> {
    ensure!(
        cmd_mutants::hunt(kind, &[], place)?,
        "a mutant was not killed, or a rule has none"
    );
    Ok(Outcome::Passed)
}

/// The parts with their times, what the failed ones say in full, and the line that sums them up.
fn table(lines: &[Line]) -> String {
    let mut table = String::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for Line { name, result, time } in lines {
        let verdict = match result {
            Ok(Outcome::Passed) => {
                passed += 1;
                "passed".to_owned()
            }
            Ok(Outcome::Skipped(why)) => {
                skipped += 1;
                format!("skipped: {why}")
            }
            Err(error) => {
                failed += 1;
                let error = error.to_string();
                format!("FAILED: {}", error.lines().next().unwrap_or_default())
            }
        };
        table += &format!("{name:<14} {:>7.1} s  {verdict}\n", time.as_secs_f64());
    }
    let total: Duration = lines.iter().map(|line| line.time).sum();
    table += &format!("{:<14} {:>7.1} s\n\n", "all", total.as_secs_f64());
    for Line { name, result, .. } in lines {
        if let Err(error) = result {
            table += &format!("{name}: {error:#}\n\n");
        }
    }
    table += &format!("{passed} passed, {failed} failed");
    if skipped > 0 {
        table += &format!(", {skipped} skipped");
    }
    table
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_table_ends_with_the_sums() {
        let line = |name, result| Line {
            name,
            result,
            time: Duration::from_millis(1540),
        };
        let mut lines = vec![
            line("format", Ok(Outcome::Passed)),
            line("docs", Ok(Outcome::Passed)),
        ];
        assert!(table(&lines).ends_with("\n\n2 passed, 0 failed"));
        lines.push(line("deny", Err(anyhow!("no\nmore"))));
        lines.push(line(
            "advisories",
            Ok(Outcome::Skipped("offline".to_owned())),
        ));
        let table = table(&lines);
        assert!(
            table.ends_with("\n\n2 passed, 1 failed, 1 skipped"),
            "{table}"
        );
        assert!(
            table.contains("deny               1.5 s  FAILED: no\n"),
            "{table}"
        );
        assert!(table.contains("\n\ndeny: no\nmore\n\n"), "{table}");
        assert!(table.contains("all                6.2 s\n"), "{table}");
    }
}
