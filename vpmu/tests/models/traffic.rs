// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random register traffic on every model: all there is to see is what the reference shows.

use std::sync::Arc;

use proptest::prelude::*;
use vpmu::source::script::ScriptSource;
use vpmu::{
    EventFilter, FilterAction, FilterEntry, MsrId, MsrRead, MsrWrite, Nanos, PmuKind, PmuModel,
    PmuSnapshot, PmuStats, UnsupportedSelects, VcpuPmu,
};

use crate::reference::{Answered, Reference, Saved, Sieve, supported};
use crate::rig::Apic;
use crate::script::{Step, steps};
use crate::shapes::{self, slot};
use crate::table::{Register, registers};

type Pmu = VcpuPmu<ScriptSource>;

fn pmu(model: PmuModel) -> Pmu {
    VcpuPmu::new(model, ScriptSource::supporting(supported))
}

fn filter(sieve: Sieve) -> Option<Arc<EventFilter>> {
    let (action, fixed) = match sieve {
        Sieve::Open => return None,
        Sieve::NoInstructions => (FilterAction::Deny, 0b010),
        Sieve::OnlyInstructions => (FilterAction::Allow, 0b011),
    };
    let instructions = FilterEntry::event(0xC0, 0);
    let filter = EventFilter::new(action, [instructions], fixed).expect("it is short");
    Some(Arc::new(filter))
}

/// Both of them, and the snapshot that was kept last.
struct Pair {
    pmu: Pmu,
    reference: Reference,
    saved: Option<(PmuSnapshot, Saved)>,
    registers: Vec<Register>,
}

impl Pair {
    fn new(model: PmuModel) -> Self {
        let mut pmu = pmu(model);
        let reference = Reference::new(model);
        pmu.set_min_rearm(Nanos(reference.min_rearm));
        Self {
            pmu,
            reference,
            saved: None,
            registers: registers(&model),
        }
    }

    fn one(&mut self, step: &Step) {
        let Self { pmu, reference, .. } = self;
        match *step {
            Step::Write(msr, value) => {
                let expected = match reference.write(msr, value) {
                    Answered::Done => MsrWrite::Done,
                    Answered::NotMine => MsrWrite::NotHandled,
                    Answered::Fault | Answered::Value(_) => MsrWrite::GeneralProtection,
                };
                assert_eq!(pmu.write_msr(MsrId(msr), value), expected, "{step:x?}");
            }
            Step::Read(msr) => {
                let expected = match reference.read(msr) {
                    Answered::Value(value) => MsrRead::Value(value),
                    Answered::NotMine => MsrRead::NotHandled,
                    Answered::Fault | Answered::Done => MsrRead::GeneralProtection,
                };
                assert_eq!(pmu.read_msr(MsrId(msr)), expected, "{step:x?}");
            }
            Step::Rdpmc(index) => {
                let expected = reference.rdpmc(index);
                assert_eq!(pmu.read_pmc(index), expected, "{step:x?}");
            }
            Step::Count(counts) => {
                reference.all().for_each(|at| reference.count(at, counts));
                pmu.source_mut().count(counts);
            }
            Step::CountSlot(wanted, counts) => {
                let at = reference
                    .all()
                    .find(|at| slot(reference.state.counters[*at].id) == wanted);
                reference.count(at.expect("every slot has a counter"), counts);
                pmu.source_mut().count_slot(wanted, counts);
            }
            Step::Time(ns) => reference.now += ns,
            Step::Enter(answer) => {
                let mut apic = Apic {
                    answer: answer.ok_or(()),
                    asked: 0,
                };
                let asks = u32::from(reference.pending_pmi());
                let expected = reference.enter(answer);
                let entry = pmu.enter_guest(Nanos(reference.now), &mut apic).ok();
                let said = entry.map(|entry| (entry.pmi, entry.recheck));
                assert_eq!((said, apic.asked), (expected, asks), "{step:?}");
                pmu.exit_guest();
            }
            Step::MinRearm(ns) => {
                reference.min_rearm = ns;
                pmu.set_min_rearm(Nanos(ns));
            }
            Step::Filter(sieve) => {
                reference.sieve = sieve;
                pmu.set_filter(filter(sieve));
            }
            Step::Reset => {
                reference.reset();
                pmu.reset();
            }
            Step::Move(now) => self.move_to(now),
            Step::Save => self.saved = Some((pmu.snapshot(Nanos(reference.now)), reference.save())),
            Step::Load => self.load(),
        }
    }

    fn move_to(&mut self, now: u64) {
        let Self {
            pmu: old,
            reference,
            ..
        } = self;
        let snapshot = old.snapshot(Nanos(reference.now));
        reference.move_to(now);
        let mut new = pmu(reference.model);
        new.set_min_rearm(Nanos(reference.min_rearm));
        new.set_filter(filter(reference.sieve));
        new.restore(&snapshot, Nanos(now))
            .expect("it is the same model");
        self.pmu = new;
    }

