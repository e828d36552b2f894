// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P08: a counter counts while it is enabled, and only then. P09: reads never go back.

use vpmu::msr::{IA32_PERF_GLOBAL_CTRL, IA32_PERFEVTSEL0};
use vpmu::{
    CounterId, CounterSource, CounterState, Event, EventConfig, EventSelect, MsrWrite, NotCounted,
    PmuModel, VcpuPmu, Wake,
};

use crate::rig::{CYCLES, Rig};

#[test]
fn p08_both_enable_bits_are_needed() {
    for (select, control, counted) in [
        (CYCLES, 0xF, 50),
        (CYCLES, 0b0100, 50),
        (CYCLES, 0b1011, 0),
        (CYCLES, 0, 0),
        (CYCLES & !EventSelect::EN, 0xF, 0),
        (CYCLES & !EventSelect::EN, 0, 0),
    ] {
        let mut rig = Rig::new();
        rig.control(control);
        rig.select(2, select);
        rig.count(50);
        assert_eq!(
            rig.value(2),
            counted,
            "select {select:#x}, control {control:#x}"
        );
        assert_eq!(rig.pmu.counting(), counted != 0);
        let state = if counted != 0 {
            CounterState::Counting
        } else {
            CounterState::Disabled
        };
        assert_eq!(rig.state(CounterId::Gp(2)), state);
    }
}

#[test]
fn p08_disabled_stretches_are_not_counted() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES);
    rig.count(1);
    rig.select(0, 0x3C);
    rig.count(10);
    rig.select(0, CYCLES);
    rig.count(100);
    rig.control(0);
    rig.count(1_000);
    rig.control(1);
    rig.count(10_000);
    assert_eq!(rig.value(0), 10_101);
    assert_eq!(rig.totals(CounterId::Gp(0)).counted, 10_101);
}

#[test]
fn p08_counts_before_a_new_event_stay() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES);
    rig.count(5);
    rig.select(0, CYCLES | 0x100);
    assert_eq!(
        rig.pmu.source().running(0).map(|config| config.event),
        Some(Event::RefCycles)
    );
    rig.count(6);
    assert_eq!(rig.value(0), 11);
}

#[test]
fn p08_writing_the_same_again_loses_nothing() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES);
    for _ in 0..10 {
        rig.count(3);
        rig.select(0, CYCLES);
        rig.control(0xF);
    }
    assert_eq!(rig.value(0), 30);
}

/// A source that knows how often it was started, for starting can be costly.
#[derive(Default)]
struct Starts(u32);

impl CounterSource for Starts {
    fn supports(&self, _config: &EventConfig) -> bool {
        true
    }

    fn start(&mut self, _slot: usize, _config: &EventConfig) -> Result<(), NotCounted> {
        self.0 += 1;
        Ok(())
    }

    fn stop(&mut self, _slot: usize) {}

    fn take(&mut self, _slot: usize) -> u64 {
        0
    }

    fn arm(&mut self, _slot: usize, distance: u64) -> Wake {
        Wake::InCycles(distance)
    }
}

#[test]
fn p08_a_slot_is_started_anew_only_for_another_event() {
    let mut pmu = VcpuPmu::new(PmuModel::INTEL_V2, Starts::default());
    for (select, starts) in [
        (CYCLES, 1),
        (CYCLES, 1),
        (CYCLES | EventSelect::INT, 1),
        (CYCLES | EventSelect::PIN_CONTROL, 1),
        (CYCLES | 0x100, 2),
        (0, 2),
        (CYCLES | 0x100, 3),
    ] {
        assert_eq!(pmu.write_msr(IA32_PERFEVTSEL0, select), MsrWrite::Done);
        assert_eq!(pmu.write_msr(IA32_PERF_GLOBAL_CTRL, 0xF), MsrWrite::Done);
        assert_eq!(pmu.source().0, starts, "{select:#x}");
    }
}

#[test]
fn p08_counters_are_independent() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES);
    rig.count(1);
    rig.select(3, CYCLES);
    rig.count(1);
    rig.control(0b1000);
    rig.count(1);
    assert_eq!([0, 1, 2, 3].map(|n| rig.value(n)), [2, 0, 0, 2]);
}

#[test]
fn p08_a_disabled_counter_leaves_its_slot() {
    let mut rig = Rig::new();
    rig.select(1, CYCLES);
    assert!(rig.pmu.source().running(1).is_some());
    rig.control(0);
    assert!(rig.pmu.source().running(1).is_none());
    rig.control(0xF);
    assert!(rig.pmu.source().running(1).is_some());
    rig.select(1, 0);
    assert!(rig.pmu.source().running(1).is_none());
}

#[test]
fn p09_reads_follow_the_counts_across_entries() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES);
    let mut total = 0;
    for counts in [0, 1, 5, 0, 1 << 20, 3] {
        rig.count(counts);
        total += counts;
        assert_eq!(rig.value(0), total);
        rig.enter();
        assert_eq!(rig.value(0), total);
    }
    assert_eq!(
        rig.pmu.counters().next().map(|counter| counter.value),
        Some(total)
    );
}
