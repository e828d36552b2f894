// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! S1 to S5: what every counter source promises. One suite, run on each.

use vpmu::source::MAX_SLOTS;
use vpmu::source::script::ScriptSource;
use vpmu::{ClockSource, CounterSource, Event, EventConfig, EventSelect, GuestClock, NotCounted};

use crate::rig::CYCLES;

struct Fake(u64);

impl GuestClock for Fake {
    fn cycles(&mut self) -> u64 {
        self.0
    }
}

/// A source and how to let guest cycles pass.
trait Bench {
    type Source: CounterSource;

    fn source() -> Self::Source;
    fn pass(source: &mut Self::Source, cycles: u64);
}

struct Clock;

impl Bench for Clock {
    type Source = ClockSource<Fake>;

    fn source() -> Self::Source {
        ClockSource::new(Fake(1_000_000))
    }

    fn pass(source: &mut Self::Source, cycles: u64) {
        source.clock_mut().0 += cycles;
    }
}

struct Script;

impl Bench for Script {
    type Source = ScriptSource;

    fn source() -> Self::Source {
        ScriptSource::supporting(|config| config.event == Event::CoreCycles)
    }

    fn pass(source: &mut Self::Source, cycles: u64) {
        source.count(cycles);
    }
}

fn cycles() -> EventConfig {
    EventSelect(CYCLES).decode()
}

fn s1_slots_count_from_start_to_stop<B: Bench>() {
    let mut source = B::source();
    B::pass(&mut source, 5);
    assert_eq!(source.start(0, &cycles()), Ok(()));
    B::pass(&mut source, 7);
    assert_eq!(source.start(MAX_SLOTS - 1, &cycles()), Ok(()));
    B::pass(&mut source, 100);
    assert_eq!((source.take(0), source.take(MAX_SLOTS - 1)), (107, 100));
    source.stop(0);
    B::pass(&mut source, 1);
    assert_eq!((source.take(0), source.take(MAX_SLOTS - 1)), (0, 1));
}

fn s2_every_event_is_taken_once<B: Bench>() {
    let mut source = B::source();
    assert_eq!(source.start(3, &cycles()), Ok(()));
    let mut taken = 0;
    for step in 0..100 {
        B::pass(&mut source, step);
        if step % 3 == 0 {
            taken += source.take(3);
            assert_eq!(source.take(3), 0);
        }
    }
    assert_eq!(taken + source.take(3), 99 * 100 / 2);
}

fn s3_slots_that_do_not_run<B: Bench>() {
    let mut source = B::source();
    source.stop(1);
    B::pass(&mut source, 9);
    assert_eq!(source.take(1), 0);
    assert_eq!(source.start(1, &cycles()), Ok(()));
    B::pass(&mut source, 9);
    assert_eq!(source.start(1, &cycles()), Ok(()), "anew");
    B::pass(&mut source, 2);
    assert_eq!(source.take(1), 2);
    for slot in [MAX_SLOTS, usize::MAX] {
        assert_eq!(source.start(slot, &cycles()), Err(NotCounted));
        B::pass(&mut source, 9);
        source.stop(slot);
        assert_eq!(source.take(slot), 0);
    }
}

fn s4_what_is_not_supported_does_not_start<B: Bench>() {
    let mut source = B::source();
    let other = EventSelect(0x43_00C0).decode();
    assert!(source.supports(&cycles()) && !source.supports(&other));
    assert_eq!(source.start(0, &other), Err(NotCounted));
    B::pass(&mut source, 9);
    assert_eq!(source.take(0), 0);
}

macro_rules! on_every_source {
    ($($test:ident),* $(,)?) => {
        mod clock {
            $(#[test] fn $test() { super::$test::<super::Clock>(); })*
        }
        mod script {
            $(#[test] fn $test() { super::$test::<super::Script>(); })*
        }
    };
}

on_every_source!(
    s1_slots_count_from_start_to_stop,
    s2_every_event_is_taken_once,
    s3_slots_that_do_not_run,
    s4_what_is_not_supported_does_not_start,
);

#[test]
fn s2_a_clock_that_goes_back_counts_nothing_and_nothing_twice() {
    let mut source = ClockSource::new(Fake(100));
    assert_eq!(source.start(0, &cycles()), Ok(()));
    let mut total = 0;
    for (reading, counted) in [
        (150, 50),
        (120, 50),
        (0, 50),
        (149, 50),
        (151, 51),
        (u64::MAX, u64::MAX - 100),
    ] {
        source.clock_mut().0 = reading;
        total += source.take(0);
        assert_eq!(total, counted, "clock at {reading}");
    }
}

#[test]
fn s2_a_slot_started_while_the_clock_is_back_counts_from_its_highest() {
    let mut source = ClockSource::new(Fake(100));
    assert_eq!(source.start(0, &cycles()), Ok(()));
    source.take(0);
    source.clock_mut().0 = 40;
    assert_eq!(source.start(1, &cycles()), Ok(()));
    source.clock_mut().0 = 110;
    assert_eq!((source.take(0), source.take(1)), (10, 10));
}

#[test]
fn s4_a_clock_counts_cycles_of_all_privilege_levels_and_nothing_else() {
    let source = ClockSource::new(Fake(0));
    let core = 0x3_003C;
    for (select, supported) in [
        (core, true),
        (core | 0x100, true),
        (
            core | EventSelect::PIN_CONTROL | EventSelect::INT | EventSelect::EN,
            true,
        ),
        (core | 0x200, false),
        (0x3_00C0, false),
        (core & !EventSelect::USR, false),
        (core & !EventSelect::OS, false),
        (core | EventSelect::EDGE, false),
        (core | EventSelect::INV, false),
        (core | 1 << 24, false),
        (core | 0xFF << 24, false),
        (core | EventSelect::ANY_THREAD, false),
    ] {
        assert_eq!(
            source.supports(&EventSelect(select).decode()),
            supported,
            "{select:#x}"
        );
    }
}

#[test]
fn s5_arming_is_forgotten_when_taken_or_stopped() {
    let forgets: [fn(&mut ScriptSource); 2] =
        [|source| _ = source.take(0), |source| source.stop(0)];
    for forget in forgets {
        let mut source = ScriptSource::new();
        assert_eq!(source.start(0, &cycles()), Ok(()));
        source.arm(0, 42);
        assert_eq!(source.armed(0), Some(42));
        forget(&mut source);
        assert_eq!(source.armed(0), None);
    }
}
