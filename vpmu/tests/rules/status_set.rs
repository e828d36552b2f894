// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P24: status bits set by hand.

use vpmu::msr::{
    IA32_PERF_GLOBAL_OVF_CTRL, IA32_PERF_GLOBAL_STATUS_SET, PERF_CNTR_GLOBAL_STATUS,
    PERF_CNTR_GLOBAL_STATUS_CLR, PERF_CNTR_GLOBAL_STATUS_SET, PERF_CTL0,
};
use vpmu::{EventSelect, Nanos, PmiOutcome, PmuModel};

use crate::rig::{Broken, CYCLES, CYCLES_INT, Rig, Seen, before_overflow};

const SET: vpmu::MsrId = IA32_PERF_GLOBAL_STATUS_SET;

/// A PMU of version 4, its counter 0 running with INT, far from any overflow.
fn running() -> Rig {
    let mut rig = Rig::of(PmuModel::INTEL_V4);
    rig.select(0, CYCLES_INT);
    rig
}

#[test]
fn p24_sets_the_bits_and_nothing_else() {
    for bit in 0..64 {
        let mut rig = Rig::of(PmuModel::INTEL_V4);
        if matches!(bit, 0..8 | 32..35 | 59 | 62 | 63) {
            rig.write(SET, 1 << bit);
            assert_eq!(rig.status(), 1 << bit);
            assert_eq!(rig.read(SET), 0);
            rig.clear_status(1 << bit);
        } else {
            rig.refuse(SET, 1 << bit | 1);
        }
        assert_eq!(rig.status(), 0, "bit {bit}");
    }
}

#[test]
fn p24_asks_for_one_pmi() {
    let mut rig = running();
    rig.write(SET, 1);
    rig.count(5);
    assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi));
    assert_eq!((rig.value(0), rig.status()), (5, 1), "the value stays");
    assert_eq!(rig.enter().pmi, None, "one");
    rig.write(SET, 1);
    assert_eq!(rig.enter().pmi, None, "the bit was set already");
    assert_eq!(rig.seen(), [Seen::Pmi(Nanos(1_001), PmiOutcome::Nmi)]);
    let stats = rig.pmu.stats();
    assert_eq!((stats.pmis, stats.overflows, stats.skid.count), (1, 0, 0));
}

#[test]
fn p24_one_pmi_together_with_an_overflow() {
    let mut rig = running();
    rig.select(1, CYCLES_INT);
    rig.set_value(1, before_overflow(3));
    rig.count(3);
    rig.write(SET, 1);
    rig.enter();
    assert_eq!((rig.status(), rig.apic.asked), (0b11, 1));
    assert_eq!(rig.enter().pmi, None);
}

#[test]
fn p24_no_pmi_without_int() {
    let mut rig = Rig::of(PmuModel::INTEL_V4);
    rig.select(0, CYCLES);
    rig.write(SET, 1);
    assert_eq!((rig.enter().pmi, rig.status()), (None, 1));
    rig.select(0, CYCLES_INT);
    assert_eq!(rig.enter().pmi, None, "it had none when the bit was set");
    let mut stopped = Rig::of(PmuModel::INTEL_V4);
    stopped.write(SET, 1);
    stopped.select(0, CYCLES_INT);
    assert_eq!(stopped.enter().pmi, None, "neither had this one");
}

#[test]
fn p24_taken_back() {
    let mut cleared = running();
    cleared.write(SET, 1);
    cleared.write(IA32_PERF_GLOBAL_OVF_CTRL, 1);
    assert_eq!((cleared.enter().pmi, cleared.status()), (None, 0));
    let mut without_int = running();
    without_int.write(SET, 1);
    without_int.select(0, CYCLES);
    without_int.select(0, CYCLES_INT);
    assert_eq!((without_int.enter().pmi, without_int.status()), (None, 1));
    let mut others_cleared = running();
    others_cleared.write(SET, 0b11);
    others_cleared.write(IA32_PERF_GLOBAL_OVF_CTRL, 0b10);
    assert_eq!(others_cleared.enter().pmi, Some(PmiOutcome::Nmi));
}

#[test]
fn p24_waits_until_the_counter_runs() {
    let mut rig = running();
    rig.write(SET, 1);
    rig.select(0, CYCLES_INT & !EventSelect::EN);
    assert!(!rig.pmu.counting());
    assert_eq!(rig.enter().pmi, None);
    rig.select(0, CYCLES_INT);
    assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi));
}

#[test]
fn p24_a_failing_sink_is_asked_again_and_a_masked_one_is_not() {
    let mut rig = running();
    rig.write(SET, 1);
    rig.apic.answer = Err(());
    assert_eq!(rig.pmu.enter_guest(rig.now, &mut rig.apic), Err(Broken));
    rig.apic.answer = Ok(PmiOutcome::Masked);
    assert_eq!(rig.enter().pmi, Some(PmiOutcome::Masked));
    assert_eq!(rig.enter().pmi, None);
}

#[test]
fn p24_held_by_the_throttle_and_not_counted() {
    let mut rig = running();
    rig.write(SET, 1);
    rig.enter_at(Nanos(1_000));
    rig.pmu.set_min_rearm(Nanos(100));
    rig.clear_status(1);
    rig.write(SET, 1);
    assert_eq!(rig.enter_at(Nanos(1_099)).pmi, None);
    assert_eq!(rig.enter_at(Nanos(1_100)).pmi, Some(PmiOutcome::Nmi));
    assert_eq!(rig.pmu.stats().throttled, 0);
}

#[test]
fn p24_amds_ignores_all_but_the_counters() {
    let mut rig = Rig::of(PmuModel::AMD_V2);
    rig.write(PERF_CTL0, 0x53_0076);
    rig.write(PERF_CNTR_GLOBAL_STATUS_SET, u64::MAX);
    assert_eq!(rig.read(PERF_CNTR_GLOBAL_STATUS), 0x3F);
    assert_eq!(rig.read(PERF_CNTR_GLOBAL_STATUS_SET), 0);
    assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi));
    rig.write(PERF_CNTR_GLOBAL_STATUS_CLR, 0x5);
    assert_eq!(rig.read(PERF_CNTR_GLOBAL_STATUS), 0x3A);
}
