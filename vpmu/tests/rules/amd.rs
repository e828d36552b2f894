// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P30 to P33: AMD's registers.

use vpmu::msr::{
    K7_PERF_CTR0, K7_PERF_EVT_SEL0, PERF_CNTR_GLOBAL_CTL, PERF_CNTR_GLOBAL_STATUS, PERF_CTL0,
    PERF_CTR0,
};
use vpmu::{Event, PmiOutcome, PmuModel};

use crate::rig::{Rig, TOP};

/// Core cycles, user and kernel, enabled.
const CYCLES: u64 = 0x43_0076;
/// The same with INT.
const CYCLES_INT: u64 = 0x53_0076;

#[test]
fn p30_what_a_select_does_not_have_is_ignored() {
    for bit in 0..64 {
        let mut rig = Rig::of(PmuModel::AMD_K7);
        rig.write(K7_PERF_EVT_SEL0, 1 << bit);
        let ignored = matches!(bit, 19 | 21 | 36..40 | 42..);
        let read = if ignored { 0 } else { 1 << bit };
        assert_eq!(rig.read(K7_PERF_EVT_SEL0), read, "bit {bit}");
    }
}

#[test]
fn p30_the_event_has_twelve_bits() {
    let mut rig = Rig::of(PmuModel::AMD_CORE);
    rig.write(PERF_CTL0, 0x1_0043_0187);
    let event = rig.pmu.source().running(0).map(|config| config.event);
    let other = Event::Other {
        select: 0x187,
        umask: 1,
    };
    assert_eq!(event, Some(other));
    rig.count(5);
    rig.write(PERF_CTL0, 0x301_0043_0187);
    assert_eq!(
        rig.pmu.source().running(0).map(|config| config.event),
        Some(other)
    );
    rig.count(5);
    assert_eq!(
        rig.read(PERF_CTR0),
        10,
        "guest-only and host-only do nothing"
    );
}

#[test]
fn p31_counters_take_48_bits_and_ignore_the_rest() {
    let mut rig = Rig::of(PmuModel::AMD_K7);
    for value in [0, 0x8000_0000, 0x1234_5678_9ABC, u64::MAX] {
        rig.write(K7_PERF_CTR0, value);
        assert_eq!(rig.read(K7_PERF_CTR0), value & TOP);
    }
}

#[test]
fn p32_two_numbers_are_one_register() {
    for n in 0..4 {
        let mut rig = Rig::of(PmuModel::AMD_CORE);
        rig.write(K7_PERF_EVT_SEL0.nth(n), CYCLES);
        rig.write(PERF_CTR0.nth(2 * n), 1_000);
        rig.count(7);
        assert_eq!(rig.read(PERF_CTL0.nth(2 * n)), CYCLES);
        assert_eq!(rig.read(K7_PERF_CTR0.nth(n)), 1_007);
        rig.write(PERF_CTL0.nth(2 * n), 0);
        rig.write(K7_PERF_CTR0.nth(n), 5);
        rig.count(7);
        assert_eq!(rig.read(K7_PERF_EVT_SEL0.nth(n)), 0);
        assert_eq!(rig.read(PERF_CTR0.nth(2 * n)), 5);
    }
    let mut rig = Rig::of(PmuModel::AMD_CORE);
    rig.write(PERF_CTR0.nth(10), 9);
    assert_eq!(rig.pmu.read_pmc(5), Some(9), "the last two have one number");
    let mut k7 = Rig::of(PmuModel::AMD_K7);
    k7.refuse(PERF_CTL0, 0);
    k7.refuse(PERF_CTR0, 0);
}

#[test]
fn p33_the_global_registers_ignore_what_they_do_not_have() {
    let mut rig = Rig::of(PmuModel::AMD_V2);
    assert_eq!(rig.read(PERF_CNTR_GLOBAL_CTL), 0x3F);
    rig.write(PERF_CNTR_GLOBAL_CTL, !0b10);
    assert_eq!(rig.read(PERF_CNTR_GLOBAL_CTL), 0x3D);
    for n in 0..2 {
        rig.write(PERF_CTL0.nth(2 * n), CYCLES);
        rig.write(PERF_CTR0.nth(2 * n), TOP);
    }
    rig.count(1);
    assert_eq!(rig.read(PERF_CNTR_GLOBAL_STATUS), 0b01);
    for value in [0, 1, u64::MAX] {
        rig.refuse(PERF_CNTR_GLOBAL_STATUS, value);
    }
    let mut core = Rig::of(PmuModel::AMD_CORE);
    core.refuse(PERF_CNTR_GLOBAL_CTL, 0);
}

#[test]
fn p14_without_a_status_register_the_wrap_is_what_shows() {
    let mut rig = Rig::of(PmuModel::AMD_K7);
    rig.write(K7_PERF_CTR0, TOP);
    rig.write(K7_PERF_EVT_SEL0, CYCLES_INT);
    rig.count(4);
    assert_eq!(rig.read(K7_PERF_CTR0), TOP);
    assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi));
    assert_eq!(rig.read(K7_PERF_CTR0), 3);
}
