// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can happen to a PMU, and the bench it happens on.

use proptest::prelude::*;
use vpmu::source::script::ScriptSource;
use vpmu::{Event, EventConfig, MsrId, Nanos, PmiOutcome, PmiSink, PmuKind, PmuModel, VcpuPmu};

pub(crate) const PMC: u32 = 0xC1;
pub(crate) const SELECT: u32 = 0x186;
pub(crate) const STATUS: u32 = 0x38E;
pub(crate) const CONTROL: u32 = 0x38F;
pub(crate) const OVF_CTRL: u32 = 0x390;
/// There without fixed-function counters, too: all of it is reserved.
pub(crate) const FIXED_CTRL: u32 = 0x38D;

/// Every register that reads as a value and shows state.
pub(crate) const VISIBLE: [u32; 10] = [
    PMC,
    PMC + 1,
    PMC + 2,
    PMC + 3,
    SELECT,
    SELECT + 1,
    SELECT + 2,
    SELECT + 3,
    STATUS,
    CONTROL,
];

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(u32, u64),
    Read(u32),
    Rdpmc(u32),
    /// In every slot that runs.
    Count(u64),
    CountSlot(usize, u64),
    Time(u64),
    Enter(Answer),
    MinRearm(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Sink(PmiOutcome),
    Broken,
}

/// A local APIC that gives one answer.
pub(crate) struct Apic {
    pub(crate) answer: Answer,
    pub(crate) asked: u32,
}

impl PmiSink for Apic {
    type Error = ();

    fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, ()> {
        self.asked += 1;
        match self.answer {
            Answer::Sink(outcome) => Ok(outcome),
            Answer::Broken => Err(()),
        }
    }
}

/// The source can count this.
pub(crate) fn supported(config: &EventConfig) -> bool {
    config.event == Event::CoreCycles && config.usr && config.os && !config.edge
}

pub(crate) fn pmu() -> VcpuPmu<ScriptSource> {
    let model = PmuModel::builder(PmuKind::IntelV2).fixed(0).build();
    let source = ScriptSource::supporting(supported);
    let mut pmu = VcpuPmu::new(model.expect("there are such"), source);
    pmu.set_min_rearm(Nanos(100));
    pmu
}

/// Does what is the same whoever looks on: all but entering.
pub(crate) fn apply(pmu: &mut VcpuPmu<ScriptSource>, now: &mut u64, step: &Step) {
    match *step {
        Step::Write(msr, value) => _ = pmu.write_msr(MsrId(msr), value),
        Step::Read(msr) => _ = pmu.read_msr(MsrId(msr)),
        Step::Rdpmc(index) => _ = pmu.read_pmc(index),
        Step::Count(counts) => pmu.source_mut().count(counts),
        Step::CountSlot(slot, counts) => pmu.source_mut().count_slot(slot, counts),
        Step::Time(ns) => *now += ns,
        Step::MinRearm(ns) => pmu.set_min_rearm(Nanos(ns)),
        Step::Enter(_) => unreachable!("entering needs an APIC"),
    }
}

fn counter_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (1..200_u32).prop_map(|before| u64::from(before.wrapping_neg())),
        2 => 0..1_000_u64,
        1 => any::<u64>(),
    ]
}

fn select_value() -> impl Strategy<Value = u64> {
    let event = prop_oneof![8 => Just(0x3C), 1 => Just(0xC0), 1 => Just(0x13C)];
    let levels = prop_oneof![8 => Just(3_u64), 1 => 0..3_u64];
    let rare = prop_oneof![20 => Just(0_u64), 1 => (0..64_u32).prop_map(|bit| 1 << bit)];
    (
        event,
        levels,
        proptest::bool::weighted(0.8),
        proptest::bool::weighted(0.7),
        rare,
    )
        .prop_map(|(event, levels, enabled, interrupts, rare)| {
            event | levels << 16 | u64::from(interrupts) << 20 | u64::from(enabled) << 22 | rare
        })
}

fn control_value() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0xF), 4 => 0..16_u64, 1 => (0..64_u32).prop_map(|bit| 1 << bit)]
}

fn counts() -> impl Strategy<Value = u64> {
    let width = 1_u64 << 48;
    prop_oneof![
        8 => 0..150_u64,
        1 => 0..1_u64 << 33,
        1 => width - 200..width + 200,
        1 => (0..1_000_u64).prop_map(move |more| 3 * width + more),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        6 => Just(Answer::Sink(PmiOutcome::Nmi)),
        2 => Just(Answer::Sink(PmiOutcome::Fixed(0xEE))),
        2 => Just(Answer::Sink(PmiOutcome::Masked)),
        1 => Just(Answer::Sink(PmiOutcome::Undeliverable)),
        1 => Just(Answer::Broken),
    ]
}

fn any_msr() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => proptest::sample::select(&VISIBLE[..]),
        1 => Just(OVF_CTRL),
        1 => proptest::sample::select(&[0xC5, 0x18A, 0x309, 0x345, FIXED_CTRL, 0x391, 0x10][..]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..4_u32, counter_value()).prop_map(|(n, value)| Step::Write(PMC + n, value)),
        5 => (0..4_u32, select_value()).prop_map(|(n, value)| Step::Write(SELECT + n, value)),
        2 => control_value().prop_map(|value| Step::Write(CONTROL, value)),
        2 => control_value().prop_map(|value| Step::Write(OVF_CTRL, value)),
        1 => (any_msr(), any::<u64>()).prop_map(|(msr, value)| Step::Write(msr, value)),
        4 => any_msr().prop_map(Step::Read),
        2 => prop_oneof![0..6_u32, any::<u32>()].prop_map(Step::Rdpmc),
        8 => counts().prop_map(Step::Count),
        2 => (0..5_usize, counts()).prop_map(|(slot, counts)| Step::CountSlot(slot, counts)),
        4 => (0..150_u64).prop_map(Step::Time),
        10 => answer().prop_map(Step::Enter),
        1 => (0..300_u64).prop_map(Step::MinRearm),
    ]
}

/// Up to 100 steps, first of all something that counts.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..100).prop_map(|mut steps| {
        steps.insert(0, Step::Write(SELECT, 0x53_003C));
        steps
    })
}
