// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Snapshots: taken in the middle of anything, made up, and read from a file.

use arbitrary::{Arbitrary, Result, Unstructured};
use vpmu::{CounterId, CounterSnapshot, Nanos, PmuModel, PmuSnapshot, RestoreError};

use crate::expected::{self, Register};
use crate::guest::{self, Pmu, Seen};
use crate::input::{Op, Shape};
use crate::msr_traffic::traffic;
use crate::tally;

/// One of these, by the first byte.
pub fn run(bytes: &[u8]) {
    let Some((way, bytes)) = bytes.split_first() else {
        return;
    };
    // Too few bytes are no finding.
    let _ = match way % 4 {
        0 => read(bytes),
        1 => made_up(&mut Unstructured::new(bytes)),
        _ => twins(&mut Unstructured::new(bytes)),
    };
}

/// A PMU, and the one that was restored from it: whatever is done to both gives the same.
fn twins(bytes: &mut Unstructured<'_>) -> Result<()> {
    let shape = Shape::choose(bytes)?;
    let mut first = guest::new(shape.model);
    let mut now = Nanos(0);
    let mut operations = 0;
    let mut second: Option<Pmu> = None;
    while let Ok(op) = Op::take(bytes, shape) {
        if op == Op::Move {
            let snapshot = first.snapshot(now);
            let mut restored = guest::new(shape.model);
            // What it had before is gone.
            let msr = shape.any_register(snapshot.counters.len() + operations);
            let _ = restored.write_msr(msr, 0x53_00C0);
            assert_eq!(
                restored.restore(&snapshot, now),
                Ok(()),
                "P36: {snapshot:?}"
            );
            assert_eq!(restored.snapshot(now), snapshot, "P36");
            second = Some(restored);
            continue;
        }
        // How far PMIs are apart is the host's, and no part of a snapshot.
        if matches!(op, Op::MinRearm(_)) {
            continue;
        }
        let mut then = now;
        let told = guest::apply(&mut first, &mut now, &op);
        if let Some(second) = &mut second {
            let same = guest::apply(second, &mut then, &op);
            assert_eq!(same, told, "P36: {op:?}");
            let (one, other) = (Seen::of(&first), Seen::of(second));
            assert_eq!(other.forgetful(), one.forgetful(), "P36: after {op:?}");
        }
        operations += usize::from(op.is_register_operation());
    }
    tally::add(u64::try_from(operations).expect("no more than there are bytes"));
    Ok(())
}

/// A snapshot that nobody took: it is refused, or it is a PMU like any other from there on.
fn made_up(bytes: &mut Unstructured<'_>) -> Result<()> {
    let shape = Shape::choose(bytes)?;
    let snapshot = snapshot(bytes, shape.model)?;
    let mut pmu = guest::new(shape.model);
    // So that there is something to be kept.
    while let Ok(op) = Op::take(bytes, shape) {
        if matches!(op, Op::Move | Op::MinRearm(_)) {
            break;
        }
        guest::apply(&mut pmu, &mut Nanos(0), &op);
    }
    if restored(&mut pmu, &snapshot) {
        traffic(bytes, shape, pmu, None);
    }
    Ok(())
}

/// The text of a snapshot, for a PMU of the model that it names.
fn read(text: &[u8]) -> Result<()> {
    let Ok(snapshot) = serde_json::from_slice::<PmuSnapshot>(text) else {
        return Ok(());
    };
    let again = serde_json::to_string(&snapshot).expect("plain values");
    let again = serde_json::from_str::<PmuSnapshot>(&again).expect("what was just written");
    assert_eq!(again, snapshot, "what was written and read");
    restored(&mut guest::new(snapshot.model), &snapshot);
    Ok(())
}

/// Whether the PMU took it, as it was; else nothing may have changed.
fn restored(pmu: &mut Pmu, snapshot: &PmuSnapshot) -> bool {
    let before = Seen::of(pmu);
    let foreign = snapshot.model != pmu.model();
    match pmu.restore(snapshot, Nanos(0)) {
        Ok(()) => {
            assert!(!foreign, "P36: the state of another model");
            // What cannot last, such as an overflow that hides from nobody, has come out by now.
            let settled = pmu.snapshot(Nanos(0));
            let mut other = guest::new(snapshot.model);
            assert_eq!(
                other.restore(&settled, Nanos(0)),
                Ok(()),
                "P36: {settled:?}"
            );
            assert_eq!(other.snapshot(Nanos(0)), settled, "P36");
            true
        }
        Err(error) => {
            assert_eq!(
                foreign,
                matches!(error, RestoreError::Model { .. }),
                "{error}"
            );
            assert_eq!(
                Seen::of(pmu),
                before,
                "a refused snapshot changed something"
            );
            false
        }
    }
}

/// One that could nearly be: each value mostly has the bits that its register has.
fn snapshot(bytes: &mut Unstructured<'_>, model: PmuModel) -> Result<PmuSnapshot> {
    let select = expected::readable(model, Register::Select(0));
    let highest = expected::readable(model, Register::Counter(CounterId::Gp(0)));
    let mut counters = Vec::new();
    for id in expected::counters(model) {
        let flags = u8::arbitrary(bytes)?;
        if flags == 0xFF {
            continue;
        }
        let count = bits(bytes, highest)?;
        let due = if flags & 0b11 == 0b11 { highest + 1 } else { 0 };
        counters.push(CounterSnapshot {
            id,
            // More is as good as the highest: 64 bits is what a count has at most.
            count: (count | due).min(3 << 62),
            select: match id {
                CounterId::Gp(_) => bits(bytes, select)?,
                CounterId::Fixed(_) => u64::from(flags & 0b1111 == 0b1111),
            },
            pmi_asked: flags & 0b11_0000 == 0b11_0000,
            throttled: flags & 0b1100_0011 == 0b1100_0011,
        });
    }
    let there = |there: bool, register| {
        if there {
            expected::readable(model, register)
        } else {
            0
        }
    };
    let globals = expected::has_globals(model);
    let debug = model.kind().version() >= Some(2);
    Ok(PmuSnapshot {
        model,
        counters,
        fixed_control: bits(bytes, there(debug, Register::FixedControl))?,
        global_control: bits(bytes, expected::counter_bits(model))?,
        global_status: bits(bytes, there(globals, Register::Status))?,
        debug_control: bits(bytes, there(debug, Register::DebugControl))?,
        throttled_for: Nanos(u64::from(u16::arbitrary(bytes)?)),
    })
}

/// Some of these bits; seldom others.
fn bits(bytes: &mut Unstructured<'_>, defined: u64) -> Result<u64> {
    Ok(match u8::arbitrary(bytes)? {
        0..64 => 0,
        64..128 => defined,
        128..250 => u64::arbitrary(bytes)? & defined,
        _ => u64::arbitrary(bytes)?,
    })
}
