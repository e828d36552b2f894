// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P02, P22, P23, P31: how wide counters are, and what a write puts into them.

use vpmu::CounterId;

use crate::rig::{Pmi, Rig, counter_msr, full_width};
use crate::shapes::{self, counters, is_amd, top, wrap};

/// Values around every bit that a rule speaks of.
const WRITTEN: [u64; 16] = [
    0,
    1,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x1_0000_0000,
    0x1234_0000_0005,
    0xABCD_8765_4321,
    0xFF_FFFF_FFFF,
    0x100_0000_0000,
    (1 << 48) - 1,
    1 << 48,
    (1 << 63) - 1,
    1 << 63,
    0xFFFF_FFFF_0000_0000,
    u64::MAX,
];

#[test]
fn p02_legacy_writes_are_sign_extended_to_the_width() {
    for model in shapes::all().into_iter().filter(|model| !is_amd(model)) {
        let width = model.counter_width();
        for counter in counters(&model) {
            let CounterId::Gp(_) = counter else { continue };
            let mut rig = Rig::new(model);
            for written in WRITTEN {
                rig.write(counter_msr(&model, counter), written);
                let low = u128::from(written % (1 << 32));
                let read = if low < 1 << 31 {
                    low
                } else {
                    (1 << width) - (1 << 32) + low
                };
                assert_eq!(
                    u128::from(rig.value(counter)),
                    read,
                    "{model} {counter}: {written:#x}"
                );
            }
        }
    }
}

#[test]
fn p22_p23_full_width_writes_fault_beyond_the_width() {
    for model in shapes::all().into_iter().filter(|model| !is_amd(model)) {
        for counter in counters(&model) {
            let Some(msr) = full_width(&model, counter) else {
                continue;
            };
            let mut rig = Rig::new(model);
            let mut last = 0;
            for written in WRITTEN {
                if written > top(&model) {
                    rig.refuse(msr, written);
                } else {
                    rig.write(msr, written);
                    last = written;
                }
                let read = (rig.read(msr), rig.value(counter));
                assert_eq!(read, (last, last), "{model} {counter}: {written:#x}");
            }
        }
    }
}

#[test]
fn p31_amd_writes_drop_what_is_beyond_the_width() {
    for model in shapes::all().into_iter().filter(is_amd) {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            for written in WRITTEN {
                rig.write(counter_msr(&model, counter), written);
                assert_eq!(
                    rig.value(counter),
                    written % (1 << 48),
                    "{model} {counter}: {written:#x}"
                );
            }
        }
    }
}

#[test]
fn p23_both_numbers_are_one_counter() {
    for model in shapes::all() {
        if is_amd(&model) || !model.full_width_writes() {
            continue;
        }
        for counter in counters(&model) {
            let (CounterId::Gp(_), Some(alias)) = (counter, full_width(&model, counter)) else {
                continue;
            };
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::None);
            rig.write(alias, 100);
            rig.count(5);
            assert_eq!(
                (rig.read(alias), rig.value(counter)),
                (105, 105),
                "{model} {counter}"
            );
            rig.set_value(counter, 7);
            rig.count(1);
            assert_eq!(rig.read(alias), 8, "{model} {counter}");
        }
    }
}

#[test]
fn p13_counters_wrap_at_their_width() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.set_before(counter, 3);
            rig.start(counter, Pmi::None);
            rig.count(2);
            let seen = (rig.value(counter), rig.status_if_any());
            assert_eq!(seen, (top(&model), 0), "{model} {counter}");
            rig.count(2);
            let status = if shapes::has_globals(&model) {
                shapes::bit(counter)
            } else {
                0
            };
            let seen = (rig.value(counter), rig.status_if_any());
            assert_eq!(seen, (1, status), "{model} {counter}");
            assert_eq!(rig.pmu.stats().overflows, 1, "{model} {counter}");
        }
    }
}

#[test]
fn p09_no_count_is_lost_over_the_whole_width() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::None);
            let half = wrap(&model) / 2;
            let mut reads = Vec::new();
            for counts in [half, half - 1, 1, half, half + 3] {
                rig.count(counts);
                reads.push(rig.value(counter));
            }
            assert_eq!(reads, [half, top(&model), 0, half, 3], "{model} {counter}");
        }
    }
}

#[test]
fn p10_a_write_while_running_counts_on_from_there() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::None);
            rig.count(500);
            rig.set_value(counter, 10);
            rig.count(7);
            assert_eq!(rig.value(counter), 17, "{model} {counter}");
        }
    }
}
