// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The models that are tested, and what their kind says of them.

use vpmu::{CounterId, Event, EventConfig, PmuKind, PmuModel, Vendor};

/// What of a source the model is advertised for.
type Supports = fn(&EventConfig) -> bool;

/// Advertises an event for each fixed-function counter.
fn everything(_: &EventConfig) -> bool {
    true
}

/// Leaves a gap: no cycles, hence no fixed-function counter 1.
fn without_cycles(config: &EventConfig) -> bool {
    config.event != Event::CoreCycles
}

fn nothing(_: &EventConfig) -> bool {
    false
}

/// What is not usual: one model each for the narrowest, widest and odd widths, for one counter, for
/// none to three fixed-function counters, for full-width writes where they are not usual and for
/// none where they are.
const UNUSUAL: [(&str, Supports); 15] = [
    ("intel-v1,counters=1,width=32", everything),
    ("intel-v1,counters=8,full-width=on", everything),
    ("intel-v2,counters=1,fixed=0", everything),
    (
        "intel-v2,counters=5,fixed=1,width=40,full-width=on",
        everything,
    ),
    ("intel-v2,fixed=2,width=32", everything),
    ("intel-v3,fixed=2,width=63", everything),
    ("intel-v3,counters=8,width=40,full-width=off", everything),
    ("intel-v4,counters=1,fixed=0,width=40", everything),
    ("intel-v4,counters=2,fixed=3,width=63", everything),
    ("intel-v5,width=32", everything),
    (
        "intel-v5,counters=2,width=63,full-width=off",
        without_cycles,
    ),
    ("intel-v5,counters=3,width=40", nothing),
    ("intel-v5,counters=1,fixed=2", without_cycles),
    ("amd-v2,counters=1", everything),
    ("amd-v2,counters=3", everything),
];

/// Every kind's usual model, then the unusual ones.
pub(crate) fn all() -> Vec<PmuModel> {
    let unusual = UNUSUAL.iter().map(|(text, supports)| {
        let model: PmuModel = text.parse().expect("it is a model");
        model.advertising(supports)
    });
    PmuModel::ALL.iter().copied().chain(unusual).collect()
}

/// Those of [`all`] that are of one of these kinds.
pub(crate) fn of(kinds: &[PmuKind]) -> Vec<PmuModel> {
    let mut models = all();
    models.retain(|model| kinds.contains(&model.kind()));
    models
}

/// Those of [`all`] with a global status: its MSRs differ, what it does does not.
pub(crate) fn with_status() -> Vec<PmuModel> {
    let mut models = all();
    models.retain(has_globals);
    models
}

pub(crate) const INTEL_FROM_V2: [PmuKind; 4] = [
    PmuKind::IntelV2,
    PmuKind::IntelV3,
    PmuKind::IntelV4,
    PmuKind::IntelV5,
];
pub(crate) const INTEL_FROM_V4: [PmuKind; 2] = [PmuKind::IntelV4, PmuKind::IntelV5];

pub(crate) fn is_amd(model: &PmuModel) -> bool {
    model.vendor() == Vendor::Amd
}

/// The version of Intel's; 0 for AMD's.
pub(crate) fn version(model: &PmuModel) -> u8 {
    model.kind().version().unwrap_or(0)
}

/// Whether there are global control and status.
pub(crate) fn has_globals(model: &PmuModel) -> bool {
    version(model) >= 2 || model.kind() == PmuKind::AmdV2
}

/// Whether there is a register that sets status bits.
pub(crate) fn has_status_set(model: &PmuModel) -> bool {
    version(model) >= 4 || model.kind() == PmuKind::AmdV2
}

/// 2 to the width of the counters.
pub(crate) fn wrap(model: &PmuModel) -> u64 {
    1 << model.counter_width()
}

/// The highest value of a counter.
pub(crate) fn top(model: &PmuModel) -> u64 {
    wrap(model) - 1
}

/// Every counter, the general-purpose ones first.
pub(crate) fn counters(model: &PmuModel) -> Vec<CounterId> {
    let small = |n: usize| u8::try_from(n).expect("few counters");
    (0..model.gp_counters())
        .map(|n| CounterId::Gp(small(n)))
        .chain(model.fixed_counters().map(|i| CounterId::Fixed(small(i))))
        .collect()
}

/// The bit of a counter in global control and status.
pub(crate) fn bit(counter: CounterId) -> u64 {
    match counter {
        CounterId::Gp(n) => 1 << n,
        CounterId::Fixed(i) => 1 << (32 + i),
    }
}

/// The slot of the source in which a counter counts.
pub(crate) fn slot(counter: CounterId) -> usize {
    match counter {
        CounterId::Gp(n) => usize::from(n),
        CounterId::Fixed(i) => 8 + usize::from(i),
    }
}

/// The bits of all counters, and of the general-purpose ones.
pub(crate) fn bits(model: &PmuModel) -> u64 {
    counters(model).into_iter().map(bit).sum()
}

pub(crate) fn gp_bits(model: &PmuModel) -> u64 {
    (1 << model.gp_counters()) - 1
}
