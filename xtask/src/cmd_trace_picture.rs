// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask trace-picture`: a trace as an SVG picture, for documents that cannot open Perfetto.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::picture::{self, Window};
use crate::say;

/// Draw a trace of `perfvisor run --trace` as an SVG picture.
#[derive(Debug, Args)]
pub(crate) struct TracePictureArgs {
    /// The trace, whole or cut off.
    #[arg(value_name = "FILE")]
    trace: PathBuf,

    /// Where the picture goes.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// Begins so many milliseconds after the trace did.
    #[arg(long, value_name = "MS")]
    from: Option<f64>,

    /// Ends so many milliseconds after the trace began.
    #[arg(long, value_name = "MS")]
    to: Option<f64>,

    /// Leaves out tracks whose name contains this; again for more.
    #[arg(long, value_name = "TEXT")]
    without: Vec<String>,

    /// What is written above it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    title: String,
}

/// Draws it.
pub(crate) fn run(args: &TracePictureArgs) -> Result<u8> {
    let text = fs::read_to_string(&args.trace)
        .with_context(|| format!("reading the trace {}", args.trace.display()))?;
    let mut trace = picture::read(&text)?;
    trace.leave_out(&args.without);
    let micros = |ms: Option<f64>| ms.map(|ms| ms * 1_000.0);
    let window = Window {
        from: micros(args.from).unwrap_or(trace.begin()),
        to: micros(args.to).unwrap_or(trace.end()),
    };
    ensure!(
        window.from < window.to,
        "there is nothing between the begin and the end: give other --from and --to"
    );
    let tracks = trace.tracks();
    let svg = picture::draw(trace, window, &args.title);
    fs::write(&args.output, &svg)
        .with_context(|| format!("writing the picture {}", args.output.display()))?;
    say::step(format_args!(
        "{}: {} bytes, of a trace of {tracks} tracks",
        args.output.display(),
        svg.len()
    ));
    Ok(0)
}
