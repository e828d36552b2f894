// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P14 to P17, P19, P20 for every counter: when a PMI comes, for whom, and what becomes of one that
//! cannot.

use vpmu::{CounterId, Nanos, PmiOutcome, PmuModel, Recheck};

use crate::rig::{Broken, Pmi, Rig, Seen};
use crate::shapes::{self, bit, bits, counters, has_globals, slot, top, with_status};

/// Every counter of every model.
fn each(check: impl Fn(PmuModel, CounterId)) {
    for model in shapes::all() {
        for counter in counters(&model) {
            check(model, counter);
        }
    }
}

/// A PMU with an overflow of `counter` due, two counts ago.
fn due(model: PmuModel, counter: CounterId) -> Rig {
    let mut rig = Rig::new(model);
    rig.set_before(counter, 5);
    rig.start(counter, Pmi::Wanted);
    rig.count(7);
    rig
}

/// What the status shows of this counter's overflow: nothing where there is none.
fn shown(model: &PmuModel, counter: CounterId) -> u64 {
    if has_globals(model) { bit(counter) } else { 0 }
}

#[test]
fn p14_visible_in_one_step_with_the_pmi() {
    each(|model, counter| {
        let mut rig = due(model, counter);
        for _ in 0..2 {
            let hidden = (rig.value(counter), rig.status_if_any(), rig.apic.asked);
            assert_eq!(hidden, (top(&model), 0, 0), "{model} {counter}");
        }
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        let seen = (rig.value(counter), rig.status_if_any(), rig.apic.asked);
        assert_eq!(seen, (2, shown(&model, counter), 1), "{model} {counter}");
        let expected = [
            Seen::Overflow(counter, Some(2)),
            Seen::Pmi(rig.now, PmiOutcome::Nmi),
        ];
        assert_eq!(rig.seen(), expected, "{model} {counter}");
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
    });
}

#[test]
fn p14_several_counters_one_pmi() {
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        let all = counters(&model);
        for counter in &all {
            rig.set_before(*counter, 5);
            rig.start(*counter, Pmi::Wanted);
        }
        rig.count(5);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model}");
        let status = if has_globals(&model) { bits(&model) } else { 0 };
        assert_eq!(
            (rig.status_if_any(), rig.apic.asked),
            (status, 1),
            "{model}"
        );
        let stats = rig.pmu.stats();
        assert_eq!(
            (stats.overflows, stats.pmis),
            (all.len() as u64, 1),
            "{model}"
        );
        for counter in all {
            assert_eq!(rig.value(counter), 0, "{model} {counter}");
        }
    }
}

#[test]
fn p14_one_overflow_after_the_other_is_one_pmi_each() {
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        let mut before = 5;
        for counter in counters(&model) {
            rig.set_before(counter, before);
            rig.start(counter, Pmi::Wanted);
            before += 5;
        }
        for (at, counter) in (1..).zip(counters(&model)) {
            rig.count(5);
            assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
            assert_eq!(rig.apic.asked, at, "{model} {counter}");
            assert_eq!(rig.value(counter), 0, "{model} {counter}");
        }
    }
}

#[test]
fn p14_a_set_status_bit_does_not_stop_the_next_pmi() {
    for model in with_status() {
        for counter in counters(&model) {
            let mut rig = due(model, counter);
            rig.enter();
            assert_eq!(rig.status(), bit(counter), "{model} {counter}");
            rig.set_before(counter, 5);
            rig.count(5);
            assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        }
    }
}

#[test]
fn p15_no_pmi_after_the_guest_disabled_the_counter() {
    each(|model, counter| {
        let mut rig = due(model, counter);
        rig.program(counter, false, Pmi::Wanted);
        rig.count(1_000);
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
        let held = (rig.value(counter), rig.status_if_any());
        assert_eq!(held, (top(&model), 0), "{model} {counter}");
        rig.start(counter, Pmi::Wanted);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(rig.value(counter), 2, "{model} {counter}");
    });
}

#[test]
fn p15_no_pmi_after_the_guest_disabled_it_globally() {
    for model in with_status() {
        for counter in counters(&model) {
            let mut rig = due(model, counter);
            rig.set_control(bits(&model) & !bit(counter));
            assert_eq!(rig.enter().pmi, None, "{model} {counter}");
            rig.set_control(bit(counter));
            assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
            assert_eq!(rig.value(counter), 2, "{model} {counter}");
        }
    }
}

