// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The registers on the perf core. When a guest's counter overflows is their business: a PMI for the
//! guest, and nothing for the host.

use core::convert::Infallible;

use vpmu::context::{Armed, Attr, State, Step};
use vpmu::msr::{IA32_PERFEVTSEL0, IA32_PMC0};
use vpmu::{
    CounterState, EventSelect, MsrRead, MsrWrite, Nanos, PmiOutcome, PmiSink, PmuModel, Recheck,
    VcpuPmu,
};

use crate::checks::*;
use crate::rig::*;

/// A local APIC that delivers.
#[derive(Default)]
struct Apic(u32);

impl PmiSink for Apic {
    type Error = Infallible;

    fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, Infallible> {
        self.0 += 1;
        Ok(PmiOutcome::Nmi)
    }
}

/// A guest's counter with a distance of 100 beside a host's event with a period of 70.
#[test]
fn both_overflow_and_each_for_its_own() {
    let mut rig = Rig::new(1, 2);
    let host = rig.open_on_vcpu(Attr::sampling(cycles(), 70));
    let cpu = rig.cpus[0].take().unwrap();
    let mut pmu = VcpuPmu::new(PmuModel::INTEL_V2, cpu);
    let mut apic = Apic::default();
    let start = (-100_i64).cast_unsigned();
    assert_eq!(pmu.write_msr(IA32_PMC0, start), MsrWrite::Done);
    assert_eq!(pmu.write_msr(IA32_PERFEVTSEL0, 0x53_003C), MsrWrite::Done);
    // What happens, and how far each was from its overflow before.
    for (counts, guests, hosts) in [(60, 100, 70), (30, 40, 10), (10, 10, 50), (5, 1 << 48, 40)] {
        let entry = pmu.enter_guest(Nanos(0), &mut apic).unwrap();
        assert_eq!(entry.recheck, Some(Recheck::InCycles(guests)));
        assert_eq!(pmu.source_mut().arm().in_cycles, Some(hosts));
        pmu.source_mut().source_mut().count(counts);
        pmu.source_mut().count(None);
    }
    pmu.enter_guest(Nanos(0), &mut apic).unwrap();
    assert_eq!(apic.0, 1);
    assert_eq!(pmu.read_msr(IA32_PMC0), MsrRead::Value(5));
    let status = rig.perf.status(&host).unwrap();
    assert_eq!(status.overflows, 1);
    let overflows = rig.log.count(|step| matches!(step, Step::Overflow(_)));
    assert_eq!(overflows, 1, "the guest's is none of the core's");
}

/// The perf core asks for nothing where only the guest counts.
#[test]
fn the_core_is_not_armed_for_the_guest() {
    let mut rig = Rig::new(1, 2);
    rig.start(0).unwrap();
    rig.open_on_vcpu(counting());
    assert_eq!(rig.cpu(0).arm(), Armed::default());
}

#[test]
fn a_counter_that_finds_no_place_is_reported_and_stands_still() {
    let mut rig = Rig::new(1, 1);
    let host = rig.open_on_vcpu(pinned());
    let mut pmu = VcpuPmu::new(PmuModel::INTEL_V2, rig.cpus[0].take().unwrap());
    let (select, what) = (EventSelect(0x53_003C), EventSelect(0x3_003C));
    let written = pmu.write_msr(IA32_PERFEVTSEL0, select.0);
    assert_eq!(written, MsrWrite::Done, "the guest is not at fault");
    pmu.source_mut().source_mut().count(10);
    assert_eq!(pmu.read_msr(IA32_PMC0), MsrRead::Value(0));
    let state = pmu.counters().next().map(|counter| counter.state);
    assert_eq!(state, Some(CounterState::NotCounted));
    assert_eq!(pmu.stats().unsupported_selects.as_slice(), [what]);
    assert_eq!(rig.state(&host), State::Active(V0));
}
