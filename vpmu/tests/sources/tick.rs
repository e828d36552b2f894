// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Ticks, and what is counted beside them: the contract on both sides, levels, and slots that change
//! hands.

use vpmu::source::MAX_SLOTS;
use vpmu::source::script::ScriptSource;
use vpmu::source::tick::TickSource;
use vpmu::{CounterSource, Event, EventConfig, EventSelect, NotCounted, Vendor, Wake};

use crate::contract::Rig;

type Source = TickSource<ScriptSource>;

const TICKS: EventConfig = EventConfig::everywhere(Event::PortTick);
const CYCLES: EventConfig = EventConfig::everywhere(Event::CoreCycles);
const INSTRUCTIONS: EventConfig = EventConfig::everywhere(Event::Instructions);

/// The inner source would count ticks as well, whatever their modifiers: it is not asked.
fn source() -> Source {
    TickSource::new(ScriptSource::supporting(|config| {
        matches!(config.event, Event::CoreCycles | Event::PortTick)
    }))
}

/// Counts ticks; cycles pass all the time.
struct Ticking(Source);

impl Ticking {
    fn tick(&mut self, user: bool) {
        self.0.enter_guest();
        self.0.inner_mut().count(1_000);
        self.0.exit_guest();
        self.0.tick(user);
    }
}

impl Rig for Ticking {
    type Source = Source;

    const COUNTED: EventConfig = TICKS;
    const REFUSED: EventConfig = EventConfig {
        edge: true,
        ..TICKS
    };
    const EXITS_BY_ITSELF: bool = true;

    fn new() -> Result<Self, String> {
        Ok(Self(source()))
    }

    fn source(&mut self) -> &mut Source {
        &mut self.0
    }

    fn advance(&mut self, counts: u64) {
        for count in 0..counts {
            self.tick(count % 3 == 0);
        }
    }

    fn run(&mut self, wake: Wake) {
        assert_eq!(wake, Wake::BySource, "nobody has to kick this vCPU");
        self.tick(true);
    }
}

/// Counts cycles; the guest ticks all the time.
struct Beside(Source);

impl Rig for Beside {
    type Source = Source;

    const COUNTED: EventConfig = CYCLES;
    const REFUSED: EventConfig = INSTRUCTIONS;

    fn new() -> Result<Self, String> {
        Ok(Self(source()))
    }

    fn source(&mut self) -> &mut Source {
        &mut self.0
    }

    fn advance(&mut self, counts: u64) {
        self.0.tick(true);
        self.0.inner_mut().count(counts);
        self.0.tick(false);
    }

    fn run(&mut self, wake: Wake) {
        match wake {
            Wake::InCycles(cycles) => self.advance(cycles),
            Wake::BySource => panic!("the source beneath is one that is kicked"),
        }
    }
}

mod ticks {
    contract!(super::Ticking);
}

mod beside_ticks {
    contract!(super::Beside);
}

#[test]
fn levels_are_told_apart_to_the_unit() {
    for (usr, os, expected) in [
        (true, true, 10),
        (true, false, 7),
        (false, true, 3),
        (false, false, 0),
    ] {
        let mut source = source();
        let started = source.start(0, &EventConfig { usr, os, ..TICKS });
        assert_eq!(started, Ok(()));
        for count in 0..10 {
            source.tick(count < 7);
        }
        assert_eq!(source.take(0), expected, "user {usr}, kernel {os}");
    }
}

#[test]
fn a_modifier_is_refused_though_the_other_source_would_take_it() {
    let edge = EventConfig {
        edge: true,
        ..TICKS
    };
    let invert = EventConfig {
        invert: true,
        ..TICKS
    };
    let cmask = EventConfig { cmask: 1, ..TICKS };
    let any_thread = EventConfig {
        any_thread: true,
        ..TICKS
    };
    let mut source = source();
    for config in [edge, invert, cmask, any_thread] {
        assert!(source.inner().supports(&config));
        assert!(!source.supports(&config), "{config:?}");
        assert_eq!(source.start(0, &config), Err(NotCounted), "{config:?}");
        assert_eq!(source.inner().running(0), None);
    }
}

#[test]
fn a_slot_changes_hands() {
    let mut source = source();
    assert_eq!(source.start(5, &CYCLES), Ok(()));
    source.inner_mut().count(9);
    source.tick(true);
    // To ticks: what was not taken is dropped, and the other counts no more.
    assert_eq!(source.start(5, &TICKS), Ok(()));
    assert_eq!(source.inner().running(5), None);
    source.inner_mut().count(9);
    source.tick(true);
    assert_eq!(source.take(5), 1);
    assert_eq!(source.arm(5, 3), Wake::BySource);
    source.tick(true);
    // And back.
    assert_eq!(source.start(5, &CYCLES), Ok(()));
    source.tick(true);
    source.inner_mut().count(4);
    assert_eq!(source.take(5), 4);
    assert_eq!(source.arm(5, 3), Wake::InCycles(3));
    // What is refused leaves nobody on it.
    for (mine, refused) in [(CYCLES, Ticking::REFUSED), (TICKS, INSTRUCTIONS)] {
        assert_eq!(source.start(5, &mine), Ok(()));
        assert_eq!(source.start(5, &refused), Err(NotCounted));
        source.inner_mut().count(1);
        source.tick(true);
        assert_eq!((source.take(5), source.inner().running(5)), (0, None));
    }
    for mine in [CYCLES, TICKS] {
        assert_eq!(source.start(5, &mine), Ok(()));
        source.stop(5);
        source.inner_mut().count(1);
        source.tick(true);
        assert_eq!((source.take(5), source.inner().running(5)), (0, None));
    }
}

#[test]
fn both_count_side_by_side() {
    let mut source = source();
    for slot in 0..MAX_SLOTS {
        let config = if slot % 2 == 0 { TICKS } else { CYCLES };
        assert_eq!(source.start(slot, &config), Ok(()));
    }
    source.inner_mut().count(100);
    source.tick(true);
    source.tick(false);
    for slot in 0..MAX_SLOTS {
        let expected = if slot % 2 == 0 { 2 } else { 100 };
        assert_eq!(source.take(slot), expected, "slot {slot}");
    }
}

/// Its counters are the guest's registers' as well, which must not be able to ask for ticks: the
/// guest would be told of an event that its PMU does not have.
#[test]
fn no_event_select_asks_for_ticks() {
    for number in 0..=0xFFF_u64 {
        for umask in 0..=0xFF_u64 {
            let select = EventSelect((number >> 8) << 32 | umask << 8 | number & 0xFF);
            for vendor in [Vendor::Intel, Vendor::Amd] {
                assert_ne!(
                    select.decode_for(vendor).event,
                    Event::PortTick,
                    "{select:?}"
                );
            }
        }
    }
    assert!(!Event::ARCHITECTURAL.contains(&Event::PortTick));
    assert!(!Event::FIXED.contains(&Event::PortTick));
}
