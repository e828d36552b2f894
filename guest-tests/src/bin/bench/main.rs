// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a PMU costs a guest, each figure beside its peer in the same run.
//!
//! Every row is the median of interleaved pairs: the measured guest, then its peer, over and over,
//! so that whatever else the machine does hits both.

mod code;
mod guest;

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use kvm_ioctls::Kvm;
use serde_json::json;
use vpmu_kvm::kick;

use crate::guest::{Counter, Guest, Kind};

/// Measure what a PMU costs a guest.
#[derive(Parser)]
struct Options {
    /// Print a JSON array instead of a table.
    #[arg(long)]
    json: bool,
    /// Interleaved pairs a row.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
}

/// One side of a row: which guest, in which state, runs which loop.
#[derive(Clone, Copy)]
struct Side {
    kind: Kind,
    counter: Counter,
    code: fn() -> &'static [u8],
}

struct Row {
    name: &'static str,
    unit: &'static str,
    peer: &'static str,
    /// Turns of the loop, so that one run takes some tens of milliseconds in the lab.
    turns: u64,
    measured: Side,
    against: Side,
}

const EXITS: u64 = 300;
const COMPUTE: u64 = 8_000_000;

fn rows() -> Vec<Row> {
    use Counter::{ArmedIdle, Counting, Untouched};
    let side = |kind, counter, code| Side {
        kind,
        counter,
        code,
    };
    let row = |name, peer, turns, measured, against| Row {
        name,
        unit: "ns/op",
        peer,
        turns,
        measured,
        against,
    };
    let bare = "a filtered MSR whose handler does nothing";
    let none = "the same loop with --pmu none";
    let compute = |counter| side(Kind::Pmu, counter, code::compute);
    let no_pmu = side(Kind::None, Untouched, code::compute);
    vec![
        row(
            "msr-write",
            bare,
            EXITS,
            side(Kind::Pmu, Untouched, code::wrmsr),
            side(Kind::BareMsrs, Untouched, code::wrmsr),
        ),
        row(
            "msr-read",
            bare,
            EXITS,
            side(Kind::Pmu, Untouched, code::rdmsr),
            side(Kind::BareMsrs, Untouched, code::rdmsr),
        ),
        row(
            "rdpmc",
            "a PIO exit",
            EXITS,
            side(Kind::Pmu, ArmedIdle, code::rdpmc),
            side(Kind::Pmu, ArmedIdle, code::out),
        ),
        row("idle", none, COMPUTE, compute(Untouched), no_pmu),
        row("armed-idle", none, COMPUTE, compute(ArmedIdle), no_pmu),
        row("counting", none, COMPUTE, compute(Counting), no_pmu),
        row(
            "armed-exits",
            none,
            EXITS,
            side(Kind::Pmu, ArmedIdle, code::out_and_compute),
            side(Kind::None, Untouched, code::out_and_compute),
        ),
        row(
            "counting-exits",
            none,
            EXITS,
            side(Kind::Pmu, Counting, code::out_and_compute),
            side(Kind::None, Untouched, code::out_and_compute),
        ),
        row(
            "core",
            "the same without the perf core",
            EXITS,
            side(Kind::Pmu, Counting, code::wrmsr),
            side(Kind::PmuWithoutCore, Counting, code::wrmsr),
        ),
    ]
}

/// Two guests that take turns. Each lives on a thread of its own, since a thread runs one vCPU.
fn measure(row: &Row, pairs: u32) -> Result<Vec<(Duration, Duration)>> {
    thread::scope(|scope| {
        let (ask_measured, measured) = runner(scope, row.measured, row.turns);
        let (ask_against, against) = runner(scope, row.against, row.turns);
        let mut samples = Vec::new();
        // The first pair warms both up: translation, page faults, caches.
        for pair in 0..=pairs {
            ask_measured
                .send(())
                .context("The measured guest ended early")?;
            let one = measured
                .recv()
                .context("The measured guest ended early")??;
            ask_against.send(()).context("The peer ended early")?;
            let other = against.recv().context("The peer ended early")??;
            if pair > 0 {
                samples.push((one, other));
            }
        }
        Ok(samples)
    })
}

type Ask = std::sync::mpsc::Sender<()>;
type Answer = std::sync::mpsc::Receiver<Result<Duration>>;

fn runner<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    side: Side,
    turns: u64,
) -> (Ask, Answer) {
    let (ask, asked) = std::sync::mpsc::channel();
    let (answer, answers) = std::sync::mpsc::channel();
    scope.spawn(move || {
        let made = Kvm::new()
            .map_err(|error| anyhow!("/dev/kvm: {error}"))
            .and_then(|kvm| {
                let mut guest = Guest::new(&kvm, side.kind)?;
                guest.prepare(side.counter)?;
                Ok(guest)
            });
        match made {
            // Ends when the asking side is dropped.
            Ok(mut guest) => {
                while asked.recv().is_ok() {
                    if answer.send(guest.time((side.code)(), turns)).is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                // Nobody listens only if the other side has failed already.
                let _ = answer.send(Err(error));
            }
        }
    });
    (ask, answers)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let options = Options::parse();
    kick::install()?;
    let mut entries = Vec::new();
    for row in rows() {
        eprintln!("bench: {}", row.name);
        let samples = measure(&row, options.pairs)?;
        let turns = Duration::from_nanos(row.turns).as_secs_f64();
        let value = median(
            samples
                .iter()
                .map(|(one, _)| one.as_secs_f64() / turns)
                .collect(),
        );
        let peer = median(
            samples
                .iter()
                .map(|(_, other)| other.as_secs_f64() / turns)
                .collect(),
        );
        let ratio = median(
            samples
                .iter()
                .map(|(one, other)| one.as_secs_f64() / other.as_secs_f64())
                .collect(),
        );
        if !options.json {
            println!(
                "{:<14} {value:>12.2} {}   peer {peer:>12.2}   ratio {ratio:>6.3}   ({})",
                row.name, row.unit, row.peer
            );
        }
        entries.push(json!({
            "name": row.name,
            "value": value,
            "unit": row.unit,
            "peer": peer,
            "ratio": ratio,
            "against": row.peer,
            "kind": "guest / guest",
        }));
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&entries)?);
    }
    Ok(())
}
