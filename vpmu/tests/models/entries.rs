// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! When the source is told of entries and exits: while something counts, and never one without the
//! other.

use vpmu::{
    CounterId, CounterSource, EventConfig, MsrWrite, Nanos, NotCounted, PmiOutcome, PmuModel,
    VcpuPmu, Wake,
};

use crate::rig::{ALL_LEVELS, Apic, DEBUGCTL, EN, FREEZE, INT, counter_msr, cycles, select_msr};
use crate::shapes::{self, INTEL_FROM_V2};

/// Writes down in which order it was called.
#[derive(Clone, Debug, Default)]
struct Diary(Vec<&'static str>);

impl CounterSource for Diary {
    fn enter_guest(&mut self) {
        self.0.push("enter");
    }

    fn exit_guest(&mut self) {
        self.0.push("exit");
    }

    fn supports(&self, _config: &EventConfig) -> bool {
        true
    }

    fn start(&mut self, _slot: usize, _config: &EventConfig) -> Result<(), NotCounted> {
        self.0.push("start");
        Ok(())
    }

    fn stop(&mut self, _slot: usize) {
        self.0.push("stop");
    }

    fn take(&mut self, _slot: usize) -> u64 {
        self.0.push("take");
        1
    }

    fn arm(&mut self, _slot: usize, distance: u64) -> Wake {
        self.0.push("arm");
        Wake::InCycles(distance)
    }
}

struct Bench {
    model: PmuModel,
    pmu: VcpuPmu<Diary>,
    apic: Apic,
}

impl Bench {
    fn new(model: PmuModel) -> Self {
        let mut pmu = VcpuPmu::new(model, Diary::default());
        pmu.set_min_rearm(Nanos(0));
        let answer = Ok(PmiOutcome::Nmi);
        Self {
            model,
            pmu,
            apic: Apic { answer, asked: 0 },
        }
    }

    #[track_caller]
    fn select(&mut self, select: u64) {
        let msr = select_msr(&self.model, 0);
        assert_eq!(self.pmu.write_msr(msr, select), MsrWrite::Done);
    }

    fn enter(&mut self) {
        self.pmu
            .enter_guest(Nanos(0), &mut self.apic)
            .expect("the APIC works");
    }

    fn told(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.pmu.source_mut().0)
    }
}

#[test]
fn p08_the_source_is_told_of_an_entry_last_and_only_while_something_runs() {
    for model in shapes::all() {
        let mut bench = Bench::new(model);
        bench.enter();
        bench.pmu.exit_guest();
        assert_eq!(bench.told(), [""; 0], "{model}: nothing runs");
        bench.select(cycles(&model) | ALL_LEVELS | EN | INT);
        bench.enter();
        let told = bench.told();
        assert_eq!(told.last(), Some(&"enter"), "{model}: {told:?}");
        assert!(told.contains(&"arm"), "{model}: {told:?}");
        let enters = told.iter().filter(|call| **call == "enter").count();
        assert_eq!(enters, 1, "{model}: {told:?}");
        bench.pmu.exit_guest();
        let told = bench.told();
        assert_eq!(told.last(), Some(&"exit"), "{model}: {told:?}");
        bench.select(0);
        bench.told();
        bench.enter();
        bench.pmu.exit_guest();
        assert_eq!(bench.told(), [""; 0], "{model}: it was stopped");
    }
}

#[test]
fn p08_exits_are_told_as_often_as_entries() {
    for model in shapes::all() {
        let mut bench = Bench::new(model);
        bench.pmu.exit_guest();
        assert_eq!(bench.told(), [""; 0], "{model}: no entry, no exit");
        bench.select(cycles(&model) | ALL_LEVELS | EN);
        bench.told();
        bench.pmu.exit_guest();
        assert_eq!(bench.told(), [""; 0], "{model}: not entered yet");
        bench.enter();
        bench.told();
        bench.pmu.exit_guest();
        bench.pmu.exit_guest();
        let exits = bench.told().iter().filter(|call| **call == "exit").count();
        assert_eq!(exits, 1, "{model}");
    }
}

#[test]
fn p27_p28_frozen_by_its_entry_it_is_not_told() {
    for model in shapes::of(&INTEL_FROM_V2) {
        let mut bench = Bench::new(model);
        assert_eq!(bench.pmu.write_msr(DEBUGCTL, FREEZE), MsrWrite::Done);
        let msr = counter_msr(&model, CounterId::Gp(0));
        assert_eq!(bench.pmu.write_msr(msr, u64::MAX), MsrWrite::Done);
        bench.select(cycles(&model) | ALL_LEVELS | EN | INT);
        bench.told();
        bench.enter();
        assert_eq!(bench.apic.asked, 1, "{model}");
        assert!(!bench.pmu.counting(), "{model}");
        let told = bench.told();
        assert!(!told.contains(&"enter"), "{model}: {told:?}");
        assert!(told.contains(&"stop"), "{model}: {told:?}");
    }
}
