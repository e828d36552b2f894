// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the source is told of entries and exits, which is what a clock starts and stops by.

use vpmu::msr::{IA32_DEBUGCTL, IA32_PERFEVTSEL0};
use vpmu::{
    CounterSource, EventConfig, MsrWrite, Nanos, NotCounted, PmiOutcome, PmuModel, VcpuPmu, Wake,
};

use crate::rig::{Apic, CYCLES, CYCLES_INT};

/// A source that keeps what it is told, oldest first; every count overflows.
#[derive(Default)]
struct Told(Vec<&'static str>);

impl CounterSource for Told {
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
        Ok(())
    }

    fn stop(&mut self, _slot: usize) {}

    fn take(&mut self, _slot: usize) -> u64 {
        1 << 48
    }

    fn arm(&mut self, _slot: usize, distance: u64) -> Wake {
        self.0.push("arm");
        Wake::InCycles(distance)
    }
}

struct Bench {
    pmu: VcpuPmu<Told>,
    apic: Apic,
}

impl Bench {
    fn new(select: u64) -> Self {
        let mut pmu = VcpuPmu::new(PmuModel::INTEL_V2, Told::default());
        assert_eq!(pmu.write_msr(IA32_PERFEVTSEL0, select), MsrWrite::Done);
        Self {
            pmu,
            apic: Apic {
                answer: Ok(PmiOutcome::Nmi),
                asked: 0,
            },
        }
    }

    fn enter(&mut self) {
        let entry = self.pmu.enter_guest(Nanos(1), &mut self.apic);
        assert_eq!(entry.is_err(), self.apic.answer.is_err());
    }

    fn told(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.pmu.source_mut().0)
    }
}

#[test]
fn told_of_each_entry_last_of_all_and_of_each_exit() {
    let mut bench = Bench::new(CYCLES_INT);
    for _ in 0..2 {
        bench.pmu.set_min_rearm(Nanos(0));
        bench.enter();
        bench.pmu.exit_guest();
        assert_eq!(bench.told(), ["arm", "enter", "exit"]);
    }
    bench.pmu.exit_guest();
    assert_eq!(bench.told(), [""; 0], "it had left");
}

#[test]
fn told_though_the_throttle_holds_or_the_sink_failed() {
    let mut bench = Bench::new(CYCLES_INT);
    bench.enter();
    bench.told();
    bench.enter();
    assert_eq!(bench.told(), ["enter"], "throttled");
    bench.pmu.set_min_rearm(Nanos(0));
    bench.apic.answer = Err(());
    bench.enter();
    assert_eq!(bench.told(), ["enter"], "failed");
}

#[test]
fn not_told_while_nothing_runs() {
    let mut bench = Bench::new(CYCLES & !(1 << 22));
    bench.enter();
    bench.pmu.exit_guest();
    assert_eq!(bench.told(), [""; 0]);
    let mut frozen = Bench::new(CYCLES_INT);
    assert_eq!(frozen.pmu.write_msr(IA32_DEBUGCTL, 1 << 12), MsrWrite::Done);
    frozen.enter();
    assert_eq!(frozen.told(), [""; 0], "the PMI stopped them all");
}

#[test]
fn told_of_the_exit_though_the_guest_stopped_everything_meanwhile() {
    let mut bench = Bench::new(CYCLES);
    bench.enter();
    assert_eq!(bench.pmu.write_msr(IA32_PERFEVTSEL0, 0), MsrWrite::Done);
    bench.pmu.exit_guest();
    assert_eq!(bench.told(), ["enter", "exit"]);
}
