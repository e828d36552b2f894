// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P20: by when the next entry is needed.

use vpmu::source::script::ScriptSource;
use vpmu::{
    CounterSource, EventConfig, Nanos, NotCounted, PmiOutcome, PmuModel, Recheck, VcpuPmu, Wake,
};

use crate::rig::{Apic, CYCLES, CYCLES_INT, Rig, before_overflow};

#[test]
fn p20_nothing_to_wait_for() {
    let mut rig = Rig::new();
    assert_eq!(rig.enter().recheck, None, "nothing enabled");
    rig.select(0, CYCLES);
    assert_eq!(
        rig.enter().recheck,
        None,
        "an overflow without interrupt needs no entry"
    );
    let mut rig = Rig::with_source(ScriptSource::supporting(|_| false));
    rig.select(0, CYCLES_INT);
    assert_eq!(rig.enter().recheck, None, "it will never overflow");
    let mut rig = Rig::new();
    rig.control(0);
    rig.select(0, CYCLES_INT);
    assert_eq!(rig.enter().recheck, None, "not enabled");
}

#[test]
fn p20_the_nearest_overflow_with_interrupt_counts() {
    let mut rig = Rig::new();
    rig.set_value(0, before_overflow(900));
    rig.select(0, CYCLES_INT);
    rig.set_value(1, before_overflow(700));
    rig.select(1, CYCLES_INT);
    rig.set_value(2, before_overflow(5));
    rig.select(2, CYCLES);
    assert_eq!(rig.enter().recheck, Some(Recheck::InCycles(700)));
    rig.count(200);
    assert_eq!(rig.enter().recheck, Some(Recheck::InCycles(500)));
    rig.count(500);
    assert_eq!(
        rig.enter().recheck,
        Some(Recheck::InCycles(200)),
        "the other one is next"
    );
}

#[test]
fn p20_after_an_overflow_it_is_far_away() {
    let mut rig = Rig::new();
    rig.set_value(0, before_overflow(5));
    rig.select(0, CYCLES_INT);
    rig.count(8);
    assert_eq!(rig.enter().recheck, Some(Recheck::InCycles((1 << 48) - 3)));
}

#[test]
fn p20_coming_back_when_told_is_coming_back_in_time() {
    let mut rig = Rig::new();
    rig.set_value(0, before_overflow(1_234));
    rig.select(0, CYCLES_INT);
    let Some(Recheck::InCycles(cycles)) = rig.enter().recheck else {
        panic!("an overflow lies ahead");
    };
    rig.count(cycles);
    assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi));
    assert_eq!(rig.pmu.stats().skid.max, 0);
}

#[test]
fn p20_the_throttle_comes_first() {
    let mut rig = Rig::new();
    rig.pmu.set_min_rearm(Nanos(100));
    rig.select(0, CYCLES_INT);
    rig.select(1, CYCLES_INT);
    rig.set_value(0, before_overflow(1));
    rig.count(1);
    rig.enter_at(Nanos(10));
    rig.set_value(0, before_overflow(1));
    rig.set_value(1, before_overflow(50));
    rig.count(1);
    assert_eq!(
        rig.enter_at(Nanos(20)).recheck,
        Some(Recheck::At(Nanos(110)))
    );
}

#[test]
fn p20_the_source_is_armed_with_the_distance() {
    let mut rig = Rig::new();
    rig.set_value(2, before_overflow(77));
    rig.select(2, CYCLES_INT);
    rig.select(3, CYCLES);
    rig.enter();
    assert_eq!(rig.pmu.source().armed(2), Some(77));
    assert_eq!(rig.pmu.source().armed(3), None);
}

/// A source that notices overflows by itself.
struct Wakes;

impl CounterSource for Wakes {
    fn supports(&self, _config: &EventConfig) -> bool {
        true
    }

    fn start(&mut self, _slot: usize, _config: &EventConfig) -> Result<(), NotCounted> {
        Ok(())
    }

    fn stop(&mut self, _slot: usize) {}

    fn take(&mut self, _slot: usize) -> u64 {
        0
    }

    fn arm(&mut self, slot: usize, _distance: u64) -> Wake {
        if slot == 0 {
            Wake::BySource
        } else {
            Wake::InCycles(9)
        }
    }
}

#[test]
fn p20_a_source_that_wakes_the_vcpu_needs_no_kick() {
    let mut pmu = VcpuPmu::new(PmuModel::INTEL_V2, Wakes);
    let mut apic = Apic {
        answer: Ok(PmiOutcome::Nmi),
        asked: 0,
    };
    let _ = pmu.write_msr(vpmu::msr::IA32_PERFEVTSEL0, CYCLES_INT);
    let entry = pmu
        .enter_guest(Nanos(0), &mut apic)
        .expect("the APIC works");
    assert_eq!(entry.recheck, None);
    let _ = pmu.write_msr(vpmu::msr::IA32_PERFEVTSEL0.nth(1), CYCLES_INT);
    let entry = pmu
        .enter_guest(Nanos(0), &mut apic)
        .expect("the APIC works");
    assert_eq!(entry.recheck, Some(Recheck::InCycles(9)));
}
