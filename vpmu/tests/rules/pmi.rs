// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P14: an overflow and its PMI in one step. P16: masked and impossible delivery. P17: a sink that
//! fails.

use vpmu::{CounterId, Nanos, PmiOutcome};

use crate::rig::{Broken, CYCLES, CYCLES_INT, Rig, Seen, TOP, before_overflow};

/// A PMU with an overflow of counter 0 due, two counts ago.
fn due() -> Rig {
    let mut rig = Rig::new();
    rig.set_value(0, before_overflow(5));
    rig.select(0, CYCLES_INT);
    rig.count(7);
    rig
}

#[test]
fn p14_visible_in_one_step_with_the_pmi() {
    let mut rig = due();
    for _ in 0..2 {
        assert_eq!((rig.value(0), rig.status(), rig.apic.asked), (TOP, 0, 0));
    }
    let entry = rig.enter();
    assert_eq!(entry.pmi, Some(PmiOutcome::Nmi));
    assert_eq!((rig.value(0), rig.status(), rig.apic.asked), (2, 1, 1));
    let seen = [
        Seen::Overflow(CounterId::Gp(0), Some(2)),
        Seen::Pmi(rig.now, PmiOutcome::Nmi),
    ];
    assert_eq!(rig.seen(), seen);
}

#[test]
fn p14_one_pmi_an_overflow() {
    let mut rig = due();
    rig.enter();
    for _ in 0..3 {
        rig.count(100);
        assert_eq!(rig.enter().pmi, None);
    }
    assert_eq!(rig.pmu.stats().pmis, 1);
    for round in 2..=1_000 {
        rig.set_value(0, before_overflow(5));
        rig.count(5);
        rig.enter();
        assert_eq!(rig.pmu.stats().pmis, round);
    }
    assert_eq!(rig.pmu.stats().overflows, 1_000);
}

#[test]
fn p14_a_set_status_bit_does_not_stop_the_next_pmi() {
    let mut rig = due();
    rig.enter();
    assert_eq!(rig.status(), 1);
    rig.set_value(0, before_overflow(5));
    rig.count(5);
    assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi));
}

#[test]
fn p14_overflows_due_together_share_one_pmi() {
    let mut rig = Rig::new();
    for n in 0..3 {
        rig.set_value(n, before_overflow(5));
        rig.select(n, CYCLES_INT);
    }
    rig.set_value(3, before_overflow(500));
    rig.select(3, CYCLES_INT);
    rig.count(5);
    rig.enter();
    assert_eq!((rig.status(), rig.apic.asked), (0b0111, 1));
    assert_eq!((rig.pmu.stats().overflows, rig.pmu.stats().pmis), (3, 1));
    assert_eq!(rig.value(3), TOP - 494);
}

#[test]
fn p14_not_before_the_overflow() {
    let mut rig = Rig::new();
    rig.set_value(0, before_overflow(5));
    rig.select(0, CYCLES_INT);
    rig.count(4);
    assert_eq!(rig.enter().pmi, None);
    assert_eq!((rig.value(0), rig.status()), (TOP, 0));
    rig.count(1);
    assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi));
    assert_eq!((rig.value(0), rig.status()), (0, 1));
}

#[test]
fn p14_no_pmi_without_int() {
    let mut rig = Rig::new();
    rig.set_value(0, before_overflow(5));
    rig.select(0, CYCLES);
    rig.count(50);
    assert_eq!(rig.enter().pmi, None);
    assert_eq!(rig.status(), 1);
}

#[test]
fn p16_each_outcome_has_its_count() {
    for (outcome, [pmis, masked, undeliverable]) in [
        (PmiOutcome::Nmi, [1, 0, 0]),
        (PmiOutcome::Fixed(0xEE), [1, 0, 0]),
        (PmiOutcome::Masked, [0, 1, 0]),
        (PmiOutcome::Undeliverable, [0, 0, 1]),
    ] {
        let mut rig = due();
        rig.apic.answer = Ok(outcome);
        assert_eq!(rig.enter().pmi, Some(outcome));
        assert_eq!(
            (rig.value(0), rig.status()),
            (2, 1),
            "{outcome:?}: visible all the same"
        );
        let stats = rig.pmu.stats();
        assert_eq!(
            [stats.pmis, stats.masked, stats.undeliverable],
            [pmis, masked, undeliverable]
        );
        assert_eq!(stats.overflows, 1);
        assert_eq!(outcome.delivered(), pmis == 1);
    }
}

#[test]
fn p16_unmasking_later_brings_no_pmi() {
    let mut rig = due();
    rig.apic.answer = Ok(PmiOutcome::Masked);
    rig.enter();
    rig.apic.answer = Ok(PmiOutcome::Nmi);
    rig.count(10);
    assert_eq!(rig.enter().pmi, None);
    assert_eq!((rig.status(), rig.pmu.stats().pmis), (1, 0));
}

#[test]
fn p17_a_failing_sink_leaves_everything_as_it_was() {
    let mut rig = due();
    rig.pmu.set_min_rearm(Nanos::from_micros(100));
    rig.apic.answer = Err(());
    for _ in 0..2 {
        assert_eq!(rig.pmu.enter_guest(rig.now, &mut rig.apic), Err(Broken));
        assert_eq!((rig.value(0), rig.status()), (TOP, 0));
    }
    assert_eq!(rig.pmu.stats().overflows, 0);
    rig.apic.answer = Ok(PmiOutcome::Nmi);
    assert_eq!(
        rig.enter().pmi,
        Some(PmiOutcome::Nmi),
        "and nothing was throttled"
    );
    assert_eq!(
        (rig.value(0), rig.status(), rig.pmu.stats().pmis),
        (2, 1, 1)
    );
}
