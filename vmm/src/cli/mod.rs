// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The command line: one file a subcommand, and what they share.

mod cpus;
mod ctl;
mod doctor;
mod events;
mod filter;
mod outfile;
mod output;
mod pmu;
mod port;
mod run;
mod signals;
mod size;
mod status;
mod table;

use std::error::Error;
use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use self::output::Stream;
use self::status::Status;
use crate::vcpu::chain;

/// Runs guests that always have a PMU, on hosts that have none.
#[derive(Debug, Parser)]
#[command(name = "perfvisor", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Ctl(ctl::Args),
    Doctor(doctor::Args),
    Pmu(pmu::Args),
}

/// Why a command failed, in one line, and the exit status that says so.
#[derive(Debug)]
struct Failure {
    status: Status,
    line: String,
}

impl Failure {
    fn new(status: Status, line: impl Into<String>) -> Self {
        Self {
            status,
            line: line.into(),
        }
    }

    /// An error with all its causes.
    fn of(status: Status, error: &(dyn Error + 'static)) -> Self {
        Self::new(status, chain(error))
    }
}

/// Does what the command line says, as the program `perfvisor`; `args` start with its name.
///
/// Ask for it before the process starts a thread: it blocks SIGINT and SIGTERM in this one.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // A panic's own exit code would be one of the guest's.
    let status = panic::catch_unwind(AssertUnwindSafe(|| obey(args))).unwrap_or(Status::HostIo);
    ExitCode::from(status.number())
}

fn obey(args: impl IntoIterator<Item = OsString>) -> Status {
    let status = match parse(args) {
        Ok(Command::Run(args)) => run::run(&args),
        Ok(Command::Ctl(args)) => ctl::run(&args),
        Ok(Command::Doctor(args)) => doctor::run(&args),
        Ok(Command::Pmu(args)) => pmu::run(&args),
        Err(Unparsed::Help(text)) => Stream::Stdout
            .write(&text)
            .map(|()| Status::Guest(0))
            .map_err(output::to_failure),
        Err(Unparsed::Wrong(failure)) => Err(failure),
    };
    status.unwrap_or_else(|failure| {
        Stream::Stderr.say(&failure.line);
        failure.status
    })
}

/// Why there is no command to run.
#[derive(Debug)]
enum Unparsed {
    /// Help or the version was asked for.
    Help(String),
    /// Something is wrong with the arguments.
    Wrong(Failure),
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Unparsed> {
    let args: Vec<_> = args.into_iter().collect();
    let parsed = Cli::try_parse_from(&args);
    parsed
        .map(|cli| cli.command)
        .map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Unparsed::Help(error.render().to_string())
            }
            _ => {
                let words: Vec<_> = args.iter().filter_map(|arg| arg.to_str()).collect();
                Unparsed::Wrong(Failure::new(Status::Usage, one_line(&error, &words)))
            }
        })
}

