// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P36: a snapshot in the midst of counting, and what is refused.

use vpmu::msr::{IA32_DEBUGCTL, IA32_FIXED_CTR_CTRL, IA32_FIXED_CTR0, IA32_PERF_GLOBAL_STATUS_SET};
use vpmu::{CounterId, Event, Nanos, PmiOutcome, PmuModel, PmuSnapshot, Recheck, RestoreError};

use crate::rig::{CYCLES, CYCLES_INT, Rig, TOP, before_overflow};

const MODEL: PmuModel = PmuModel::INTEL_V4;

/// Counter 0 with an overflow due, 1 with a PMI asked for by hand, 2 and fixed 1 counting; a PMI was
/// delivered at 1,000.
fn busy() -> Rig {
    let mut rig = Rig::of(MODEL);
    rig.pmu.set_min_rearm(Nanos(500));
    rig.select(0, CYCLES_INT);
    rig.set_value(0, u64::MAX);
    rig.count(1);
    rig.enter_at(Nanos(1_000));
    rig.clear_status(1);
    rig.write(IA32_DEBUGCTL, 1 << 12);
    rig.set_value(0, before_overflow(5));
    rig.select(1, CYCLES_INT);
    rig.select(2, CYCLES);
    rig.control(0xFF | 1 << 33);
    rig.write(IA32_FIXED_CTR_CTRL, 0x30);
    rig.write(IA32_PERF_GLOBAL_STATUS_SET, 0b10);
    rig.count(7);
    rig
}

fn restored(snapshot: &PmuSnapshot, now: Nanos) -> Rig {
    let mut rig = Rig::of(MODEL);
    rig.pmu.set_min_rearm(Nanos(500));
    rig.select(5, CYCLES);
    assert_eq!(rig.pmu.restore(snapshot, now), Ok(()));
    rig
}

#[test]
fn p36_a_round_trip_loses_nothing() {
    let mut there = busy();
    let snapshot = there.pmu.snapshot(Nanos(1_200));
    let mut here = restored(&snapshot, Nanos(90_000));
    assert_eq!(here.pmu.snapshot(Nanos(90_000)), snapshot);
    for (rig, now) in [(&mut there, 1_200), (&mut here, 90_000)] {
        rig.count(10);
        assert_eq!((rig.value(0), rig.status()), (TOP, 0b10), "held");
        assert_eq!((rig.value(2), rig.read(IA32_FIXED_CTR0.nth(1))), (17, 17));
        let held = rig.enter_at(Nanos(now + 299));
        let until = Recheck::At(Nanos(now + 300));
        assert_eq!((held.pmi, held.recheck), (None, Some(until)));
        let asked = rig.apic.asked;
        let delivered = rig.enter_at(Nanos(now + 300));
        assert_eq!(delivered.pmi, Some(PmiOutcome::Nmi));
        assert_eq!(rig.apic.asked - asked, 1);
        assert_eq!((rig.value(0), rig.status()), (12, 1 << 59 | 0b11), "frozen");
    }
}

#[test]
fn p36_a_restored_asking_asks() {
    let mut there = Rig::of(MODEL);
    there.select(1, CYCLES_INT);
    there.write(IA32_PERF_GLOBAL_STATUS_SET, 0b10);
    let mut here = restored(&there.pmu.snapshot(Nanos(0)), Nanos(0));
    assert_eq!(here.enter().pmi, Some(PmiOutcome::Nmi));
    assert_eq!(here.enter().pmi, None);
}

#[test]
fn p36_what_ran_before_is_stopped() {
    let snapshot = Rig::of(MODEL).pmu.snapshot(Nanos(0));
    let mut rig = busy();
    assert_eq!(rig.pmu.restore(&snapshot, Nanos(2_000)), Ok(()));
    assert!(!rig.pmu.counting());
    assert!((0..16).all(|slot| rig.pmu.source().running(slot).is_none()));
    rig.select(0, CYCLES_INT);
    rig.set_value(0, u64::MAX);
    rig.count(1);
    assert_eq!(
        rig.enter_at(Nanos(2_000)).pmi,
        Some(PmiOutcome::Nmi),
        "no throttle either"
    );
}

#[test]
fn p36_a_counter_that_ran_runs_as_the_snapshot_has_it() {
    let mut there = Rig::of(MODEL);
    there.select(0, CYCLES | 0x100);
    there.count(5);
    let mut here = busy();
    let snapshot = there.pmu.snapshot(Nanos(0));
    here.count(1_000);
    assert_eq!(here.pmu.restore(&snapshot, Nanos(0)), Ok(()));
    let event = here.pmu.source().running(0).map(|config| config.event);
    assert_eq!((event, here.value(0)), (Some(Event::RefCycles), 5));
}

