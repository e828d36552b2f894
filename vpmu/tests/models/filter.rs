// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P35: what the host's filter refuses is accepted and counts nothing.

use std::sync::Arc;

use vpmu::source::script::ScriptSource;
use vpmu::{CounterId, CounterState, EventFilter, FilterAction, FilterEntry, PmiOutcome, PmuModel};

use crate::rig::{FIXED_CTR_CTRL, Pmi, Rig, Seen, cycles, select_msr};
use crate::shapes::{self, bit, bits, counters, slot, top};

/// Refuses cycles on general-purpose counters and all fixed-function counters.
fn refusing(model: &PmuModel) -> EventFilter {
    let number = u16::try_from(cycles(model)).expect("a short number");
    EventFilter::new(FilterAction::Deny, [FilterEntry::event(number, 0)], 0b111)
        .expect("it is short")
}

fn filtered(model: PmuModel) -> Rig {
    let mut rig = Rig::new(model);
    rig.pmu.set_filter(Some(Arc::new(refusing(&model))));
    rig
}

#[test]
fn p35_accepted_read_back_and_not_counted() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = filtered(model);
            rig.set_before(counter, 1);
            rig.start(counter, Pmi::Wanted);
            let mut plain = Rig::new(model);
            plain.start(counter, Pmi::Wanted);
            let register = match counter {
                CounterId::Gp(n) => select_msr(&model, n),
                CounterId::Fixed(_) => FIXED_CTR_CTRL,
            };
            assert_eq!(rig.read(register), plain.read(register), "{model}");
            rig.count(10);
            assert_eq!(rig.value(counter), top(&model), "{model} {counter}");
            assert_eq!(
                rig.state(counter),
                CounterState::Filtered,
                "{model} {counter}"
            );
            assert!(!rig.pmu.counting(), "{model} {counter}");
            assert_eq!(rig.pmu.source().running(slot(counter)), None, "{model}");
            let entry = rig.enter();
            assert_eq!(
                (entry.pmi, entry.recheck),
                (None, None),
                "{model} {counter}"
            );
        }
    }
}

#[test]
fn p35_told_once_and_apart_from_what_cannot_be_counted() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = filtered(model);
            rig.program(counter, false, Pmi::None);
            assert_eq!(rig.seen(), [], "{model} {counter}: not enabled");
            rig.start(counter, Pmi::None);
            let select = rig.view(counter).select;
            let expected = [Seen::Filtered(counter, select)];
            assert_eq!(rig.seen(), expected, "{model} {counter}");
            rig.stop(counter);
            rig.start(counter, Pmi::Wanted);
            assert_eq!(rig.seen(), [], "{model} {counter}: the same again");
            let stats = rig.pmu.stats();
            assert_eq!(
                stats.filtered_selects.as_slice(),
                [select.what()],
                "{model}"
            );
            assert_eq!(stats.unsupported_selects.as_slice(), [], "{model}");
        }
    }
}

#[test]
fn p35_whatever_else_the_select_asks_for() {
    for model in shapes::all() {
        let mut rig = filtered(model);
        let what = cycles(&model);
        for (select, state) in [
            (what | 0x41_0000, CounterState::Filtered),
            (what | 0x42_0000 | 3 << 24, CounterState::Filtered),
            (what | 0x47_0000, CounterState::Filtered),
            (what | 0x43_0100, CounterState::Counting),
            (0x43_00C0, CounterState::Counting),
            (what | 0x03_0000, CounterState::Disabled),
            (what | 0x40_0000, CounterState::Idle),
        ] {
            rig.write(select_msr(&model, 0), select);
            assert_eq!(rig.state(CounterId::Gp(0)), state, "{model}: {select:#x}");
        }
    }
}

#[test]
fn p35_a_new_filter_stops_and_starts_running_counters() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.start(counter, Pmi::None);
            rig.count(1);
            rig.pmu.set_filter(Some(Arc::new(refusing(&model))));
            rig.count(10);
            assert_eq!(rig.value(counter), 1, "{model} {counter}");
            rig.pmu.set_filter(None);
            assert_eq!(
                rig.state(counter),
                CounterState::Counting,
                "{model} {counter}"
            );
            rig.count(100);
            assert_eq!(rig.value(counter), 101, "{model} {counter}");
        }
    }
}

#[test]
fn p35_an_overflow_that_was_due_waits() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.set_before(counter, 5);
            rig.start(counter, Pmi::Wanted);
            rig.count(7);
            rig.pmu.set_filter(Some(Arc::new(refusing(&model))));
            assert_eq!(rig.enter().pmi, None, "{model} {counter}");
            assert_eq!(rig.value(counter), top(&model), "{model} {counter}");
            rig.pmu.set_filter(None);
            assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model} {counter}");
            assert_eq!(rig.value(counter), 2, "{model} {counter}");
        }
    }
}

#[test]
fn p35_fixed_counters_have_bits_of_their_own() {
    for model in shapes::all() {
        let fixed: Vec<_> = model.fixed_counters().collect();
        if fixed.is_empty() {
            continue;
        }
        for bitmap in 0..8_u32 {
            for (action, listed_counts) in
                [(FilterAction::Allow, true), (FilterAction::Deny, false)]
            {
                let mut rig = Rig::new(model);
                let filter = EventFilter::new(action, [], bitmap).expect("it is short");
                rig.pmu.set_filter(Some(Arc::new(filter)));
                rig.enable(bits(&model));
                let all: u64 = fixed.iter().map(|i| 0b11 << (4 * i)).sum();
                rig.write(FIXED_CTR_CTRL, all);
                rig.count(3);
                for i in &fixed {
                    let counter = CounterId::Fixed(u8::try_from(*i).expect("few counters"));
                    let counts = (bitmap >> i & 1 == 1) == listed_counts;
                    let expected = if counts { 3 } else { 0 };
                    let name = format!("{model} {counter}: {action:?} {bitmap:#b}");
                    assert_eq!(rig.value(counter), expected, "{name}");
                }
            }
        }
    }
}

#[test]
fn p35_refused_comes_before_not_counted() {
    for model in shapes::all() {
        let source = ScriptSource::supporting(|_| false);
        let mut rig = Rig::with_source(model, source);
        rig.pmu.set_filter(Some(Arc::new(refusing(&model))));
        for counter in counters(&model) {
            rig.enable(bit(counter));
            rig.start(counter, Pmi::None);
            assert_eq!(
                rig.state(counter),
                CounterState::Filtered,
                "{model} {counter}"
            );
        }
        assert!(
            rig.seen()
                .iter()
                .all(|seen| matches!(seen, Seen::Filtered(..))),
            "{model}"
        );
    }
}

#[test]
fn p35_a_reset_leaves_the_filter() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = filtered(model);
            rig.pmu.reset();
            rig.start(counter, Pmi::None);
            assert_eq!(
                rig.state(counter),
                CounterState::Filtered,
                "{model} {counter}"
            );
        }
    }
}
