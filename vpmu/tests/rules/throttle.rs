// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P19: the minimum re-arm interval.

use vpmu::source::script::ScriptSource;
use vpmu::vcpu::DEFAULT_MIN_REARM;
use vpmu::{CounterId, Nanos, PmiOutcome, PmuModel, Recheck, VcpuPmu};

use crate::rig::{Apic, CYCLES, CYCLES_INT, Rig, Seen, TOP, before_overflow};

const START: Nanos = Nanos(50_000);
const REARM: Nanos = Nanos(1_000);
const END: Nanos = Nanos(51_000);

/// A PMU that delivered a PMI at `START`, its counter 0 due again.
fn due_again() -> Rig {
    let mut rig = Rig::new();
    rig.pmu.set_min_rearm(REARM);
    rig.select(0, CYCLES_INT);
    overflow(&mut rig);
    assert_eq!(rig.enter_at(START).pmi, Some(PmiOutcome::Nmi));
    rig.seen();
    overflow(&mut rig);
    rig
}

fn overflow(rig: &mut Rig) {
    rig.clear_status(1);
    rig.set_value(0, before_overflow(1));
    rig.count(1);
}

#[test]
fn p19_held_until_the_interval_is_over() {
    let mut rig = due_again();
    for now in [START, Nanos(50_001), Nanos(50_999)] {
        let entry = rig.enter_at(now);
        assert_eq!(
            (entry.pmi, entry.recheck),
            (None, Some(Recheck::At(END))),
            "{now:?}"
        );
        assert_eq!((rig.value(0), rig.status()), (TOP, 0), "{now:?}");
    }
    assert_eq!(rig.enter_at(END).pmi, Some(PmiOutcome::Nmi));
    assert_eq!((rig.value(0), rig.status()), (0, 1));
}

#[test]
fn p19_each_overflow_counts_once_as_throttled() {
    let mut rig = due_again();
    rig.enter_at(START);
    rig.enter_at(START);
    assert_eq!(rig.pmu.stats().throttled, 1);
    assert_eq!(rig.seen(), [Seen::Throttled(CounterId::Gp(0), END)]);
    rig.enter_at(END);
    assert_eq!(rig.pmu.stats().throttled, 1);
    overflow(&mut rig);
    rig.enter_at(Nanos(51_500));
    assert_eq!(rig.pmu.stats().throttled, 2);
    overflow(&mut rig);
    rig.enter_at(Nanos(51_600));
    assert_eq!(
        rig.pmu.stats().throttled,
        3,
        "a write makes it another overflow"
    );
    rig.set_value(1, before_overflow(1));
    rig.select(1, CYCLES_INT);
    rig.count(1);
    rig.enter_at(Nanos(51_700));
    assert_eq!(rig.pmu.stats().throttled, 4, "another counter's is another");
}

#[test]
fn p19_the_next_overflow_of_the_same_count_is_another() {
    let mut rig = due_again();
    rig.enter_at(START);
    rig.select(0, CYCLES);
    assert_eq!(rig.status(), 1, "shown, without interrupt");
    rig.select(0, CYCLES_INT);
    rig.count(1 << 48);
    rig.enter_at(START);
    assert_eq!(rig.pmu.stats().throttled, 2);
}

#[test]
fn p19_a_counter_written_to_minus_one_in_a_loop_is_no_storm() {
    let mut rig = Rig::new();
    rig.pmu.set_min_rearm(REARM);
    rig.select(0, CYCLES_INT);
    for ns in 0..20_000 {
        rig.set_value(0, u64::MAX);
        rig.count(2);
        rig.enter_at(Nanos(ns));
    }
    assert_eq!(rig.pmu.stats().pmis, 20, "one each microsecond");
    assert_eq!(rig.pmu.stats().throttled, 20_000 - 20);
}

#[test]
fn p19_disabled_meanwhile_there_is_no_pmi_at_the_end() {
    let mut rig = due_again();
    rig.enter_at(START);
    rig.control(0);
    let entry = rig.enter_at(END);
    assert_eq!((entry.pmi, entry.recheck, rig.status()), (None, None, 0));
}

#[test]
fn p19_only_a_delivered_pmi_starts_the_interval() {
    for (outcome, held) in [
        (PmiOutcome::Nmi, true),
        (PmiOutcome::Fixed(32), true),
        (PmiOutcome::Masked, false),
        (PmiOutcome::Undeliverable, false),
    ] {
        let mut rig = Rig::new();
        rig.pmu.set_min_rearm(REARM);
        rig.apic.answer = Ok(outcome);
        rig.select(0, CYCLES_INT);
        overflow(&mut rig);
        rig.enter_at(START);
        overflow(&mut rig);
        assert_eq!(rig.enter_at(START).pmi.is_none(), held, "{outcome:?}");
    }
}

#[test]
fn p19_the_interval_can_change_while_it_runs() {
    let mut rig = due_again();
    rig.enter_at(START);
    rig.pmu.set_min_rearm(Nanos(2_000));
    assert_eq!(rig.enter_at(END).recheck, Some(Recheck::At(Nanos(52_000))));
    rig.pmu.set_min_rearm(Nanos(0));
    assert_eq!(rig.enter_at(END).pmi, Some(PmiOutcome::Nmi));
}

#[test]
fn p19_overflows_without_interrupt_are_not_held() {
    let mut rig = due_again();
    rig.set_value(1, before_overflow(1));
    rig.select(1, CYCLES);
    rig.count(1);
    rig.enter_at(START);
    assert_eq!(rig.status(), 0b10);
}

#[test]
fn p19_the_interval_is_a_tenth_of_a_millisecond_unless_set() {
    assert_eq!(DEFAULT_MIN_REARM, Nanos(100_000));
    let mut pmu = VcpuPmu::new(PmuModel::INTEL_V2, ScriptSource::new());
    let mut apic = Apic {
        answer: Ok(PmiOutcome::Nmi),
        asked: 0,
    };
    let minus_one = u64::MAX;
    let mut entries = Vec::new();
    let _ = pmu.write_msr(vpmu::msr::IA32_PERFEVTSEL0, CYCLES_INT);
    for now in [0, 99_999, 100_000] {
        let _ = pmu.write_msr(vpmu::msr::IA32_PMC0, minus_one);
        pmu.source_mut().count(1);
        entries.push(
            pmu.enter_guest(Nanos(now), &mut apic)
                .map(|entry| entry.pmi.is_some()),
        );
    }
    assert_eq!(entries, [Ok(true), Ok(false), Ok(true)]);
}
