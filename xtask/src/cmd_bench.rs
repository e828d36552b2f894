// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask bench`: what the PMU costs, as ratios.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::build;
use crate::exit;
use crate::host_kvm::OnArgs;
use crate::job::{Arg, Around, Input};
use crate::machine::Machine;

/// Measure what the PMU costs: medians of interleaved pairs on a real KVM.
///
/// In the lab everything is emulated: only ratios mean anything there.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    on: OnArgs,

    /// Prints a JSON array of entries with name, value, unit, peer and ratio.
    #[arg(long)]
    json: bool,

    /// Ends the measurements after this long.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    deadline: u64,

    /// Shows the lab's console on stderr.
    #[arg(long, short)]
    verbose: bool,
}

/// Measures; the benchmark's exit code.
pub(crate) fn run(args: &BenchArgs) -> Result<u8> {
    let mut argv = vec![Arg::file(build::static_binary("bench")?)];
    if args.json {
        argv.push(Arg::Text("--json".into()));
    }

    let mut machine = Machine::start(args.on.decide(), &argv, args.verbose)?;
    let ended = machine.run(
        &argv,
        None,
        Around {
            input: Input::Empty,
            output: &mut exit::pass_through,
            out: "out".as_ref(),
            deadline: Some(Duration::from_secs(args.deadline)),
        },
    )?;
    exit::code(&machine, ended)
}
