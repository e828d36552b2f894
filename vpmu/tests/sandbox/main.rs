// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The registers ask nothing of the operating system: they work where it grants nothing but memory.
//!
//! A seccomp filter cannot be taken off again, and kills whoever asks for more. So each test starts
//! this program anew: with a name of [`Inmate`] as its only argument it locks itself in and does one
//! thing, else it runs the tests.

// A process of its own is what is locked in.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod cell;
mod traffic;

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

/// What is done inside, after the filter is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inmate {
    /// The register traffic; ends with 0 if the registers answer as they do outside.
    Traffic,
    /// Nothing; ends with 0.
    Rest,
    /// Asks who it is.
    Ask,
    /// Writes a line.
    Write,
}

impl Inmate {
    const ALL: [Self; 4] = [Self::Traffic, Self::Rest, Self::Ask, Self::Write];

    const fn name(self) -> &'static str {
        match self {
            Self::Traffic => "inmate-traffic",
            Self::Rest => "inmate-rest",
            Self::Ask => "inmate-ask",
            Self::Write => "inmate-write",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|inmate| inmate.name() == name)
    }

    /// What this process does, once it is one.
    fn live(self) -> ExitCode {
        let outside = traffic::run();
        if let Err(error) = cell::lock() {
            eprintln!("The filter cannot be installed: {error}");
            return ExitCode::from(2);
        }
        match self {
            Self::Traffic => ExitCode::from(u8::from(traffic::run() != outside)),
            Self::Rest => ExitCode::SUCCESS,
            Self::Ask => ExitCode::from(u8::from(std::process::id() == 0)),
            Self::Write => {
                println!("Is anybody there?");
                ExitCode::SUCCESS
            }
        }
    }

    /// How it ends.
    fn sentence(self) -> Result<ExitStatus, Failed> {
        let status = Command::new(env::current_exe()?)
            .arg(self.name())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        Ok(status)
    }
}

fn main() -> ExitCode {
    let args: Vec<_> = env::args().collect();
    if let [_, name] = &args[..]
        && let Some(inmate) = Inmate::named(name)
    {
        return inmate.live();
    }
    let tests = [
        Trial::test("the_registers_work_with_nothing_but_memory", || {
            ends_well(Inmate::Traffic)
        }),
        Trial::test("who_asks_for_nothing_lives", || ends_well(Inmate::Rest)),
        Trial::test("who_asks_for_more_is_killed", || {
            is_killed(Inmate::Ask)?;
            is_killed(Inmate::Write)
        }),
        Trial::test("the_traffic_is_worth_a_filter", busy),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests.into()).exit_code()
}

fn ends_well(inmate: Inmate) -> Result<(), Failed> {
    let status = inmate.sentence()?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{inmate:?}: {status}").into())
}

fn is_killed(inmate: Inmate) -> Result<(), Failed> {
    let status = inmate.sentence()?;
    if status.signal() == Some(libc::SIGSYS) {
        return Ok(());
    }
    Err(format!("{inmate:?} should be killed by SIGSYS: {status}").into())
}

fn busy() -> Result<(), Failed> {
    let seen = traffic::run();
    let enough = seen.values > 10_000
        && seen.faults > 1_000
        && seen.accepted > 10_000
        && seen.pmis > 100
        && seen == traffic::run();
    if enough {
        return Ok(());
    }
    Err(format!("too little happens: {seen:?}").into())
}