    fn load(&mut self) {
        if let Some((snapshot, saved)) = &self.saved {
            self.reference.load(saved);
            let now = Nanos(self.reference.now);
            self.pmu
                .restore(snapshot, now)
                .expect("it is the same model");
        }
    }

    /// Compares all there is to see.
    fn compare(&self, step: &Step) {
        let Self { pmu, reference, .. } = self;
        // A copy is looked at, so that looking does not settle what the PMU left for later.
        let mut copy = pmu.clone();
        let now = Nanos(reference.now);
        assert_eq!(
            copy.pending_pmi(now),
            reference.pending_pmi(),
            "after {step:x?}"
        );
        for register in &self.registers {
            let expected = match reference.read(register.msr.0) {
                Answered::Value(value) => value,
                other => panic!("{} is there, not {other:?}", register.name),
            };
            assert_eq!(
                copy.read_msr(register.msr),
                MsrRead::Value(expected),
                "{} after {step:x?}",
                register.name
            );
        }
        assert_eq!(copy.counting(), reference.counting(), "after {step:x?}");
        let views: Vec<_> = copy.counters().collect();
        assert_eq!(views.len(), reference.all().len());
        for (at, view) in views.into_iter().enumerate() {
            let expected = (
                reference.state.counters[at].id,
                reference.select(at),
                reference.value(at),
                reference.counter_state(at),
            );
            let seen = (view.id, view.select.0, view.value, view.state);
            assert_eq!(seen, expected, "after {step:x?}");
            let running = copy.source().running(slot(view.id)).is_some();
            assert_eq!(running, reference.counts(at), "{} after {step:x?}", view.id);
        }
        totals(copy.stats(), reference, step);
    }
}

fn totals(stats: &PmuStats, reference: &Reference, step: &Step) {
    let totals = &reference.totals;
    let overflows: u128 = totals.overflows.iter().sum();
    assert_eq!(u128::from(stats.overflows), overflows, "after {step:x?}");
    let counters: Vec<_> = stats.counters().collect();
    assert_eq!(counters.len(), reference.all().len());
    for (at, (id, of_it)) in counters.into_iter().enumerate() {
        assert_eq!(id, reference.state.counters[at].id);
        let counted = totals.counted[at].min(u64::MAX.into());
        let seen = (u128::from(of_it.counted), u128::from(of_it.overflows));
        assert_eq!(
            seen,
            (counted, totals.overflows[at]),
            "{id} after {step:x?}"
        );
    }
    assert_eq!(
        [
            stats.pmis,
            stats.masked,
            stats.undeliverable,
            stats.throttled
        ],
        [
            totals.pmis,
            totals.masked,
            totals.undeliverable,
            totals.throttled
        ],
        "after {step:x?}"
    );
    let sum: u128 = totals.skids.iter().sum();
    let max = totals.skids.iter().copied().max().unwrap_or(0);
    assert_eq!(stats.skid.count, totals.skids.len() as u64, "{step:x?}");
    assert_eq!(
        u128::from(stats.skid.sum),
        sum.min(u64::MAX.into()),
        "{step:x?}"
    );
    assert_eq!(u128::from(stats.skid.max), max, "after {step:x?}");
    listed(&stats.unsupported_selects, &totals.not_counted);
    listed(&stats.filtered_selects, &totals.filtered);
}

/// The list has each of these once, or as many as it can take.
fn listed(list: &UnsupportedSelects, expected: &std::collections::BTreeSet<u64>) {
    let seen: std::collections::BTreeSet<_> =
        list.as_slice().iter().map(|select| select.0).collect();
    assert_eq!(seen.len(), list.as_slice().len(), "each once");
    assert!(seen.is_subset(expected), "{seen:x?} of {expected:x?}");
    assert_eq!(seen.len(), expected.len().min(UnsupportedSelects::CAPACITY));
    assert_eq!(list.truncated(), expected.len() > seen.len());
}

fn run(model: PmuModel, steps: &[Step]) {
    let mut pair = Pair::new(model);
    for step in steps {
        pair.one(step);
        pair.reference.settle();
        pair.compare(step);
    }
}

/// One of this kind's models, and something that happens to it.
fn of_kind(kind: PmuKind) -> impl Strategy<Value = (PmuModel, Vec<Step>)> {
    proptest::sample::select(shapes::of(&[kind])).prop_flat_map(|model| (Just(model), steps(model)))
}

macro_rules! traffic {
    ($($name:ident: $kind:ident,)*) => {
        proptest! {
            #![proptest_config(ProptestConfig {
                failure_persistence: None,
                ..ProptestConfig::default()
            })]

            $(#[test]
            fn $name((model, steps) in of_kind(PmuKind::$kind)) {
                run(model, &steps);
            })*
        }
    };
}

traffic! {
    traffic_of_amd_k7: AmdK7,
    traffic_of_amd_core: AmdCore,
    traffic_of_amd_v2: AmdV2,
    traffic_of_intel_v1: IntelV1,
    traffic_of_intel_v2: IntelV2,
    traffic_of_intel_v3: IntelV3,
    traffic_of_intel_v4: IntelV4,
    traffic_of_intel_v5: IntelV5,
}
