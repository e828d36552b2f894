// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P22: fixed-function counters and their control.

use vpmu::{CounterId, CounterState, Event, EventConfig, PmuModel};

use crate::rig::{EN, FIXED_CTR_CTRL, INT, Rig};
use crate::shapes::{self, INTEL_FROM_V2, bit, slot};
use crate::table::has_any_thread;

/// Every model's fixed-function counters.
fn each(check: impl Fn(PmuModel, u8)) {
    let mut checked = 0;
    for model in shapes::of(&INTEL_FROM_V2) {
        for i in model.fixed_counters() {
            check(model, u8::try_from(i).expect("few counters"));
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} counters are not all of them");
}

#[test]
fn p22_each_has_its_event() {
    each(|model, i| {
        let mut rig = Rig::new(model);
        rig.enable(bit(CounterId::Fixed(i)));
        rig.write(FIXED_CTR_CTRL, 0b11 << (4 * i));
        let event = [Event::Instructions, Event::CoreCycles, Event::RefCycles][usize::from(i)];
        let running = rig.pmu.source().running(slot(CounterId::Fixed(i)));
        assert_eq!(
            running,
            Some(EventConfig::everywhere(event)),
            "{model} fixed {i}"
        );
    });
}

#[test]
fn p22_the_field_says_which_levels_count() {
    each(|model, i| {
        for field in 0..16_u64 {
            if field & 0b100 != 0 && !has_any_thread(&model) {
                continue;
            }
            let mut rig = Rig::new(model);
            let counter = CounterId::Fixed(i);
            rig.enable(bit(counter));
            rig.write(FIXED_CTR_CTRL, field << (4 * i));
            let expected = (field & 0b11 != 0).then(|| EventConfig {
                os: field & 0b01 != 0,
                usr: field & 0b10 != 0,
                any_thread: field & 0b100 != 0,
                ..EventConfig::everywhere(Event::FIXED[usize::from(i)])
            });
            let running = rig.pmu.source().running(slot(counter));
            assert_eq!(running, expected, "{model} {counter}: {field:#b}");
            let state = if expected.is_some() {
                CounterState::Counting
            } else {
                CounterState::Disabled
            };
            assert_eq!(rig.state(counter), state, "{model} {counter}: {field:#b}");
        }
    });
}

#[test]
fn p22_seen_as_a_select_that_asks_for_the_same() {
    each(|model, i| {
        let mut rig = Rig::new(model);
        let counter = CounterId::Fixed(i);
        rig.enable(bit(counter));
        let number = [0x00C0, 0x003C, 0x013C][usize::from(i)];
        for (field, bits) in [
            (0b0001, 1 << 17 | EN),
            (0b0010, 1 << 16 | EN),
            (0b1011, 3 << 16 | EN | INT),
            (0b1000, INT),
            (0, 0),
        ] {
            rig.write(FIXED_CTR_CTRL, field << (4 * i));
            let select = rig.view(counter).select;
            assert_eq!(select.0, number | bits, "{model} {counter}: {field:#b}");
        }
    });
}

#[test]
fn p22_fields_are_independent() {
    each(|model, i| {
        let counter = CounterId::Fixed(i);
        let mut rig = Rig::new(model);
        let all: u64 = model.fixed_counters().map(|i| 0b11 << (4 * i)).sum();
        rig.enable(shapes::bits(&model));
        rig.write(FIXED_CTR_CTRL, all);
        rig.count(5);
        rig.write(FIXED_CTR_CTRL, all & !(0xF << (4 * i)));
        rig.count(7);
        for other in shapes::counters(&model) {
            let expected = match other {
                CounterId::Gp(_) => 0,
                _ if other == counter => 5,
                _ => 12,
            };
            assert_eq!(rig.value(other), expected, "{model} {other}");
        }
    });
}

#[test]
fn p22_without_fixed_counters_every_bit_is_reserved() {
    let mut models = shapes::of(&INTEL_FROM_V2);
    models.retain(|model| model.fixed_counters().count() == 0);
    assert!(models.len() >= 3, "{models:?}");
    for model in models {
        let mut rig = Rig::new(model);
        for bit in 0..64 {
            rig.refuse(FIXED_CTR_CTRL, 1 << bit);
        }
        rig.write(FIXED_CTR_CTRL, 0);
        assert_eq!(rig.read(FIXED_CTR_CTRL), 0, "{model}");
    }
}

#[test]
fn p22_a_gap_is_a_gap_everywhere() {
    for model in shapes::all() {
        let there: Vec<usize> = model.fixed_counters().collect();
        let mut rig = Rig::new(model);
        for i in 0..4 {
            let found = rig.pmu.read_pmc(1 << 30 | i).is_some();
            assert_eq!(found, there.contains(&(i as usize)), "{model} fixed {i}");
            if shapes::version(&model) < 2 || found {
                continue;
            }
            rig.refuse(FIXED_CTR_CTRL, 1 << (4 * i));
            let control = rig.control();
            rig.refuse(crate::rig::globals(&model)[1], control | 1 << (32 + i));
            rig.refuse(crate::rig::globals(&model)[2], 1 << (32 + i));
        }
    }
}
