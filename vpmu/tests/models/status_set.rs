// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P24: setting status bits, and the PMI that this can raise.

use vpmu::{CounterId, Nanos, PmiOutcome, PmuModel, Recheck};

use crate::rig::{Broken, CTR_FRZ, Pmi, Rig, Seen, globals};
use crate::shapes::{self, INTEL_FROM_V4, bit, bits, counters, has_status_set, is_amd};

/// Every counter of every model that can set status bits.
fn each(check: impl Fn(PmuModel, CounterId)) {
    let mut checked = 0;
    for model in shapes::all().into_iter().filter(has_status_set) {
        for counter in counters(&model) {
            check(model, counter);
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} counters are not all of them");
}

/// A PMU whose `counter` counts with INT and was asked for a PMI by its status bit.
fn asked(model: PmuModel, counter: CounterId) -> Rig {
    let mut rig = Rig::new(model);
    rig.start(counter, Pmi::Wanted);
    rig.set_value(counter, 77);
    rig.set_status(bit(counter));
    rig
}

#[test]
fn p24_ones_set_their_status_bits() {
    for model in shapes::all().into_iter().filter(has_status_set) {
        let mut rig = Rig::new(model);
        let mut status = 0;
        for counter in counters(&model) {
            rig.set_status(bit(counter));
            status |= bit(counter);
            assert_eq!(rig.status(), status, "{model} {counter}");
        }
        rig.set_status(0);
        assert_eq!(rig.status(), status, "{model}: zeroes clear nothing");
        rig.clear_status(bit(CounterId::Gp(0)));
        assert_eq!(rig.status(), status & !1, "{model}");
    }
}

#[test]
fn p24_intel_has_three_bits_that_are_no_counters() {
    for model in shapes::of(&INTEL_FROM_V4) {
        for single in [CTR_FRZ, 1 << 62, 1 << 63] {
            let mut rig = Rig::new(model);
            rig.set_status(single);
            assert_eq!(rig.status(), single, "{model}");
            rig.enter();
            assert_eq!(rig.apic.asked, 0, "{model}: none of them is a PMI");
            rig.clear_status(single);
            assert_eq!(rig.status(), 0, "{model}");
        }
    }
}

#[test]
fn p24_a_refused_write_sets_nothing() {
    for model in shapes::of(&INTEL_FROM_V4) {
        let mut rig = Rig::new(model);
        for reserved in [55, 56, 57, 58, 60, 61, 31, 47] {
            rig.refuse(globals(&model)[3], 1 << reserved | 1);
            assert_eq!(rig.status(), 0, "{model}: bit {reserved}");
        }
    }
}

#[test]
fn p24_amd_ignores_what_is_no_counter() {
    for model in shapes::all().into_iter().filter(has_status_set) {
        if !is_amd(&model) {
            continue;
        }
        let mut rig = Rig::new(model);
        rig.set_status(u64::MAX);
        assert_eq!(rig.status(), bits(&model), "{model}");
        rig.clear_status(u64::MAX);
        assert_eq!(rig.status(), 0, "{model}");
    }
}

#[test]
fn p24_raises_a_pmi_at_the_next_entry() {
    each(|model, counter| {
        let mut rig = asked(model, counter);
        assert_eq!((rig.status(), rig.apic.asked), (bit(counter), 0), "{model}");
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(rig.status(), bit(counter), "{model} {counter}");
        assert_eq!(rig.value(counter), 77, "{model} {counter}: untouched");
        assert_eq!(rig.enter().pmi, None, "{model} {counter}: one");
        assert_eq!(rig.pmu.stats().pmis, 1, "{model} {counter}");
        assert_eq!(
            rig.pmu.stats().overflows,
            0,
            "{model} {counter}: it is none"
        );
        let now = Nanos(rig.now.0 - 1);
        assert_eq!(
            rig.seen(),
            [Seen::Pmi(now, PmiOutcome::Nmi)],
            "{model} {counter}"
        );
    });
}

#[test]
fn p24_no_pmi_without_int() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        rig.start(counter, Pmi::None);
        rig.set_status(bit(counter));
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
        assert_eq!(rig.status(), bit(counter), "{model} {counter}");
        rig.start(counter, Pmi::Wanted);
        assert_eq!(
            rig.enter().pmi,
            None,
            "{model} {counter}: judged at the write"
        );
    });
}

#[test]
fn p24_int_counts_when_the_bit_is_set() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        rig.program(counter, false, Pmi::None);
        rig.set_status(bit(counter));
        rig.start(counter, Pmi::Wanted);
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
        assert_eq!(rig.status(), bit(counter), "{model} {counter}");
    });
}

#[test]
fn p24_no_pmi_for_a_bit_that_was_set_already() {
    each(|model, counter| {
        let mut rig = asked(model, counter);
        rig.enter();
        rig.set_status(bit(counter));
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
        rig.clear_status(bit(counter));
        rig.set_status(bit(counter));
        assert_eq!(
            rig.enter().pmi,
            Some(PmiOutcome::Nmi),
            "{model} {counter}: set anew"
        );
    });
}