#[test]
fn p15_int_cleared_makes_it_visible_without_pmi() {
    each(|model, counter| {
        let mut rig = due(model, counter);
        rig.start(counter, Pmi::None);
        let seen = (rig.value(counter), rig.status_if_any());
        assert_eq!(seen, (2, shown(&model, counter)), "{model} {counter}");
        rig.start(counter, Pmi::Wanted);
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
    });
}

#[test]
fn p16_masked_it_is_visible_and_later_brings_none() {
    for outcome in [PmiOutcome::Masked, PmiOutcome::Undeliverable] {
        each(|model, counter| {
            let mut rig = due(model, counter);
            rig.apic.answer = Ok(outcome);
            assert_eq!(rig.enter().pmi, Some(outcome), "{model} {counter}");
            let seen = (rig.value(counter), rig.status_if_any());
            assert_eq!(seen, (2, shown(&model, counter)), "{model} {counter}");
            rig.apic.answer = Ok(PmiOutcome::Nmi);
            rig.count(1);
            assert_eq!(rig.enter().pmi, None, "{model} {counter}");
            assert_eq!(rig.pmu.stats().pmis, 0, "{model} {counter}");
        });
    }
}

#[test]
fn p17_a_failing_sink_leaves_everything_as_it_was() {
    each(|model, counter| {
        let mut rig = due(model, counter);
        rig.pmu.set_min_rearm(Nanos::from_micros(100));
        rig.apic.answer = Err(());
        for _ in 0..2 {
            let entry = rig.pmu.enter_guest(rig.now, &mut rig.apic);
            assert_eq!(entry, Err(Broken), "{model} {counter}");
            let held = (rig.value(counter), rig.status_if_any());
            assert_eq!(held, (top(&model), 0), "{model} {counter}");
        }
        assert_eq!(rig.pmu.stats().overflows, 0, "{model} {counter}");
        rig.apic.answer = Ok(PmiOutcome::Nmi);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
    });
}

#[test]
fn p19_held_until_the_interval_is_over() {
    each(|model, counter| {
        let mut rig = due(model, counter);
        rig.pmu.set_min_rearm(Nanos(1_000));
        rig.enter();
        let end = Nanos(rig.now.0 + 1_000);
        rig.set_before(counter, 1);
        rig.count(1);
        for _ in 0..3 {
            let entry = rig.enter();
            let expected = (None, Some(Recheck::At(end)));
            assert_eq!((entry.pmi, entry.recheck), expected, "{model} {counter}");
            assert_eq!(rig.value(counter), top(&model), "{model} {counter}");
        }
        assert_eq!(rig.pmu.stats().throttled, 1, "{model} {counter}");
        rig.now = Nanos(end.0 - 1);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(rig.value(counter), 0, "{model} {counter}");
    });
}

#[test]
fn p20_the_nearest_overflow_with_int_counts() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        for other in counters(&model) {
            rig.set_before(other, 900);
            rig.start(other, Pmi::Wanted);
        }
        rig.set_before(counter, 700);
        let recheck = rig.enter().recheck;
        assert_eq!(recheck, Some(Recheck::InCycles(700)), "{model} {counter}");
        let armed = rig.pmu.source().armed(slot(counter));
        assert_eq!(armed, Some(700), "{model} {counter}");
        rig.start(counter, Pmi::None);
        let others = counters(&model).len() > 1;
        let expected = others.then_some(Recheck::InCycles(900));
        assert_eq!(rig.enter().recheck, expected, "{model} {counter}");
        rig.stop(counter);
        assert_eq!(rig.enter().recheck, expected, "{model} {counter}");
    });
}

#[test]
fn p20_coming_back_when_told_is_coming_back_in_time() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        rig.start(counter, Pmi::Wanted);
        for _ in 0..3 {
            let Some(Recheck::InCycles(cycles)) = rig.enter().recheck else {
                panic!("{model} {counter}: an overflow lies ahead");
            };
            rig.count(cycles - 1);
            assert_eq!(rig.enter().pmi, None, "{model} {counter}");
            rig.count(1);
            assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        }
        assert_eq!(rig.pmu.stats().skid.max, 0, "{model} {counter}");
    });
}
