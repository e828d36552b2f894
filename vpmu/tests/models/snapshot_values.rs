// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P36: which snapshots could be of a PMU at all, bit by bit; and what is left of one that was
//! written down.

use vpmu::{CounterId, Nanos, PmuModel, PmuSnapshot, RestoreError};

use crate::rig::{DEBUGCTL, FIXED_CTR_CTRL, FREEZE, Pmi, Rig, globals, select_msr};
use crate::shapes::{self, bits, counters, has_globals, has_status_set, is_amd, version, wrap};
use crate::table::{AMD_SELECT_BITS, Writes, registers, select_bits};

fn fresh(model: PmuModel) -> PmuSnapshot {
    Rig::new(model).pmu.snapshot(Nanos(0))
}

/// What restoring this into a new PMU says. If it is refused, that PMU stays as it was.
#[track_caller]
fn restore(snapshot: &PmuSnapshot) -> Result<(), RestoreError> {
    let mut rig = Rig::new(snapshot.model);
    rig.start(CounterId::Gp(0), Pmi::Wanted);
    rig.count(3);
    let before = rig.pmu.snapshot(rig.now);
    let restored = rig.pmu.restore(snapshot, rig.now);
    if restored.is_err() {
        assert_eq!(rig.pmu.snapshot(rig.now), before, "{}", snapshot.model);
        rig.count(1);
        assert_eq!(rig.value(CounterId::Gp(0)), 4, "{}", snapshot.model);
    }
    restored
}

/// Sets each bit of one of a snapshot's registers: those in `there` are restored, others refused.
#[track_caller]
fn each_bit(model: PmuModel, there: u64, field: impl Fn(&mut PmuSnapshot) -> &mut u64) {
    for bit in 0..64 {
        let mut snapshot = fresh(model);
        *field(&mut snapshot) = 1 << bit;
        let restored = restore(&snapshot);
        if there & 1 << bit != 0 {
            assert_eq!(restored, Ok(()), "{model}: bit {bit}");
        } else {
            assert!(
                matches!(restored, Err(RestoreError::Value { value, .. }) if value == 1 << bit),
                "{model}: bit {bit}: {restored:?}"
            );
        }
    }
}

/// What can be written and read back.
fn kept(model: &PmuModel, msr: vpmu::MsrId) -> u64 {
    let found = registers(model).into_iter().find(|row| row.msr == msr);
    match found.map(|row| row.writes) {
        Some(Writes::Kept { kept, .. }) => kept,
        _ => 0,
    }
}

#[test]
fn p36_selects_have_the_bits_that_a_guest_can_set() {
    for model in shapes::all() {
        let there = if is_amd(&model) {
            AMD_SELECT_BITS
        } else {
            select_bits(&model)
        };
        for (at, counter) in counters(&model).into_iter().enumerate() {
            let there = match counter {
                CounterId::Gp(n) => {
                    assert_eq!(kept(&model, select_msr(&model, n)), there, "{model}");
                    there
                }
                CounterId::Fixed(_) => 0,
            };
            each_bit(model, there, |snapshot| &mut snapshot.counters[at].select);
        }
    }
}

#[test]
fn p36_shared_registers_have_the_bits_that_a_guest_can_set() {
    for model in shapes::all() {
        each_bit(model, kept(&model, FIXED_CTR_CTRL), |snapshot| {
            &mut snapshot.fixed_control
        });
        each_bit(model, kept(&model, DEBUGCTL), |snapshot| {
            &mut snapshot.debug_control
        });
        let control = if has_globals(&model) {
            kept(&model, globals(&model)[1])
        } else if model.gp_counters() == 1 {
            // Where it is no register, it has what it starts with.
            1
        } else {
            0
        };
        each_bit(model, control, |snapshot| &mut snapshot.global_control);
    }
}

#[test]
fn p36_the_status_has_the_bits_that_can_get_there() {
    for model in shapes::all() {
        let by_hand = if version(&model) >= 4 {
            1 << 59 | 1 << 62 | 1 << 63
        } else {
            0
        };
        let there = if has_globals(&model) {
            bits(&model) | by_hand
        } else {
            0
        };
        each_bit(model, there, |snapshot| &mut snapshot.global_status);
    }
}