/// clap's message about these arguments without its usage text, in one line.
fn one_line(error: &clap::Error, args: &[&str]) -> String {
    let command = args.get(1).copied();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
    ) {
        let group = args.iter().rfind(|arg| ["cpus", "events"].contains(arg));
        let (commands, of) = match (command, group.copied()) {
            (Some("pmu"), _) => ("`list`", "pmu "),
            (Some("ctl"), Some("cpus")) => ("`add` or `remove`", "ctl cpus "),
            (Some("ctl"), Some("events")) => (
                "`open`, `enable`, `disable`, `refresh`, `reset`, `read`, `close` or `list`",
                "ctl events ",
            ),
            (Some("ctl"), _) => (
                "`-s SOCK` and then `info`, `cpus`, `pause`, `resume`, `stop`, `tasks`, `events`, \
                 `stat` or `wait`",
                "ctl ",
            ),
            _ => ("`run`, `ctl`, `doctor` or `pmu list`", ""),
        };
        return format!("A command is missing: give {commands} (see `perfvisor {of}--help`)");
    }
    let text = error.render().to_string();
    let mut message = String::new();
    let ends = |line: &str| line.starts_with("Usage:") || line.starts_with("For more information");
    for line in text.lines().map(str::trim).take_while(|line| !ends(line)) {
        let line = line.trim_start_matches("error: ");
        let between = match message.chars().last() {
            None => "",
            Some(':') => " ",
            Some(_) => "; ",
        };
        if !line.is_empty() {
            message = message + between + line;
        }
    }
    let help = match command {
        Some(command @ ("run" | "ctl" | "doctor" | "pmu")) => format!("perfvisor {command} --help"),
        _ => "perfvisor --help".to_owned(),
    };
    format!("{message} (see `{help}`)")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn line(args: &str) -> String {
        match parse(args.split(' ').map(OsString::from)) {
            Err(Unparsed::Wrong(failure)) => {
                assert_eq!(failure.status, Status::Usage);
                failure.line
            }
            other => panic!("{args}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_argument_is_one_line_that_names_it() {
        for (args, names) in [
            ("perfvisor", "A command is missing"),
            ("perfvisor rum", "run"),
            ("perfvisor run", "--kernel"),
            ("perfvisor run --kernel k --cpu boot=2", "--cpus"),
            ("perfvisor run --kernel k --cpus 2", "boot="),
            ("perfvisor run --kernel k --cpus boot=0", "boot="),
            ("perfvisor run --kernel k --cpus boot=many", "boot="),
            ("perfvisor run --kernel k --cpus boot=2,max=256", "1 to 255"),
            (
                "perfvisor run --kernel k --cpus boot=3,max=2",
                "max=3 or more",
            ),
            ("perfvisor run --kernel k --control", "--control"),
            ("perfvisor run --kernel k --trace", "--trace"),
            ("perfvisor run --kernel k --memory 128", "128M"),
            ("perfvisor run --kernel k --memory lots", "128M"),
            ("perfvisor run --kernel k --pmu amd-v9", "intel-v2"),
            (
                "perfvisor run --kernel k --pmu amd-v2,counters=9",
                "amd-v2 has 1 to 6 general-purpose counters, not 9",
            ),
            (
                "perfvisor run --kernel k --pmu amd-v2,fast",
                "NAME[,counters=N]",
            ),
            (
                "perfvisor run --kernel k --pmu amd-k7,full-width=on",
                "no full-width writes",
            ),
            ("perfvisor ctl", "-s SOCK"),
            ("perfvisor ctl -s s", "`info`"),
            ("perfvisor ctl -s s cpus", "`add` or `remove`"),
            ("perfvisor ctl -s s cpus --json", "`add` or `remove`"),
            ("perfvisor ctl -s s events", "`open`"),
            ("perfvisor ctl info", "--socket"),
            ("perfvisor ctl -s s cpus add 0", "1..=255"),
            ("perfvisor ctl -s s cpus remove", "<ID>"),
            (
                "perfvisor ctl -s s cpus remove 1 --limit 601",
                "from 0 to 600,",
            ),
            ("perfvisor ctl -s s wait ended --limit 86401", "86400,"),
            ("perfvisor ctl -s s events open -e cycles", "--vcpu"),
            ("perfvisor ctl -s s events open --vcpu 0", "--event"),
            (
                "perfvisor ctl -s s events open --vcpu 0 -e cycles --limit 1",
                "--period",
            ),
            (
                "perfvisor ctl -s s events open --vcpu 0 -e cycles --period 0",
                "--period",
            ),
            ("perfvisor ctl -s s events refresh 1", "<N>"),
            ("perfvisor pmu", "give `list`"),
            ("perfvisor pmu lst", "list"),
            ("perfvisor pmu list --jso", "--json"),
            ("perfvisor run --kernel k --timeout soon", "seconds"),
            ("perfvisor run --kernel k --timeout 0", "seconds"),
            ("perfvisor run --kernel k --timeout -1", "-1"),
            ("perfvisor run --kernel k extra", "extra"),
            ("perfvisor doctor --jso", "--json"),
        ] {
            let line = line(args);
            assert!(line.contains(names), "{args}: {line}");
            assert!(line.contains("--help"), "{args}: {line}");
            assert!(!line.contains('\n'), "{args}: {line}");
        }
    }

    #[test]
    fn every_option_of_run_is_taken() {
        let args = "perfvisor run --kernel k --cpus boot=2,max=4 --memory 1G --pmu \
                    intel-v2,fixed=0 --pmu-filter f --cmdline x --timeout 1.5 --serial out \
                    --control sock --trace t --json";
        let Ok(Command::Run(args)) = parse(args.split_whitespace().map(OsString::from)) else {
            panic!("refused");
        };
        assert_eq!(
            args.settings(),
            "2 of 4 vCPUs, 1073741824 bytes, intel-v2,fixed=0 by f, 1.5s, json, at sock, into t"
        );
    }

    #[test]
    fn help_has_the_exit_codes() {
        for (args, code) in [
            ("perfvisor run --help", "123"),
            ("perfvisor doctor --help", "123"),
            ("perfvisor ctl --help", "124"),
        ] {
            match parse(args.split(' ').map(OsString::from)) {
                Err(Unparsed::Help(text)) => assert!(text.contains(code), "{text}"),
                other => panic!("{args}: {other:?}"),
            }
        }
    }
}