#[test]
fn p24_clearing_the_bit_takes_the_asking_back() {
    each(|model, counter| {
        let mut rig = asked(model, counter);
        rig.clear_status(bit(counter));
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
        assert_eq!((rig.status(), rig.apic.asked), (0, 0), "{model} {counter}");
    });
}

#[test]
fn p24_clearing_another_bit_does_not() {
    each(|model, counter| {
        let others = bits(&model) & !bit(counter);
        let mut rig = asked(model, counter);
        rig.set_status(others);
        rig.clear_status(others);
        assert_eq!(rig.status(), bit(counter), "{model} {counter}");
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
    });
}

#[test]
fn p24_shares_its_pmi_with_all_that_is_due() {
    for model in shapes::all().into_iter().filter(has_status_set) {
        let mut rig = Rig::new(model);
        for counter in counters(&model) {
            rig.set_before(counter, 5);
            rig.start(counter, Pmi::Wanted);
        }
        let first = bit(CounterId::Gp(0));
        rig.set_status(bits(&model) & !first);
        rig.count_in(CounterId::Gp(0), 6);
        assert_eq!(rig.status(), bits(&model) & !first, "{model}");
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model}");
        assert_eq!((rig.status(), rig.apic.asked), (bits(&model), 1), "{model}");
        assert_eq!(rig.value(CounterId::Gp(0)), 1, "{model}");
        assert_eq!(rig.pmu.stats().overflows, 1, "{model}");
    }
}

#[test]
fn p24_an_overflow_of_the_same_counter_stays_one_pmi() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        rig.set_before(counter, 5);
        rig.start(counter, Pmi::Wanted);
        rig.set_status(bit(counter));
        rig.count(7);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(rig.value(counter), 2, "{model} {counter}");
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
        assert_eq!(rig.apic.asked, 1, "{model} {counter}");
    });
}

#[test]
fn p15_an_asking_waits_until_the_counter_runs() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        rig.program(counter, false, Pmi::Wanted);
        rig.set_status(bit(counter));
        assert!(!rig.pmu.counting(), "{model} {counter}");
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
        rig.start(counter, Pmi::Wanted);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");

        let mut rig = asked(model, counter);
        rig.set_control(bits(&model) & !bit(counter));
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
        rig.set_control(bit(counter));
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
    });
}

#[test]
fn p15_running_without_int_takes_the_asking_back() {
    each(|model, counter| {
        let mut rig = asked(model, counter);
        rig.start(counter, Pmi::None);
        rig.start(counter, Pmi::Wanted);
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
        assert_eq!(rig.status(), bit(counter), "{model} {counter}");
    });
}

#[test]
fn p10_a_write_to_the_counter_does_not_take_the_asking_back() {
    each(|model, counter| {
        let mut rig = asked(model, counter);
        rig.set_value(counter, 5);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(rig.value(counter), 5, "{model} {counter}");
    });
}

#[test]
fn p16_a_masked_asking_is_over() {
    for outcome in [PmiOutcome::Masked, PmiOutcome::Undeliverable] {
        each(|model, counter| {
            let mut rig = asked(model, counter);
            rig.apic.answer = Ok(outcome);
            assert_eq!(rig.enter().pmi, Some(outcome), "{model} {counter}");
            rig.apic.answer = Ok(PmiOutcome::Nmi);
            assert_eq!(rig.enter().pmi, None, "{model} {counter}");
            assert_eq!(rig.status(), bit(counter), "{model} {counter}");
        });
    }
}

#[test]
fn p17_a_failing_sink_is_asked_again() {
    each(|model, counter| {
        let mut rig = asked(model, counter);
        rig.apic.answer = Err(());
        for _ in 0..2 {
            let entry = rig.pmu.enter_guest(rig.now, &mut rig.apic);
            assert_eq!(entry, Err(Broken), "{model} {counter}");
        }
        assert_eq!(rig.pmu.stats().pmis, 0, "{model} {counter}");
        rig.apic.answer = Ok(PmiOutcome::Nmi);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
    });
}

#[test]
fn p19_an_asking_waits_for_the_throttle() {
    each(|model, counter| {
        let mut rig = asked(model, counter);
        rig.pmu.set_min_rearm(Nanos(100));
        let start = Nanos(rig.now.0 + 1);
        rig.enter();
        rig.clear_status(bit(counter));
        rig.set_status(bit(counter));
        let end = Nanos(start.0 + 100);
        let entry = rig.enter();
        assert_eq!(
            (entry.pmi, entry.recheck),
            (None, Some(Recheck::At(end))),
            "{model} {counter}"
        );
        assert_eq!(rig.pmu.stats().throttled, 0, "{model}: it is no overflow");
        rig.now = Nanos(end.0 - 1);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
    });
}