#[test]
fn p36_an_overflow_counts_once_as_throttled_on_both_sides() {
    let mut there = busy();
    there.enter_at(Nanos(1_200));
    assert_eq!(there.pmu.stats().throttled, 1);
    let snapshot = there.pmu.snapshot(Nanos(1_200));
    let mut here = restored(&snapshot, Nanos(5_000));
    here.enter_at(Nanos(5_000));
    assert_eq!(here.pmu.stats().throttled, 0);
}

#[test]
fn p36_the_throttle_is_cut_to_the_interval_here() {
    let mut snapshot = busy().pmu.snapshot(Nanos(1_000));
    snapshot.throttled_for = Nanos(u64::MAX);
    let mut rig = restored(&snapshot, Nanos(7_000));
    assert_eq!(rig.enter_at(Nanos(7_499)).pmi, None);
    assert_eq!(rig.enter_at(Nanos(7_500)).pmi, Some(PmiOutcome::Nmi));
}

#[test]
fn p36_another_model_is_refused_and_both_are_shown() {
    let snapshot = busy().pmu.snapshot(Nanos(0));
    let other = PmuModel::builder(MODEL.kind()).counters(2).build();
    let mut rig = Rig::of(other.expect("there are such"));
    rig.select(0, CYCLES);
    rig.count(4);
    let error = rig.pmu.restore(&snapshot, Nanos(0)).expect_err("another");
    assert_eq!(
        error.to_string(),
        "The snapshot is of another PMU: \
         intel-v4,counters=8,fixed=3,width=48,full-width=on (unavailable events: 0x7a) there, \
         intel-v4,counters=2,fixed=3,width=48,full-width=on (unavailable events: 0x7a) here"
    );
    rig.count(5);
    assert_eq!(rig.value(0), 9, "nothing changed");
}

type Spoil = fn(&mut PmuSnapshot);

/// What can be wrong with a snapshot.
const WRONGS: [(&str, Spoil); 12] = [
    ("select", |s| s.counters[0].select |= 1 << 32),
    ("fixed select", |s| s.counters[8].select = 1),
    ("fixed control", |s| s.fixed_control |= 1 << 12),
    ("control", |s| s.global_control |= 1 << 8),
    ("status", |s| s.global_status |= 1 << 58),
    ("debug control", |s| s.debug_control |= 1),
    ("asked", |s| s.counters[2].pmi_asked = true),
    ("throttled", |s| s.counters[2].throttled = true),
    ("too few", |s| _ = s.counters.pop()),
    ("too many", |s| s.counters.push(s.counters[0])),
    ("twice", |s| s.counters[1] = s.counters[0]),
    ("name", |s| s.counters[10].id = CounterId::Fixed(200)),
];

#[test]
fn p36_what_cannot_be_is_refused_and_changes_nothing() {
    for (name, wrong) in WRONGS {
        let mut rig = busy();
        let mut snapshot = rig.pmu.snapshot(Nanos(1_200));
        let before = snapshot.clone();
        wrong(&mut snapshot);
        let refused = rig.pmu.restore(&snapshot, Nanos(1_200));
        assert!(refused.is_err(), "{name}");
        assert!(
            !matches!(refused, Err(RestoreError::Model { .. })),
            "{name}"
        );
        assert_eq!(rig.pmu.snapshot(Nanos(1_200)), before, "{name}");
    }
    let mut k7 = Rig::of(PmuModel::AMD_K7);
    let mut snapshot = k7.pmu.snapshot(Nanos(0));
    snapshot.global_control = 1;
    assert!(
        k7.pmu.restore(&snapshot, Nanos(0)).is_err(),
        "it is no register"
    );
}

#[test]
fn p36_a_pmu_of_every_model_restores_its_own() {
    for model in PmuModel::ALL {
        let snapshot = Rig::of(*model).pmu.snapshot(Nanos(0));
        let mut rig = Rig::of(*model);
        assert_eq!(rig.pmu.restore(&snapshot, Nanos(0)), Ok(()), "{model}");
    }
}

#[test]
fn p36_a_snapshot_survives_being_written_down() {
    let snapshot = busy().pmu.snapshot(Nanos(1_200));
    let text = serde_json::to_string(&snapshot).expect("plain values");
    let read: PmuSnapshot = serde_json::from_str(&text).expect("its own");
    assert_eq!(read, snapshot);
}

#[test]
fn p36_no_impossible_model_is_read() {
    let snapshot = busy().pmu.snapshot(Nanos(0));
    let text = serde_json::to_string(&snapshot).expect("plain values");
    for (right, wrong) in [
        (r#""width":48"#, r#""width":64"#),
        (r#""counters":8"#, r#""counters":9"#),
        (r#""kind":"intel-v4""#, r#""kind":"intel-v6""#),
        (r#""kind":"intel-v4""#, r#""kind":"amd-k7""#),
    ] {
        assert!(text.contains(right), "{text}");
        let read = serde_json::from_str::<PmuSnapshot>(&text.replace(right, wrong));
        assert!(read.is_err(), "{wrong}");
    }
}
