// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Measures and prints a JSON array of rows. `cargo xtask bench` makes a table of them.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use perf_bench::measure::Method;
use perf_bench::rows::{self, Setting};

/// Measure what the perf core costs, beside Linux's own; prints a JSON array.
#[derive(Parser)]
struct Options {
    /// Rows to measure; all if none is named.
    #[arg(value_name = "ROW", value_parser = PossibleValuesParser::new(
        rows::ALL.iter().map(|bench| bench.name)
    ))]
    only: Vec<String>,
    /// Samples of each side, at least.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let method = Method::of(usize::try_from(options.samples)?);
    let setting = Setting::new(method).map_err(|failure| anyhow!(failure))?;
    let mut measured = Vec::new();
    let mut failed = false;
    for bench in rows::ALL {
        if !options.only.is_empty() && !options.only.iter().any(|name| name == bench.name) {
            continue;
        }
        eprintln!("bench: {}", bench.name);
        match bench.run(&setting) {
            Ok(row) => measured.push(row),
            Err(failure) => {
                eprintln!("bench: {}: {failure}", bench.name);
                failed = true;
            }
        }
    }
    println!("{}", serde_json::to_string_pretty(&measured)?);
    Ok(ExitCode::from(u8::from(failed)))
}
