// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask bench`: what the perf core, the PMU and requests to a VM cost, each figure beside a
//! peer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::bench_table;
use crate::build;
use crate::exit;
use crate::host_kvm::{OnArgs, Place};
use crate::job::{Arg, Around, Input, Stream};
use crate::machine::Machine;

/// Measure what the perf core costs beside Linux's, and what a PMU, hotplug, control requests and a
/// trace cost a VM.
///
/// The perf core is measured on this very host and needs no KVM. Guests are measured on a real
/// KVM; in the lab everything is emulated, so that only their ratios mean anything there.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    on: OnArgs,

    /// Measures one half only.
    #[arg(long, value_enum, value_name = "HALF")]
    only: Option<Half>,

    /// Prints a JSON array of entries with name, value, unit, peer, ratio, against and kind; some also
    /// have limit and within.
    #[arg(long)]
    json: bool,

    /// Ends the measurements after this long.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    deadline: u64,

    /// Shows the lab's console on stderr.
    #[arg(long, short)]
    verbose: bool,
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Half {
    /// The perf core and the registers that stand on it, on this host.
    Core,
    /// The PMU, in guests, and what is asked of a VM that runs.
    Pmu,
}

impl Half {
    /// The program that measures it and prints a JSON array.
    fn program(self) -> Result<Vec<Arg>> {
        Ok(match self {
            Self::Core => vec![Arg::file(build::measured_binary("perf-bench")?)],
            Self::Pmu => vec![
                Arg::file(build::static_binary("bench")?),
                Arg::Text("--json".into()),
            ],
        })
    }
}

/// Measures; the first exit code of a benchmark that is not 0.
pub(crate) fn run(args: &BenchArgs) -> Result<u8> {
    let end = Instant::now() + Duration::from_secs(args.deadline);
    let mut rows = Vec::new();
    let mut code = 0;
    for half in [Half::Core, Half::Pmu] {
        if args.only.is_some_and(|only| only != half) {
            continue;
        }
        let place = match half {
            Half::Core => Place::Host,
            Half::Pmu => args.on.decide(),
        };
        let (measured, ended) = measure(half, place, end, args.verbose)?;
        if !args.json {
            print!("{}", bench_table::rows(&measured)?);
        }
        rows.extend(measured);
        if code == 0 {
            code = ended;
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", bench_table::footer(&rows)?);
    }
    Ok(code)
}

/// The rows of one half, and the exit code of what measured them.
fn measure(half: Half, place: Place, end: Instant, verbose: bool) -> Result<(Vec<Value>, u8)> {
    let argv = half.program()?;
    let mut machine = Machine::start(place, &argv, verbose)?;
    let mut printed = Vec::new();
    let output = &mut |stream, data: &[u8]| match stream {
        Stream::Out => printed.extend_from_slice(data),
        Stream::Err => exit::pass_through(stream, data),
    };
    let ended = machine.run(
        &argv,
        None,
        Around {
            input: Input::Empty,
            output,
            out: "out".as_ref(),
            deadline: Some(end.saturating_duration_since(Instant::now())),
        },
    )?;
    let code = exit::code(&machine, ended)?;
    Ok((parse(&printed, code)?, code))
}

/// What a benchmark printed before it ended with `code`. One that failed may have printed nothing.
fn parse(printed: &[u8], code: u8) -> Result<Vec<Value>> {
    if printed.is_empty() && code != 0 {
        return Ok(Vec::new());
    }
    match serde_json::from_slice(printed).context("reading the benchmark's rows")? {
        Value::Array(rows) => Ok(rows),
        other => bail!("the benchmark printed no array but {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failed_benchmark_may_print_nothing() {
        assert_eq!(parse(br#"[{"name": "a"}]"#, 0).unwrap().len(), 1);
        assert_eq!(parse(br#"[{"name": "a"}]"#, 1).unwrap().len(), 1);
        assert!(parse(b"", 124).unwrap().is_empty());
        assert!(parse(b"", 0).is_err());
        assert!(parse(b"[", 1).is_err());
        assert!(parse(b"{}", 0).is_err());
    }
}
