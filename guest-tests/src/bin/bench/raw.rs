// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Rows of guests on raw KVM: what a PMU costs.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use kvm_ioctls::Kvm;

use crate::code;
use crate::guest::{Counter, Guest, Kind};
use crate::row::{Row, interleaved};

/// One side of a row: which guest, in which state, runs which loop.
#[derive(Clone, Copy)]
struct Side {
    kind: Kind,
    counter: Counter,
    code: fn() -> &'static [u8],
}

/// A row to be measured.
struct Plan {
    name: &'static str,
    peer: &'static str,
    /// Turns of the loop, so that one run takes some tens of milliseconds in the lab.
    turns: u64,
    measured: Side,
    against: Side,
}

const EXITS: u64 = 300;
const COMPUTE: u64 = 8_000_000;

fn plans() -> Vec<Plan> {
    use Counter::{ArmedIdle, Counting, Untouched};
    let side = |kind, counter, code| Side {
        kind,
        counter,
        code,
    };
    let row = |name, peer, turns, measured, against| Plan {
        name,
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

/// The rows' names.
pub(crate) fn names() -> Vec<&'static str> {
    plans().iter().map(|plan| plan.name).collect()
}

/// Measures the row of this name.
pub(crate) fn row(name: &str, pairs: u32) -> Result<Row> {
    let plan = plans().into_iter().find(|plan| plan.name == name);
    let plan = plan.with_context(|| format!("there is no row {name}"))?;
    let measured = Runner::start(plan.measured, plan.turns);
    let against = Runner::start(plan.against, plan.turns);
    let samples = interleaved(pairs, || measured.time(), || against.time())?;
    Ok(Row::new(plan.name, "guest / guest", plan.peer, &samples))
}

/// A guest on a thread of its own, since a thread runs one vCPU.
pub(crate) struct Runner {
    ask: Sender<()>,
    answers: Receiver<Result<f64>>,
}

impl Runner {
    /// One that exits to user space and is let go on at once: nothing is cheaper.
    pub(crate) fn of_exits() -> Self {
        let side = Side {
            kind: Kind::Pmu,
            counter: Counter::Untouched,
            code: code::out,
        };
        Self::start(side, EXITS)
    }

    fn start(side: Side, turns: u64) -> Self {
        let (ask, asked) = channel();
        let (answer, answers) = channel();
        thread::spawn(move || {
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
                        let took = guest.time((side.code)(), turns);
                        let each = took.map(|took| nanos_each(took, turns));
                        if answer.send(each).is_err() {
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
        Self { ask, answers }
    }

    /// What a turn of its loop takes, in ns.
    pub(crate) fn time(&self) -> Result<f64> {
        // A guest that could not be made says why instead.
        let _ = self.ask.send(());
        self.answers.recv().context("A guest ended early")?
    }
}

/// What one of `turns` took, in ns.
fn nanos_each(took: Duration, turns: u64) -> f64 {
    took.as_secs_f64() / Duration::from_nanos(turns).as_secs_f64()
}
