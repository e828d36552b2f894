// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P27, P28: what a PMI freezes, and how counting goes on.

use vpmu::{CounterId, PmiOutcome, PmuKind, PmuModel};

use crate::rig::{Broken, CTR_FRZ, DEBUGCTL, FREEZE, Pmi, Rig};
use crate::shapes::{self, INTEL_FROM_V2, INTEL_FROM_V4, bit, bits, counters};

const LEGACY: [PmuKind; 2] = [PmuKind::IntelV2, PmuKind::IntelV3];

/// Every counter of these kinds: on a PMU with freeze on PMI where all counters run, that one towards
/// a PMI which is due, two counts ago.
fn each(kinds: &[PmuKind], check: impl Fn(PmuModel, CounterId, Rig)) {
    let mut checked = 0;
    for model in shapes::of(kinds) {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            for other in counters(&model) {
                rig.start(other, Pmi::None);
            }
            rig.set_before(counter, 5);
            rig.start(counter, Pmi::Wanted);
            rig.write(DEBUGCTL, FREEZE);
            rig.count(7);
            check(model, counter, rig);
            checked += 1;
        }
    }
    assert!(checked > 15, "{checked} counters are not all of them");
}

/// What all counters of this PMU count in a while.
fn counted(rig: &mut Rig) -> Vec<u64> {
    let all = counters(&rig.model);
    let before: Vec<_> = all.iter().map(|counter| rig.value(*counter)).collect();
    rig.count(40);
    let after = all.iter().map(|counter| rig.value(*counter));
    after
        .zip(before)
        .map(|(after, before)| after - before)
        .collect()
}

