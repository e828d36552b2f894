// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P36: a PMU taken down and put up again elsewhere.

use vpmu::{CounterId, Nanos, PmiOutcome, PmuModel, Recheck};

use crate::rig::{CTR_FRZ, DEBUGCTL, FREEZE, Pmi, Rig};
use crate::shapes::{
    self, INTEL_FROM_V2, INTEL_FROM_V4, bit, counters, has_globals, has_status_set, top,
};
use crate::table::registers;

/// Every counter of every model.
fn each(check: impl Fn(PmuModel, CounterId)) {
    for model in shapes::all() {
        for counter in counters(&model) {
            check(model, counter);
        }
    }
}

/// A PMU that goes on where `rig` is now, on a source of its own, at another time.
#[track_caller]
fn moved(rig: &mut Rig) -> Rig {
    let snapshot = rig.pmu.snapshot(rig.now);
    let mut other = Rig::new(rig.model);
    other.now = Nanos(5_000_000);
    other
        .pmu
        .restore(&snapshot, other.now)
        .expect("it is the same model");
    other
}

#[test]
fn p36_every_register_is_as_it_was() {
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        for (at, counter) in (1..).zip(counters(&model)) {
            rig.start(counter, if at % 2 == 0 { Pmi::None } else { Pmi::Wanted });
            rig.set_before(counter, 3 * at);
        }
        if INTEL_FROM_V2.contains(&model.kind()) {
            rig.write(DEBUGCTL, FREEZE);
        }
        rig.count(10);
        let mut other = moved(&mut rig);
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
fn p36_counting_goes_on() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        rig.start(counter, Pmi::Wanted);
        rig.set_before(counter, 1_000);
        rig.enter();
        rig.count(300);
        let mut other = moved(&mut rig);
        assert!(other.pmu.counting(), "{model} {counter}");
        assert_eq!(
            other.value(counter),
            top(&model) - 699,
            "{model} {counter}: what nobody had looked at, too"
        );
        let recheck = other.enter().recheck;
        assert_eq!(recheck, Some(Recheck::InCycles(700)), "{model} {counter}");
        other.count(699);
        assert_eq!(other.enter().pmi, None, "{model} {counter}");
        other.count(2);
        assert_eq!(
            other.enter().pmi,
            Some(PmiOutcome::Nmi),
            "{model} {counter}"
        );
        assert_eq!(other.value(counter), 1, "{model} {counter}");
    });
}

#[test]
fn p36_the_old_one_can_go_on_as_well() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        rig.start(counter, Pmi::Wanted);
        rig.count(300);
        let first = rig.pmu.snapshot(rig.now);
        rig.count(5);
        assert_eq!(rig.value(counter), 305, "{model} {counter}");
        rig.pmu
            .restore(&first, rig.now)
            .expect("it is the same model");
        assert_eq!(rig.value(counter), 300, "{model} {counter}: back again");
        rig.count(5);
        assert_eq!(rig.value(counter), 305, "{model} {counter}");
    });
}

#[test]
fn p36_an_overflow_that_is_held_comes_along() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        rig.start(counter, Pmi::Wanted);
        rig.set_before(counter, 5);
        rig.count(7);
        let mut other = moved(&mut rig);
        let held = (other.value(counter), other.status_if_any());
        assert_eq!(held, (top(&model), 0), "{model} {counter}");
        assert_eq!(
            other.enter().pmi,
            Some(PmiOutcome::Nmi),
            "{model} {counter}"
        );
        assert_eq!(other.value(counter), 2, "{model} {counter}");
        let status = if has_globals(&model) { bit(counter) } else { 0 };
        assert_eq!(other.status_if_any(), status, "{model} {counter}");
        let skid = other.pmu.stats().skid;
        assert_eq!((skid.count, skid.max), (1, 2), "{model} {counter}");
    });
}

#[test]
fn p36_held_by_a_stopped_counter_too() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        rig.start(counter, Pmi::Wanted);
        rig.set_before(counter, 5);
        rig.count(7);
        rig.program(counter, false, Pmi::Wanted);
        let mut other = moved(&mut rig);
        assert_eq!(other.enter().pmi, None, "{model} {counter}");
        other.start(counter, Pmi::Wanted);
        assert_eq!(
            other.enter().pmi,
            Some(PmiOutcome::Nmi),
            "{model} {counter}"
        );
        assert_eq!(other.value(counter), 2, "{model} {counter}");
    });
}

#[test]
fn p36_overflows_that_were_shown_are_not_shown_again() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        rig.start(counter, Pmi::Wanted);
        rig.set_before(counter, 5);
        rig.count(7);
        rig.enter();
        let mut other = moved(&mut rig);
        assert_eq!(other.enter().pmi, None, "{model} {counter}");
        assert_eq!(other.value(counter), 2, "{model} {counter}");
        let status = if has_globals(&model) { bit(counter) } else { 0 };
        assert_eq!(other.status_if_any(), status, "{model} {counter}");
    });
}

