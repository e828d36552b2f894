// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P08: which bits have to be set for a counter to count.

use vpmu::{CounterId, CounterState};

use crate::rig::{CTR_FRZ, EN, FIXED_CTR_CTRL, Pmi, Rig, cycles, select_msr};
use crate::shapes::{
    self, INTEL_FROM_V4, bit, bits, counters, gp_bits, has_globals, slot, with_status,
};

#[track_caller]
fn counts(rig: &mut Rig, counter: CounterId, expected: bool) {
    let before = rig.value(counter);
    rig.count(50);
    let counted = rig.value(counter) - before;
    let state = if expected {
        CounterState::Counting
    } else {
        CounterState::Disabled
    };
    let running = rig.pmu.source().running(slot(counter)).is_some();
    assert_eq!(
        (counted, rig.state(counter), running),
        (if expected { 50 } else { 0 }, state, expected),
        "{} {counter}",
        rig.model
    );
}

#[test]
fn p08_all_enable_bits_are_needed() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            counts(&mut rig, counter, false);
            rig.start(counter, Pmi::None);
            counts(&mut rig, counter, true);
            rig.stop(counter);
            counts(&mut rig, counter, false);
            rig.start(counter, Pmi::Wanted);
            counts(&mut rig, counter, true);
        }
    }
}

#[test]
fn p08_the_global_bit_is_needed_where_there_is_one() {
    for model in with_status() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::None);
            for (control, expected) in [
                (bits(&model), true),
                (bit(counter), true),
                (bits(&model) & !bit(counter), false),
                (0, false),
                (bit(counter), true),
            ] {
                rig.set_control(control);
                counts(&mut rig, counter, expected);
            }
        }
    }
}

#[test]
fn p08_after_reset_general_purpose_counters_are_enabled_globally() {
    for model in shapes::all() {
        if has_globals(&model) {
            assert_eq!(Rig::new(model).control(), gp_bits(&model), "{model}");
        }
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.program(counter, true, Pmi::None);
            counts(&mut rig, counter, matches!(counter, CounterId::Gp(_)));
        }
    }
}

#[test]
fn p08_one_level_is_enough() {
    for model in shapes::all() {
        for counter in counters(&model) {
            for level in 0..2 {
                let mut rig = Rig::new(model);
                rig.enable(bit(counter));
                match counter {
                    CounterId::Gp(n) => {
                        let select = cycles(&model) | EN | 1 << (16 + level);
                        rig.write(select_msr(&model, n), select);
                    }
                    CounterId::Fixed(i) => {
                        rig.write(FIXED_CTR_CTRL, 1 << (4 * u32::from(i) + level));
                    }
                }
                counts(&mut rig, counter, true);
            }
        }
    }
}

#[test]
fn p08_a_frozen_counter_stands_still() {
    for model in shapes::of(&INTEL_FROM_V4) {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::None);
            counts(&mut rig, counter, true);
            rig.set_status(CTR_FRZ);
            counts(&mut rig, counter, false);
            assert!(!rig.pmu.counting(), "{model}");
            rig.clear_status(CTR_FRZ);
            counts(&mut rig, counter, true);
        }
    }
}

#[test]
fn p08_other_status_bits_freeze_nothing() {
    for model in with_status() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.set_before(counter, 1);
            rig.start(counter, Pmi::None);
            rig.count(1);
            assert_eq!(rig.status(), bit(counter), "{model}");
            counts(&mut rig, counter, true);
            if model.kind().version() >= Some(4) {
                rig.set_status(1 << 62 | 1 << 63 | bits(&model));
                counts(&mut rig, counter, true);
            }
        }
    }
}

#[test]
fn p08_counters_are_independent() {
    for model in shapes::all() {
        let all = counters(&model);
        for counter in &all {
            let mut rig = Rig::new(model);
            rig.start(*counter, Pmi::None);
            rig.count(3);
            for other in &all {
                let expected = if other == counter { 3 } else { 0 };
                assert_eq!(rig.value(*other), expected, "{model} {other}");
                rig.start(*other, Pmi::None);
            }
            rig.count(1);
            for other in &all {
                let expected = if other == counter { 4 } else { 1 };
                assert_eq!(rig.value(*other), expected, "{model} {other}");
            }
            for other in all.iter().filter(|other| *other != counter) {
                rig.count_in(*other, 10);
                assert_eq!(rig.value(*other), 11, "{model} {other}");
            }
            assert_eq!(rig.value(*counter), 4, "{model} {counter}");
        }
    }
}

#[test]
fn p08_counts_while_disabled_are_nobodys() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::None);
            rig.count(1);
            rig.stop(counter);
            rig.count(10);
            rig.start(counter, Pmi::None);
            rig.count(100);
            assert_eq!(rig.value(counter), 101, "{model} {counter}");
            let stats = rig.pmu.stats();
            let (_, of_it) = stats
                .counters()
                .find(|(id, _)| *id == counter)
                .expect("it has statistics");
            assert_eq!(of_it.counted, 101, "{model} {counter}");
        }
    }
}

#[test]
fn p08_the_counters_are_named_in_order() {
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        let seen: Vec<_> = rig.pmu.counters().map(|view| view.id).collect();
        assert_eq!(seen, counters(&model), "{model}");
        let stats: Vec<_> = rig.pmu.stats().counters().map(|(id, _)| id).collect();
        assert_eq!(stats, counters(&model), "{model}");
    }
    assert_eq!(CounterId::Gp(3).to_string(), "PMC3");
    assert_eq!(CounterId::Fixed(1).to_string(), "FIXED_CTR1");
}
