// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can happen to a PMU of some model, most of it such as matters there.

use proptest::prelude::*;
use proptest::sample::select;
use vpmu::{CounterId, PMU_MSR_RANGES, PmiOutcome, PmuModel};

use crate::reference::{BOOTED, Sieve};
use crate::rig::{
    ALL_LEVELS, CTR_FRZ, DEBUGCTL, EN, FIXED_CTR_CTRL, FREEZE, INT, counter_msr, cycles,
    full_width, globals, select_msr,
};
use crate::shapes::{
    INTEL_FROM_V2, bits, counters, has_globals, has_status_set, is_amd, slot, wrap,
};

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(u32, u64),
    Read(u32),
    Rdpmc(u32),
    /// In every slot that runs.
    Count(u64),
    CountSlot(usize, u64),
    Time(u64),
    /// The answer of the local APIC, or none if it is broken.
    Enter(Option<PmiOutcome>),
    MinRearm(u64),
    Filter(Sieve),
    Reset,
    /// A snapshot is put up again on another host, where it is this late.
    Move(u64),
    /// A snapshot is kept; the one kept last is gone back to.
    Save,
    Load,
}

type Steps = BoxedStrategy<Vec<Step>>;

/// A value for a counter: often just before its overflow.
fn counter_value(model: &PmuModel) -> impl Strategy<Value = u64> + use<> {
    let wrap = wrap(model);
    prop_oneof![
        8 => (1..200_u64).prop_map(move |before| wrap - before),
        2 => 0..1_000_u64,
        1 => (0..64_u32).prop_map(|bit| 1 << bit),
        1 => any::<u64>(),
    ]
}

fn select_value(model: &PmuModel) -> impl Strategy<Value = u64> + use<> {
    let event = prop_oneof![
        8 => Just(cycles(model)),
        2 => Just(0xC0),
        1 => select(&[0x3C, 0x76, 0x13C, 0x1C0, 0x2E, 0][..]),
    ];
    let levels =
        prop_oneof![8 => Just(ALL_LEVELS), 1 => (0..3_u64).prop_map(|levels| levels << 16)];
    let rare = prop_oneof![
        16 => Just(0_u64),
        2 => (0..64_u32).prop_map(|bit| 1 << bit),
        1 => any::<u64>(),
    ];
    (
        event,
        levels,
        proptest::bool::weighted(0.85),
        proptest::bool::weighted(0.7),
        rare,
    )
        .prop_map(|(event, levels, enabled, interrupts, rare)| {
            let en = if enabled { EN } else { 0 };
            let int = if interrupts { INT } else { 0 };
            event | levels | en | int | rare
        })
}

/// Some of `all`, rarely one more.
fn some_of(all: u64) -> impl Strategy<Value = u64> {
    let stray = (0..64_u32).prop_map(|bit| 1 << bit);
    prop_oneof![
        4 => Just(all),
        8 => any::<u64>().prop_map(move |bits| bits & all),
        1 => (any::<u64>(), stray).prop_map(move |(bits, stray)| bits & all | stray),
        1 => any::<u64>(),
    ]
}

/// Rarely several wraps at once; not of the widest counters, which leave no room for that in 64 bits.
fn counts(model: &PmuModel) -> impl Strategy<Value = u64> + use<> {
    let wrap = wrap(model).min(1 << 48);
    prop_oneof![
        10 => 0..150_u64,
        1 => 0..1_u64 << 33,
        1 => wrap - 200..wrap + 200,
        1 => (0..1_000_u64).prop_map(move |more| 3 * wrap + more),
    ]
}

fn answer() -> impl Strategy<Value = Option<PmiOutcome>> {
    prop_oneof![
        6 => Just(Some(PmiOutcome::Nmi)),
        2 => Just(Some(PmiOutcome::Fixed(0xEE))),
        2 => Just(Some(PmiOutcome::Masked)),
        1 => Just(Some(PmiOutcome::Undeliverable)),
        1 => Just(None),
    ]
}

/// Every MSR of the PMU, one of the model's as often as one that faults, and some of others.
fn any_msr(model: &PmuModel) -> impl Strategy<Value = u32> + use<> {
    let own: Vec<u32> = crate::table::registers(model)
        .iter()
        .map(|register| register.msr.0)
        .collect();
    let all: Vec<u32> = PMU_MSR_RANGES
        .iter()
        .flat_map(|range| (0..range.count).map(|n| range.first.0 + n))
        .collect();
    prop_oneof![
        8 => select(own),
        2 => select(all),
        1 => select(&[0x10, 0x1D9, 0x1A0, 0xC000_0304][..]),
    ]
}