#[test]
fn p36_a_pmi_that_was_asked_for_comes_along() {
    for model in shapes::all().into_iter().filter(has_status_set) {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::Wanted);
            rig.set_status(bit(counter));
            let mut other = moved(&mut rig);
            assert_eq!(other.status(), bit(counter), "{model} {counter}");
            assert_eq!(
                other.enter().pmi,
                Some(PmiOutcome::Nmi),
                "{model} {counter}"
            );
            assert_eq!(moved(&mut other).enter().pmi, None, "{model} {counter}");
        }
    }
}

#[test]
fn p36_a_freeze_comes_along() {
    for model in shapes::of(&INTEL_FROM_V4) {
        let mut rig = Rig::new(model);
        for counter in counters(&model) {
            rig.start(counter, Pmi::None);
        }
        rig.set_status(CTR_FRZ);
        let mut other = moved(&mut rig);
        assert!(!other.pmu.counting(), "{model}");
        other.clear_status(CTR_FRZ);
        other.count(4);
        for counter in counters(&model) {
            assert_eq!(other.value(counter), 4, "{model} {counter}");
        }
    }
    for model in shapes::of(&INTEL_FROM_V2) {
        let mut rig = Rig::new(model);
        rig.write(DEBUGCTL, FREEZE);
        let mut other = moved(&mut rig);
        other.start(CounterId::Gp(0), Pmi::Wanted);
        other.set_before(CounterId::Gp(0), 1);
        other.count(1);
        other.enter();
        assert!(!other.pmu.counting(), "{model}");
    }
}

#[test]
fn p36_the_throttle_has_as_long_to_go() {
    each(|model, counter| {
        let mut rig = Rig::new(model);
        rig.pmu.set_min_rearm(Nanos(1_000));
        rig.start(counter, Pmi::Wanted);
        rig.set_before(counter, 1);
        rig.count(1);
        rig.enter();
        rig.set_before(counter, 1);
        rig.count(1);
        rig.now = Nanos(rig.now.0 + 399);
        assert_eq!(rig.enter().pmi, None, "{model} {counter}: 400 ns are over");
        let snapshot = rig.pmu.snapshot(rig.now);
        let mut other = Rig::new(model);
        other.pmu.set_min_rearm(Nanos(1_000));
        other
            .pmu
            .restore(&snapshot, Nanos(70_000))
            .expect("it is the same model");
        other.now = Nanos(70_000);
        let entry = other.enter();
        let end = Recheck::At(Nanos(70_600));
        assert_eq!(
            (entry.pmi, entry.recheck),
            (None, Some(end)),
            "{model} {counter}"
        );
        other.now = Nanos(70_599);
        assert_eq!(
            other.enter().pmi,
            Some(PmiOutcome::Nmi),
            "{model} {counter}"
        );
    });
}

#[test]
fn p36_a_snapshot_of_a_snapshot_is_the_same() {
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        for counter in counters(&model) {
            rig.start(counter, Pmi::Wanted);
            rig.set_before(counter, 2);
        }
        rig.count(3);
        let first = rig.pmu.snapshot(rig.now);
        let mut other = moved(&mut rig);
        let second = other.pmu.snapshot(other.now);
        assert_eq!(first, second, "{model}");
        let fresh = Rig::new(model).pmu.snapshot(rig.now);
        assert_ne!(first, fresh, "{model}");
    }
}

#[test]
fn p36_another_model_is_refused_with_both_named() {
    let all = shapes::all();
    for from in &all {
        let snapshot = Rig::new(*from).pmu.snapshot(Nanos(0));
        for to in &all {
            let mut rig = Rig::new(*to);
            rig.start(CounterId::Gp(0), Pmi::None);
            rig.set_value(CounterId::Gp(0), 9);
            let restored = rig.pmu.restore(&snapshot, rig.now);
            if from == to {
                assert_eq!(restored, Ok(()), "{from}");
                assert_eq!(rig.value(CounterId::Gp(0)), 0, "{from}");
                continue;
            }
            let message = restored.expect_err("it is another model").to_string();
            for model in [from, to] {
                let shape = [
                    model.name().to_string(),
                    format!("counters={}", model.gp_counters()),
                    format!("width={}", model.counter_width()),
                ];
                for part in shape {
                    assert!(message.contains(&part), "{part} of {model} in {message:?}");
                }
            }
            rig.count(1);
            assert_eq!(rig.value(CounterId::Gp(0)), 10, "{from} to {to}: untouched");
        }
    }
}

#[test]
fn p36_statistics_are_not_part_of_it() {
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        rig.start(CounterId::Gp(0), Pmi::Wanted);
        rig.set_before(CounterId::Gp(0), 1);
        let early = rig.pmu.snapshot(rig.now);
        rig.count(1);
        rig.enter();
        rig.pmu
            .restore(&early, rig.now)
            .expect("it is the same model");
        assert_eq!(rig.pmu.stats().pmis, 1, "{model}: they stay");
        let mut other = Rig::new(model);
        other
            .pmu
            .restore(&early, other.now)
            .expect("it is the same model");
        assert_eq!(other.pmu.stats().pmis, 0, "{model}: nor do they come along");
    }
}