#[test]
fn p27_a_delivered_pmi_clears_the_global_control() {
    each(&LEGACY, |model, counter, mut rig| {
        assert_eq!(rig.control(), bits(&model), "{model}: not before");
        let entry = rig.enter();
        assert_eq!(entry.pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(entry.recheck, None, "{model} {counter}: nothing runs");
        assert_eq!(
            (rig.control(), rig.status()),
            (0, bit(counter)),
            "{model} {counter}"
        );
        assert!(!rig.pmu.counting(), "{model} {counter}");
        assert_eq!(rig.value(counter), 2, "{model}: counts are taken first");
        for other in counters(&model).into_iter().filter(|id| *id != counter) {
            assert_eq!(rig.value(other), 7, "{model} {other}");
        }
        assert!(
            counted(&mut rig).iter().all(|counts| *counts == 0),
            "{model}"
        );
    });
}

#[test]
fn p27_the_guest_lets_counting_go_on() {
    each(&LEGACY, |model, counter, mut rig| {
        rig.enter();
        rig.clear_status(bits(&model));
        assert!(
            counted(&mut rig).iter().all(|counts| *counts == 0),
            "{model}"
        );
        rig.set_control(bits(&model));
        assert!(
            counted(&mut rig).iter().all(|counts| *counts == 40),
            "{model}"
        );
        rig.set_before(counter, 1);
        rig.count(1);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(rig.control(), 0, "{model} {counter}: and again");
    });
}

#[test]
fn p28_a_delivered_pmi_sets_the_freeze() {
    each(&INTEL_FROM_V4, |model, counter, mut rig| {
        assert_eq!(rig.status() & CTR_FRZ, 0, "{model}: not before");
        let entry = rig.enter();
        assert_eq!(entry.pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(entry.recheck, None, "{model} {counter}: nothing runs");
        assert_eq!(
            (rig.control(), rig.status()),
            (bits(&model), CTR_FRZ | bit(counter)),
            "{model} {counter}"
        );
        assert!(!rig.pmu.counting(), "{model} {counter}");
        assert_eq!(rig.value(counter), 2, "{model}: counts are taken first");
        for other in counters(&model).into_iter().filter(|id| *id != counter) {
            assert_eq!(rig.value(other), 7, "{model} {other}");
        }
        assert!(
            counted(&mut rig).iter().all(|counts| *counts == 0),
            "{model}"
        );
    });
}

#[test]
fn p28_counting_goes_on_when_the_freeze_is_cleared() {
    each(&INTEL_FROM_V4, |model, counter, mut rig| {
        rig.enter();
        rig.set_control(bits(&model));
        rig.clear_status(bits(&model));
        assert_eq!(rig.status(), CTR_FRZ, "{model} {counter}");
        assert!(
            counted(&mut rig).iter().all(|counts| *counts == 0),
            "{model}"
        );
        rig.clear_status(CTR_FRZ);
        assert!(
            counted(&mut rig).iter().all(|counts| *counts == 40),
            "{model}"
        );
        rig.set_before(counter, 1);
        rig.count(1);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(
            rig.status(),
            CTR_FRZ | bit(counter),
            "{model} {counter}: and again"
        );
    });
}

#[test]
fn p27_p28_only_a_delivered_pmi_freezes() {
    for outcome in [PmiOutcome::Masked, PmiOutcome::Undeliverable] {
        each(&INTEL_FROM_V2, |model, counter, mut rig| {
            rig.apic.answer = Ok(outcome);
            rig.enter();
            assert_eq!(
                (rig.control(), rig.status()),
                (bits(&model), bit(counter)),
                "{model} {counter}: {outcome:?}"
            );
            assert!(
                counted(&mut rig).iter().all(|counts| *counts == 40),
                "{model}"
            );
        });
    }
    each(&INTEL_FROM_V2, |model, counter, mut rig| {
        rig.apic.answer = Err(());
        let entry = rig.pmu.enter_guest(rig.now, &mut rig.apic);
        assert_eq!(entry, Err(Broken), "{model} {counter}");
        assert_eq!(
            (rig.control(), rig.status()),
            (bits(&model), 0),
            "{model} {counter}"
        );
        assert!(rig.pmu.counting(), "{model} {counter}");
    });
}

#[test]
fn p27_p28_a_fixed_vector_freezes_as_an_nmi_does() {
    each(&INTEL_FROM_V2, |model, counter, mut rig| {
        rig.apic.answer = Ok(PmiOutcome::Fixed(0xEE));
        rig.enter();
        assert!(!rig.pmu.counting(), "{model} {counter}");
    });
}

#[test]
fn p26_without_the_bit_nothing_freezes() {
    each(&INTEL_FROM_V2, |model, counter, mut rig| {
        rig.write(DEBUGCTL, 0b11);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(
            (rig.control(), rig.status()),
            (bits(&model), bit(counter)),
            "{model} {counter}"
        );
        assert!(
            counted(&mut rig).iter().all(|counts| *counts == 40),
            "{model}"
        );
    });
}

#[test]
fn p27_p28_an_overflow_without_int_freezes_nothing() {
    each(&INTEL_FROM_V2, |model, counter, mut rig| {
        rig.start(counter, Pmi::None);
        assert_eq!(rig.enter().pmi, None, "{model} {counter}");
        assert_eq!(rig.status(), bit(counter), "{model} {counter}");
        assert!(rig.pmu.counting(), "{model} {counter}");
    });
}

#[test]
fn p28_an_overflow_that_is_due_waits_out_the_freeze() {
    each(&INTEL_FROM_V4, |model, counter, mut rig| {
        rig.set_status(CTR_FRZ);
        assert_eq!(rig.enter().pmi, None, "{model} {counter}: it does not run");
        assert_eq!(rig.status(), CTR_FRZ, "{model} {counter}");
        rig.clear_status(CTR_FRZ);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
        assert_eq!(rig.value(counter), 2, "{model} {counter}");
    });
}

#[test]
fn p24_p28_a_pmi_that_was_asked_for_freezes() {
    for model in shapes::of(&INTEL_FROM_V4) {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::Wanted);
            rig.write(DEBUGCTL, FREEZE);
            rig.set_status(bit(counter));
            rig.count(3);
            assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
            assert_eq!(rig.status(), CTR_FRZ | bit(counter), "{model} {counter}");
            rig.count(3);
            assert_eq!(rig.value(counter), 3, "{model} {counter}");
        }
    }
}
