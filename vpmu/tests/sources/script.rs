// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The source that counts what it is told, kicked and calling back.

use vpmu::source::script::ScriptSource;
use vpmu::{CounterSource, Event, EventConfig, NotCounted, Wake};

use crate::contract::Rig;

struct Script<const BY_SOURCE: bool>(ScriptSource);

impl<const BY_SOURCE: bool> Rig for Script<BY_SOURCE> {
    type Source = ScriptSource;

    const COUNTED: EventConfig = EventConfig::everywhere(Event::CoreCycles);
    const REFUSED: EventConfig = EventConfig::everywhere(Event::Instructions);

    fn new() -> Result<Self, String> {
        let source = ScriptSource::supporting(|config| config.event == Event::CoreCycles);
        Ok(Self(if BY_SOURCE {
            source.by_source()
        } else {
            source
        }))
    }

    fn source(&mut self) -> &mut ScriptSource {
        &mut self.0
    }

    fn advance(&mut self, counts: u64) {
        self.0.count(counts);
    }

    fn run(&mut self, wake: Wake) {
        assert_eq!(wake == Wake::BySource, BY_SOURCE);
        match wake {
            Wake::InCycles(cycles) => self.0.count(cycles),
            Wake::BySource => assert!(self.0.count_to_overflow().is_some()),
        }
    }
}

mod kicked {
    contract!(super::Script<false>);
}

mod calling_back {
    contract!(super::Script<true>);
}

fn source() -> ScriptSource {
    let mut source = ScriptSource::new();
    for slot in [0, 1] {
        let started = source.start(slot, &EventConfig::everywhere(Event::Branches));
        assert_eq!(started, Ok(()));
    }
    source
}

#[test]
fn a_slot_overflows_when_it_is_told_by_what_is_missing() {
    let mut source = source();
    assert_eq!(source.overflow(0), None, "not armed");
    source.arm(0, 10);
    source.count_slot(0, 4);
    assert_eq!(source.overflow(0), Some(6));
    assert_eq!(source.overflow(0), None, "it has overflowed");
    assert_eq!(
        (source.take(0), source.take(1)),
        (10, 0),
        "the other stands still"
    );
    for slot in [2, 16, usize::MAX] {
        assert_eq!(source.overflow(slot), None);
    }
}

#[test]
fn everything_counts_to_the_nearest_overflow() {
    let mut source = source();
    source.arm(0, 10);
    source.arm(1, 7);
    assert_eq!(source.count_to_overflow(), Some(7));
    assert_eq!(source.count_to_overflow(), Some(3), "the next");
    assert_eq!(source.count_to_overflow(), None);
    assert_eq!((source.take(0), source.take(1)), (10, 10));
}

#[test]
fn a_busy_source_starts_nothing_and_goes_on_counting() {
    let mut source = source();
    source.set_busy(true);
    let config = EventConfig::everywhere(Event::Branches);
    assert!(source.supports(&config), "for ever");
    assert_eq!(source.start(1, &config), Err(NotCounted));
    source.count(3);
    assert_eq!((source.take(0), source.take(1)), (3, 0));
    source.set_busy(false);
    assert_eq!(source.start(1, &config), Ok(()));
}
