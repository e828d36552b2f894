// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask fuzz`: looks for what a guest could do to its PMU that nobody thought of.

use std::num::NonZero;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::fuzz::{self, Inputs, Target};

/// Run a fuzz target until it finds something, has done enough or is interrupted.
///
/// Inputs that reach something new are kept, and are where the next run starts. The run ends with the
/// number of register operations that were done.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// What to fuzz
    #[arg(value_enum)]
    target: Target,

    /// Stops after so many inputs
    #[arg(long, value_name = "N")]
    runs: Option<NonZero<u64>>,

    /// Runs these inputs alone, such as one that was found
    #[arg(value_name = "FILE", conflicts_with = "runs")]
    files: Vec<PathBuf>,
}

/// Fuzzes; 0 if nothing was found.
pub(crate) fn run(args: &FuzzArgs) -> Result<u8> {
    let inputs = if args.files.is_empty() {
        Inputs::New(args.runs.map(NonZero::get))
    } else {
        let files = args.files.iter().map(std::path::absolute);
        Inputs::Files(files.collect::<Result<_, _>>()?)
    };
    fuzz::run(args.target, &inputs)?;
    Ok(0)
}
