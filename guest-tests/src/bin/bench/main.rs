// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a PMU costs a guest, and what is asked of a running VM, each figure beside its peer in the
//! same run.
//!
//! Every row is the median of interleaved pairs: the measured, then its peer, over and over, so that
//! whatever else the machine does hits both.

mod code;
mod control;
mod guest;
mod hotplug;
mod kernels;
mod kick;
mod port;
mod raw;
mod row;
mod tracing;
mod vm;

use anyhow::{Result, bail};
use clap::Parser;

use crate::row::Row;

/// Measure what a PMU costs a guest, and what is asked of a running VM.
#[derive(Parser)]
struct Options {
    /// Print a JSON array instead of a table.
    #[arg(long)]
    json: bool,
    /// Interleaved pairs a row.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// The rows to measure; all without.
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
}

/// Measures a row of so many pairs.
type Measure = Box<dyn Fn(u32) -> Result<Row>>;

/// All rows, by name.
fn rows() -> Vec<(&'static str, Measure)> {
    let raw = raw::names().into_iter();
    let raw =
        raw.map(|name| -> (_, Measure) { (name, Box::new(move |pairs| raw::row(name, pairs))) });
    let whole: [(_, Measure); 8] = [
        ("hotplug-readd", Box::new(hotplug::readd)),
        ("hotplug-first-add", Box::new(hotplug::first_add)),
        ("control-request", Box::new(control::read)),
        ("control-info", Box::new(control::info)),
        ("trace-on", Box::new(tracing::row)),
        ("port-switch-off", Box::new(port::switch_off)),
        ("port-install-running", Box::new(port::install_running)),
        ("port-trap", Box::new(port::trap)),
    ];
    raw.chain(whole).collect()
}

fn main() -> Result<()> {
    let options = Options::parse();
    let all = rows();
    let is_row = |name: &&String| all.iter().any(|(row, _)| row == name);
    if let Some(name) = options.rows.iter().find(|name| !is_row(name)) {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        bail!("There is no row {name}: the rows are {}", names.join(", "));
    }
    vpmu_kvm::kick::install()?;
    let mut entries = Vec::new();
    for (name, measure) in &all {
        if !options.rows.is_empty() && !options.rows.iter().any(|row| row == name) {
            continue;
        }
        eprintln!("bench: {name}");
        let row = measure(options.pairs)?;
        if !options.json {
            println!("{}", row.line());
        }
        entries.push(row);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&entries)?);
    }
    Ok(())
}