#[test]
fn p36_a_pmi_cannot_have_been_asked_for_without_its_bit() {
    for model in shapes::all() {
        for (at, counter) in counters(&model).into_iter().enumerate() {
            let mut snapshot = fresh(model);
            snapshot.counters[at].pmi_asked = true;
            let refused = Err(RestoreError::Pending { counter });
            assert_eq!(restore(&snapshot), refused, "{model} {counter}");
            if has_status_set(&model) {
                snapshot.global_status = shapes::bit(counter);
                assert_eq!(restore(&snapshot), Ok(()), "{model} {counter}");
            }
        }
    }
}

#[test]
fn p36_nothing_can_be_throttled_that_is_not_due() {
    for model in shapes::all() {
        for (at, counter) in counters(&model).into_iter().enumerate() {
            let mut snapshot = fresh(model);
            snapshot.counters[at].throttled = true;
            for (count, due) in [(0, false), (wrap(&model) - 1, false), (wrap(&model), true)] {
                snapshot.counters[at].count = count;
                let expected = if due {
                    Ok(())
                } else {
                    Err(RestoreError::Pending { counter })
                };
                assert_eq!(
                    restore(&snapshot),
                    expected,
                    "{model} {counter}: {count:#x}"
                );
            }
        }
    }
}

#[test]
fn p36_every_counter_is_there_once_in_order() {
    for model in shapes::all() {
        let right = fresh(model);
        let mut wrong = Vec::new();
        for at in 0..right.counters.len() {
            let mut without = right.clone();
            without.counters.remove(at);
            wrong.push(without);
            let mut twice = right.clone();
            twice.counters.push(right.counters[at]);
            wrong.push(twice);
            for other in [CounterId::Gp(8), CounterId::Fixed(3), CounterId::Fixed(255)] {
                let mut renamed = right.clone();
                renamed.counters[at].id = other;
                wrong.push(renamed);
            }
            if at > 0 {
                let mut swapped = right.clone();
                swapped.counters.swap(0, at);
                wrong.push(swapped);
            }
        }
        for snapshot in wrong {
            assert_eq!(
                restore(&snapshot),
                Err(RestoreError::Counters),
                "{model}: {:?}",
                snapshot.counters
            );
        }
    }
}

/// A PMU with an overflow due, another shown, and whatever else its model can have going on.
fn busy(model: PmuModel) -> Rig {
    let mut rig = Rig::new(model);
    for (at, counter) in counters(&model).into_iter().enumerate() {
        let pmi = if at % 2 == 0 { Pmi::Wanted } else { Pmi::None };
        rig.start(counter, pmi);
        rig.set_before(counter, 2 + at as u64);
    }
    rig.count(5);
    if has_status_set(&model) {
        rig.set_status(bits(&model));
    }
    if version(&model) >= 2 {
        rig.write(DEBUGCTL, FREEZE);
    }
    rig
}

#[test]
fn p36_written_down_and_read_it_is_the_same() {
    for model in shapes::all() {
        let mut rig = busy(model);
        let snapshot = rig.pmu.snapshot(rig.now);
        let text = serde_json::to_string(&snapshot).expect("plain values");
        let read: PmuSnapshot = serde_json::from_str(&text).expect("as it was written");
        assert_eq!(read, snapshot, "{model}");
        let mut other = Rig::new(model);
        assert_eq!(other.pmu.restore(&read, other.now), Ok(()), "{model}");
        assert_eq!(other.enter().pmi, rig.enter().pmi, "{model}");
        for register in registers(&model) {
            assert_eq!(
                other.read(register.msr),
                rig.read(register.msr),
                "{model}: {}",
                register.name
            );
        }
    }
}

#[test]
fn p36_models_are_read_as_they_were_written() {
    for model in shapes::all() {
        let text = serde_json::to_string(&model).expect("plain values");
        let read: PmuModel = serde_json::from_str(&text).expect("as it was written");
        assert_eq!(read, model);
        assert_eq!(read.cpuid(), model.cpuid(), "{model}");
    }
}
