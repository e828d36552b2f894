// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P30 to P33: what is AMD's own.

use vpmu::{CounterId, Event, MsrId, PmuKind, PmuModel};

use crate::rig::{ALL_LEVELS, EN, INT, Pmi, Rig, cycles, globals, select_msr};
use crate::shapes::{self, bits, counters, has_globals, is_amd};
use crate::table::AMD_SELECT_BITS;

fn amds() -> Vec<PmuModel> {
    let models: Vec<_> = shapes::all().into_iter().filter(is_amd).collect();
    assert!(models.len() >= 5, "{models:?}");
    models
}

/// Both numbers of a counter and of its select, where there are two.
fn aliases(model: &PmuModel) -> Vec<[(MsrId, MsrId); 2]> {
    if model.kind() == PmuKind::AmdK7 {
        return Vec::new();
    }
    let pair = |n: u32| {
        let selects = (MsrId(0xC001_0000 + n), MsrId(0xC001_0200 + 2 * n));
        let counters = (MsrId(0xC001_0004 + n), MsrId(0xC001_0201 + 2 * n));
        [selects, counters]
    };
    let shared = u32::try_from(model.gp_counters().min(4)).expect("few counters");
    (0..shared).map(pair).collect()
}

#[test]
fn p32_both_numbers_are_one_register() {
    let mut pairs = 0;
    for model in amds() {
        for [selects, counters] in aliases(&model) {
            pairs += 1;
            let mut rig = Rig::new(model);
            for (one, other) in [selects, counters] {
                for (written, read) in [(one, other), (other, one)] {
                    for value in [0x1234, 0x76, 0] {
                        rig.write(written, value);
                        assert_eq!(rig.read(read), value, "{model}: {written:x?}");
                    }
                }
            }
            rig.write(selects.1, cycles(&model) | ALL_LEVELS | EN);
            rig.write(counters.0, 1_000);
            rig.count(5);
            assert_eq!(
                (rig.read(counters.0), rig.read(counters.1)),
                (1_005, 1_005),
                "{model}"
            );
            rig.write(selects.0, 0);
            rig.count(5);
            assert_eq!(rig.read(counters.1), 1_005, "{model}");
        }
    }
    assert!(pairs >= 12, "{pairs} pairs are not all of them");
}

#[test]
fn p30_selects_never_fault_and_drop_what_is_reserved() {
    for model in amds() {
        for n in 0..u8::try_from(model.gp_counters()).expect("few counters") {
            let mut rig = Rig::new(model);
            let msr = select_msr(&model, n);
            for (written, read) in [
                (u64::MAX, AMD_SELECT_BITS),
                (0, 0),
                (1 << 19 | 1 << 21 | 0x76, 0x76),
                (0xF0_0000_0076, 0x76),
                (0xFFFF_FC00_0000_0076, 0x76),
                (0x300_0000_0000, 0x300_0000_0000),
                (0xF_0000_00FF, 0xF_0000_00FF),
            ] {
                rig.write(msr, written);
                assert_eq!(rig.read(msr), read, "{model} {n}: {written:#x}");
            }
        }
    }
}

#[test]
fn p30_the_event_number_has_twelve_bits() {
    for model in amds() {
        let mut rig = Rig::new(model);
        for (select, event) in [
            (0x76, Event::CoreCycles),
            (0xC0, Event::Instructions),
            (
                0x1_0000_0076,
                Event::Other {
                    select: 0x176,
                    umask: 0,
                },
            ),
            (
                0xF_0000_42FF,
                Event::Other {
                    select: 0xFFF,
                    umask: 0x42,
                },
            ),
            (
                0x3C,
                Event::Other {
                    select: 0x3C,
                    umask: 0,
                },
            ),
        ] {
            rig.write(select_msr(&model, 0), select | ALL_LEVELS | EN);
            let running = rig.pmu.source().running(0).map(|config| config.event);
            assert_eq!(running, Some(event), "{model}: {select:#x}");
        }
    }
}

#[test]
fn p30_guest_only_and_host_only_change_nothing() {
    for model in amds() {
        let mut rig = Rig::new(model);
        let msr = select_msr(&model, 0);
        for (at, only) in (1..).zip([0, 1 << 40, 1 << 41, 1 << 40 | 1 << 41]) {
            rig.write(msr, cycles(&model) | ALL_LEVELS | EN | only);
            rig.count(10);
            assert_eq!(rig.value(CounterId::Gp(0)), 10 * at, "{model}: {only:#x}");
        }
        assert_eq!(rig.seen(), [], "{model}: nothing to report");
    }
}

#[test]
fn p30_dropped_bits_do_not_reach_the_source() {
    for model in amds() {
        let mut rig = Rig::new(model);
        rig.write(
            select_msr(&model, 0),
            cycles(&model) | ALL_LEVELS | EN | 1 << 21 | 1 << 19,
        );
        let running = rig.pmu.source().running(0).expect("it counts");
        assert!(!running.any_thread, "{model}: bit 21 is not AMD's");
        assert_eq!(running.event, Event::CoreCycles, "{model}");
    }
}

#[test]
fn p33_the_global_control_ignores_other_bits() {
    for model in amds().into_iter().filter(has_globals) {
        let mut rig = Rig::new(model);
        for (written, read) in [
            (u64::MAX, bits(&model)),
            (0, 0),
            (!bits(&model), 0),
            (u64::MAX ^ 1, bits(&model) & !1),
        ] {
            rig.set_control(written);
            assert_eq!(rig.control(), read, "{model}: {written:#x}");
        }
    }
}

#[test]
fn p33_status_is_cleared_by_ones_and_by_nothing_else() {
    for model in amds().into_iter().filter(has_globals) {
        let mut rig = Rig::new(model);
        for counter in counters(&model) {
            rig.set_before(counter, 1);
            rig.start(counter, Pmi::None);
        }
        rig.count(1);
        assert_eq!(rig.status(), bits(&model), "{model}");
        rig.refuse(globals(&model)[0], 0);
        rig.clear_status(0);
        rig.clear_status(!bits(&model));
        assert_eq!(rig.status(), bits(&model), "{model}");
        let mut left = bits(&model);
        for counter in counters(&model) {
            rig.clear_status(shapes::bit(counter) | 1 << 59);
            left &= !shapes::bit(counter);
            assert_eq!(rig.status(), left, "{model} {counter}");
        }
    }
}

#[test]
fn p14_without_status_the_wrap_alone_is_visible() {
    for model in amds().into_iter().filter(|model| !has_globals(model)) {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.set_before(counter, 2);
            rig.start(counter, Pmi::Wanted);
            rig.count(3);
            assert_eq!(rig.value(counter), (1 << 48) - 1, "{model} {counter}");
            assert!(rig.enter().pmi.is_some(), "{model} {counter}");
            assert_eq!(rig.value(counter), 1, "{model} {counter}");
            assert_eq!(rig.pmu.stats().pmis, 1, "{model} {counter}");
        }
    }
}

#[test]
fn lvtpc_stays_as_it_is_on_amd() {
    for model in shapes::all() {
        assert_eq!(model.masks_lvtpc_on_pmi(), !is_amd(&model), "{model}");
    }
}

#[test]
fn p30_int_and_enable_are_where_intels_are() {
    for model in amds() {
        let mut rig = Rig::new(model);
        rig.set_before(CounterId::Gp(0), 1);
        rig.write(
            select_msr(&model, 0),
            cycles(&model) | ALL_LEVELS | EN | INT,
        );
        rig.count(1);
        assert!(rig.enter().pmi.is_some(), "{model}");
    }
}
