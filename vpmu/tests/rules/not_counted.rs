// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P11: what the source cannot count. P12: what asks for nothing.

use vpmu::msr::IA32_PERFEVTSEL0;
use vpmu::source::script::ScriptSource;
use vpmu::{CounterId, CounterState, Event, EventSelect, UnsupportedSelects};

use crate::rig::{CYCLES, Rig, Seen};

/// A PMU that counts core cycles only.
fn cycles_only() -> Rig {
    Rig::with_source(ScriptSource::supporting(|config| {
        config.event == Event::CoreCycles
    }))
}

const INSTRUCTIONS: u64 = 0x43_00C0;

#[test]
fn p11_accepted_and_not_counted() {
    let mut rig = cycles_only();
    rig.set_value(0, 5);
    rig.select(0, INSTRUCTIONS);
    rig.count(100);
    assert_eq!(rig.read(IA32_PERFEVTSEL0), INSTRUCTIONS);
    assert_eq!(rig.value(0), 5);
    assert!(!rig.pmu.counting());
    assert_eq!(rig.state(CounterId::Gp(0)), CounterState::NotCounted);
}

#[test]
fn p11_told_once_for_each_distinct_select() {
    let mut rig = cycles_only();
    rig.select(0, INSTRUCTIONS & !EventSelect::EN);
    assert_eq!(rig.seen(), [], "not enabled");
    rig.select(0, INSTRUCTIONS);
    assert_eq!(
        rig.seen(),
        [Seen::NotCounted(
            CounterId::Gp(0),
            EventSelect(INSTRUCTIONS)
        )]
    );
    rig.select(0, INSTRUCTIONS | EventSelect::INT);
    rig.select(1, INSTRUCTIONS | EventSelect::PIN_CONTROL);
    rig.control(0);
    rig.control(0xF);
    rig.select(2, CYCLES);
    assert_eq!(rig.seen(), [], "the same again, or counted");
    rig.select(2, INSTRUCTIONS | EventSelect::EDGE);
    assert_eq!(
        rig.seen(),
        [Seen::NotCounted(
            CounterId::Gp(2),
            EventSelect(INSTRUCTIONS | EventSelect::EDGE)
        )]
    );
    let what = INSTRUCTIONS & !EventSelect::EN;
    let listed = [EventSelect(what), EventSelect(what | EventSelect::EDGE)];
    assert_eq!(rig.pmu.stats().unsupported_selects.as_slice(), listed);
    assert!(!rig.pmu.stats().unsupported_selects.truncated());
}

#[test]
fn p11_told_when_the_global_bit_enables_it() {
    let mut rig = cycles_only();
    rig.control(0);
    rig.select(0, INSTRUCTIONS);
    assert_eq!(rig.seen(), []);
    rig.control(1);
    assert_eq!(
        rig.seen(),
        [Seen::NotCounted(
            CounterId::Gp(0),
            EventSelect(INSTRUCTIONS)
        )]
    );
}

#[test]
fn p11_the_list_is_bounded() {
    let mut rig = cycles_only();
    let capacity = UnsupportedSelects::CAPACITY as u64;
    for umask in 0..capacity {
        rig.select(0, INSTRUCTIONS | umask << 8);
    }
    assert!(!rig.pmu.stats().unsupported_selects.truncated());
    for umask in capacity..256 {
        rig.select(0, INSTRUCTIONS | umask << 8);
    }
    assert!(rig.pmu.stats().unsupported_selects.truncated());
    assert_eq!(
        rig.pmu.stats().unsupported_selects.as_slice().len(),
        UnsupportedSelects::CAPACITY
    );
    assert_eq!(rig.seen().len(), UnsupportedSelects::CAPACITY);
}

#[test]
fn p11_counts_again_once_the_event_is_one_it_can_count() {
    let mut rig = cycles_only();
    rig.select(0, CYCLES);
    rig.count(1);
    rig.select(0, INSTRUCTIONS);
    rig.count(10);
    rig.select(0, CYCLES);
    rig.count(100);
    assert_eq!(rig.value(0), 101);
}

#[test]
fn p12_no_privilege_level_is_nothing_to_report() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES & !(EventSelect::USR | EventSelect::OS));
    rig.count(10);
    assert_eq!(rig.value(0), 0);
    assert_eq!(rig.seen(), []);
    assert_eq!(rig.state(CounterId::Gp(0)), CounterState::Idle);
    assert!(!rig.pmu.counting());
    for one in [EventSelect::USR, EventSelect::OS] {
        rig.select(0, CYCLES & !(EventSelect::USR | EventSelect::OS) | one);
        assert!(rig.pmu.counting(), "one level asks for something");
    }
}
