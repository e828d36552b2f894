// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P11 for every counter: what the source cannot count. P12: what asks for nothing.

use vpmu::source::script::ScriptSource;
use vpmu::{CounterId, CounterState, EventSelect, PmuModel};

use crate::rig::{EN, FIXED_CTR_CTRL, INT, Pmi, Rig, Seen, cycles, select_msr};
use crate::shapes::{self, bit, counters};

fn nothing(model: PmuModel) -> Rig {
    Rig::with_source(model, ScriptSource::supporting(|_| false))
}

#[test]
fn p11_accepted_and_standing_still() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = nothing(model);
            rig.set_value(counter, 5);
            rig.start(counter, Pmi::Wanted);
            rig.count(100);
            assert_eq!(rig.value(counter), 5, "{model} {counter}");
            assert_eq!(
                rig.state(counter),
                CounterState::NotCounted,
                "{model} {counter}"
            );
            assert!(!rig.pmu.counting(), "{model} {counter}");
            assert_eq!(rig.enter().recheck, None, "{model} {counter}");
        }
    }
}

#[test]
fn p11_told_once() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = nothing(model);
            rig.program(counter, false, Pmi::None);
            assert_eq!(rig.seen(), [], "{model} {counter}: not enabled");
            rig.start(counter, Pmi::None);
            let select = rig.view(counter).select;
            let expected = [Seen::NotCounted(counter, select)];
            assert_eq!(rig.seen(), expected, "{model} {counter}");
            rig.stop(counter);
            rig.start(counter, Pmi::Wanted);
            rig.enable(bit(counter));
            assert_eq!(rig.seen(), [], "{model} {counter}: the same again");
            let listed = rig.pmu.stats().unsupported_selects;
            assert_eq!(listed.as_slice(), [select.what()], "{model} {counter}");
        }
    }
}

#[test]
fn p11_the_same_on_another_counter_is_nothing_new() {
    for model in shapes::all()
        .into_iter()
        .filter(|model| model.gp_counters() > 1)
    {
        let mut rig = nothing(model);
        rig.start(CounterId::Gp(0), Pmi::None);
        rig.seen();
        rig.start(CounterId::Gp(1), Pmi::Wanted);
        assert_eq!(rig.seen(), [], "{model}");
    }
}

#[test]
fn p11_a_fixed_counter_stands_still_where_its_event_is_missing() {
    for model in shapes::all() {
        if !model.fixed_counters().any(|i| i == 0) {
            continue;
        }
        let only_cycles = |config: &vpmu::EventConfig| config.event != vpmu::Event::Instructions;
        let mut rig = Rig::with_source(model, ScriptSource::supporting(only_cycles));
        let all: u64 = model.fixed_counters().map(|i| 0b11 << (4 * i)).sum();
        rig.enable(shapes::bits(&model));
        rig.write(FIXED_CTR_CTRL, all);
        rig.count(10);
        for i in model.fixed_counters() {
            let counter = CounterId::Fixed(u8::try_from(i).expect("few counters"));
            let (counted, state) = if i == 0 {
                (0, CounterState::NotCounted)
            } else {
                (10, CounterState::Counting)
            };
            let seen = (rig.value(counter), rig.state(counter));
            assert_eq!(seen, (counted, state), "{model} {counter}");
        }
        let what = EventSelect(0xC0 | 3 << 16);
        let listed = rig.pmu.stats().unsupported_selects;
        assert_eq!(listed.as_slice(), [what], "{model}");
    }
}

#[test]
fn p12_no_privilege_level_asks_for_nothing() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let CounterId::Gp(n) = counter else { continue };
            let mut rig = nothing(model);
            rig.write(select_msr(&model, n), cycles(&model) | EN | INT);
            assert_eq!(rig.state(counter), CounterState::Idle, "{model} {counter}");
            assert_eq!(rig.seen(), [], "{model} {counter}");
            assert!(!rig.pmu.counting(), "{model} {counter}");
        }
    }
}
