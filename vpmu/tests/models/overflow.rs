// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P13, P18, P21 for every counter: overflows without interrupt, many wraps at once, skid; and
//! counters written near an overflow while they run.

use vpmu::CounterId;

use crate::rig::{Pmi, Rig, Seen};
use crate::shapes::{self, bit, counters, has_globals, top, with_status, wrap};

#[test]
fn p13_visible_at_once_without_int() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.set_before(counter, 5);
            rig.start(counter, Pmi::None);
            rig.count(6);
            let status = if has_globals(&model) { bit(counter) } else { 0 };
            assert_eq!(rig.status_if_any(), status, "{model} {counter}");
            assert_eq!(rig.value(counter), 1, "{model} {counter}");
            assert_eq!(rig.enter().pmi, None, "{model} {counter}");
            assert_eq!(rig.seen(), [Seen::Overflow(counter, None)], "{model}");
        }
    }
}

#[test]
fn p06_status_bits_stay_until_they_are_cleared() {
    for model in with_status() {
        let mut rig = Rig::new(model);
        for counter in counters(&model) {
            rig.set_before(counter, 1);
            rig.start(counter, Pmi::None);
        }
        rig.count(1);
        for counter in counters(&model) {
            rig.stop(counter);
            rig.set_value(counter, 0);
        }
        let mut left = shapes::bits(&model);
        assert_eq!(rig.status(), left, "{model}");
        for counter in counters(&model) {
            rig.clear_status(bit(counter));
            left &= !bit(counter);
            assert_eq!(rig.status(), left, "{model} {counter}");
        }
    }
}

#[test]
fn p18_wraps_nobody_saw_are_one_visible_overflow() {
    for model in shapes::all() {
        // Three times 2^63 is more than a source can count at once.
        let wraps = if model.counter_width() == 63 { 1 } else { 3 };
        for counter in counters(&model) {
            for pmi in [Pmi::None, Pmi::Wanted] {
                let mut rig = Rig::new(model);
                rig.start(counter, pmi);
                rig.count(wraps * wrap(&model) + 7);
                rig.enter();
                assert_eq!(rig.value(counter), 7, "{model} {counter}");
                let asked = u32::from(pmi == Pmi::Wanted);
                assert_eq!(rig.apic.asked, asked, "{model} {counter}");
                assert_eq!(rig.pmu.stats().overflows, wraps, "{model} {counter}");
                assert_eq!(rig.enter().pmi, None, "{model} {counter}");
            }
        }
    }
}

#[test]
fn p18_a_source_gone_mad_does_no_harm() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::Wanted);
            for _ in 0..3 {
                rig.count(u64::MAX);
                rig.enter();
                assert!(rig.value(counter) <= top(&model), "{model} {counter}");
            }
            assert_eq!(rig.pmu.stats().pmis, 3, "{model} {counter}");
        }
    }
}

#[test]
fn p21_the_skid_stays_in_the_counter() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::Wanted);
            for skid in [3, 0, 50] {
                rig.set_before(counter, 10);
                rig.count(10 + skid);
                rig.enter();
                assert_eq!(rig.value(counter), skid, "{model} {counter}");
            }
            let skid = rig.pmu.stats().skid;
            assert_eq!(
                (skid.count, skid.max, skid.sum),
                (3, 50, 53),
                "{model} {counter}"
            );
        }
    }
}

#[test]
fn p10_written_near_an_overflow_while_running() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::Wanted);
            for (near, counts, overflows) in [
                (1, 0, false),
                (1, 1, true),
                (2, 1, false),
                (2, 2, true),
                (100, 99, false),
                (100, 100, true),
            ] {
                rig.count(12_345);
                rig.set_before(counter, near);
                rig.count(counts);
                let pmi = rig.enter().pmi.is_some();
                assert_eq!(pmi, overflows, "{model} {counter}: {counts} of {near}");
            }
        }
    }
}

#[test]
fn p10_a_write_forgets_an_overflow_that_was_not_seen() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::Wanted);
            rig.set_before(counter, 5);
            rig.count(6);
            rig.set_before(counter, 50);
            assert_eq!(rig.enter().pmi, None, "{model} {counter}");
            assert_eq!(
                (rig.value(counter), rig.status_if_any()),
                (top(&model) - 49, 0),
                "{model} {counter}"
            );
            assert_eq!(rig.pmu.stats().overflows, 0, "{model} {counter}");
        }
    }
}

#[test]
fn p10_writing_one_counter_leaves_the_others_overflow() {
    for model in shapes::all() {
        let first = CounterId::Gp(0);
        for counter in counters(&model).into_iter().filter(|id| *id != first) {
            let mut rig = Rig::new(model);
            for id in [first, counter] {
                rig.set_before(id, 5);
                rig.start(id, Pmi::Wanted);
            }
            rig.count(6);
            rig.set_value(first, 0);
            assert!(rig.enter().pmi.is_some(), "{model} {counter}");
            let status = if has_globals(&model) { bit(counter) } else { 0 };
            assert_eq!(rig.status_if_any(), status, "{model} {counter}");
        }
    }
}
