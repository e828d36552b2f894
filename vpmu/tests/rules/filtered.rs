// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P35: what the host's filter refuses.

use std::sync::Arc;

use vpmu::msr::{IA32_FIXED_CTR_CTRL, IA32_FIXED_CTR0, IA32_PERFEVTSEL0};
use vpmu::source::script::ScriptSource;
use vpmu::{
    CounterId, CounterState, Event, EventFilter, EventSelect, FilterAction, FilterEntry, PmuModel,
};

use crate::rig::{CYCLES, Rig, Seen};

const INSTRUCTIONS: u64 = 0x43_00C0;

/// Everything but instructions, on every kind of counter.
fn no_instructions() -> Option<Arc<EventFilter>> {
    let instructions = [FilterEntry::event(0xC0, 0)];
    let filter = EventFilter::new(FilterAction::Deny, instructions, 1);
    Some(Arc::new(filter.expect("a small filter")))
}

fn filtered() -> Rig {
    let mut rig = Rig::of(PmuModel::INTEL_V2);
    rig.pmu.set_filter(no_instructions());
    rig
}

#[test]
fn p35_accepted_read_back_and_not_counted() {
    let mut rig = filtered();
    rig.select(0, INSTRUCTIONS);
    rig.select(1, CYCLES);
    rig.count(10);
    assert_eq!(rig.read(IA32_PERFEVTSEL0), INSTRUCTIONS);
    assert_eq!((rig.value(0), rig.value(1)), (0, 10));
    assert_eq!(rig.state(CounterId::Gp(0)), CounterState::Filtered);
}

#[test]
fn p35_fixed_counters_by_their_bitmap() {
    let mut rig = filtered();
    rig.control(0b11 << 32);
    rig.write(IA32_FIXED_CTR_CTRL, 0x33);
    rig.count(10);
    let values = [0, 1].map(|n| rig.read(IA32_FIXED_CTR0.nth(n)));
    assert_eq!(values, [0, 10]);
    assert_eq!(rig.state(CounterId::Fixed(0)), CounterState::Filtered);
}

#[test]
fn p35_told_once_and_apart_from_what_cannot_be_counted() {
    let cycles = ScriptSource::supporting(|config| config.event == Event::CoreCycles);
    let mut rig = Rig::with(PmuModel::INTEL_V2, cycles);
    rig.pmu.set_filter(no_instructions());
    for select in [INSTRUCTIONS, INSTRUCTIONS | EventSelect::INT, 0x43_00C4] {
        rig.select(0, select);
    }
    let pmc0 = CounterId::Gp(0);
    let seen = [
        Seen::Filtered(pmc0, EventSelect(INSTRUCTIONS)),
        Seen::NotCounted(pmc0, EventSelect(0x43_00C4)),
    ];
    assert_eq!(rig.seen(), seen);
    let stats = rig.pmu.stats();
    assert_eq!(stats.filtered_selects.as_slice(), [EventSelect(0x3_00C0)]);
    assert_eq!(
        stats.unsupported_selects.as_slice(),
        [EventSelect(0x3_00C4)]
    );
}

#[test]
fn p35_a_new_filter_judges_running_counters() {
    let mut rig = Rig::of(PmuModel::INTEL_V2);
    rig.select(0, INSTRUCTIONS);
    rig.select(1, CYCLES);
    rig.count(1);
    rig.pmu.set_filter(no_instructions());
    rig.count(10);
    assert_eq!((rig.value(0), rig.value(1)), (1, 11));
    rig.pmu.set_filter(None);
    rig.count(100);
    assert_eq!((rig.value(0), rig.value(1)), (101, 111));
}