/// Writes to selects and to the fixed control.
fn programs(model: &PmuModel) -> BoxedStrategy<Step> {
    let selects: Vec<_> = counters(model)
        .into_iter()
        .filter_map(|id| match id {
            CounterId::Gp(n) => Some(select_msr(model, n).0),
            CounterId::Fixed(_) => None,
        })
        .collect();
    let general = (select(selects), select_value(model))
        .prop_map(|(msr, value)| Step::Write(msr, value))
        .boxed();
    if model.fixed_counters().count() == 0 {
        return general;
    }
    let field = prop_oneof![4 => Just(0xB_u64), 2 => Just(3), 1 => Just(0), 1 => 0..16_u64];
    let there: Vec<usize> = model.fixed_counters().collect();
    let fixed = proptest::collection::vec(field, there.len()).prop_map(move |fields| {
        let placed = there.iter().zip(fields);
        let value = placed.map(|(i, field)| field << (4 * i)).sum();
        Step::Write(FIXED_CTR_CTRL.0, value)
    });
    prop_oneof![2 => general, 1 => fixed].boxed()
}

/// Writes to what all counters share.
fn shared(model: &PmuModel) -> BoxedStrategy<Step> {
    let counters = bits(model);
    let [_, control, clear, set] = globals(model);
    let to = |msr: vpmu::MsrId, bits: u64| {
        some_of(bits)
            .prop_map(move |value| Step::Write(msr.0, value))
            .boxed()
    };
    let mut all = Vec::new();
    if has_globals(model) {
        all.push((4, to(control, counters)));
        all.push((3, to(clear, counters | 1 << 62 | 1 << 63)));
    }
    if has_status_set(model) {
        all.push((3, to(set, counters)));
    }
    if has_status_set(model) && !is_amd(model) {
        all.push((3, to(clear, counters | CTR_FRZ)));
        all.push((1, to(set, counters | CTR_FRZ | 1 << 62)));
    }
    if INTEL_FROM_V2.contains(&model.kind()) {
        all.push((3, to(DEBUGCTL, FREEZE | 0b11)));
    }
    if all.is_empty() {
        return programs(model);
    }
    proptest::strategy::Union::new_weighted(all).boxed()
}

fn step(model: &PmuModel) -> BoxedStrategy<Step> {
    let ids = counters(model);
    let values: Vec<u32> = ids
        .iter()
        .flat_map(|id| {
            let other = full_width(model, *id).unwrap_or(counter_msr(model, *id));
            [counter_msr(model, *id).0, other.0]
        })
        .collect();
    let slots: Vec<usize> = ids.iter().map(|id| slot(*id)).collect();
    let indices = prop_oneof![
        4 => 0..9_u32,
        2 => (0..4_u32).prop_map(|i| 1 << 30 | i),
        1 => any::<u32>(),
    ];
    let sieves = vec![Sieve::Open, Sieve::NoInstructions, Sieve::OnlyInstructions];
    prop_oneof![
        6 => (select(values), counter_value(model)).prop_map(|(msr, value)| Step::Write(msr, value)),
        5 => programs(model),
        5 => shared(model),
        1 => (any_msr(model), any::<u64>()).prop_map(|(msr, value)| Step::Write(msr, value)),
        3 => any_msr(model).prop_map(Step::Read),
        2 => indices.prop_map(Step::Rdpmc),
        8 => counts(model).prop_map(Step::Count),
        3 => (select(slots), counts(model)).prop_map(|(slot, counts)| Step::CountSlot(slot, counts)),
        4 => (0..150_u64).prop_map(Step::Time),
        10 => answer().prop_map(Step::Enter),
        1 => (0..300_u64).prop_map(Step::MinRearm),
        1 => select(sieves).prop_map(Step::Filter),
        1 => any::<u32>().prop_map(|later| Step::Move(BOOTED + u64::from(later))),
        1 => prop_oneof![1 => Just(Step::Save), 1 => Just(Step::Load), 1 => Just(Step::Reset)],
    ]
    .boxed()
}

/// Up to 80 steps, first of all a counter that counts and everything enabled.
pub(crate) fn steps(model: PmuModel) -> Steps {
    proptest::collection::vec(step(&model), 1..80)
        .prop_map(move |mut steps| {
            let program = cycles(&model) | ALL_LEVELS | EN | INT;
            let mut first = vec![Step::Write(select_msr(&model, 0).0, program)];
            if has_globals(&model) {
                first.push(Step::Write(globals(&model)[1].0, bits(&model)));
            }
            first.append(&mut steps);
            first
        })
        .boxed()
}
