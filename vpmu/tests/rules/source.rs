// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the clock and the script promise besides what every source does (`tests/sources`).

use vpmu::source::script::ScriptSource;
use vpmu::{ClockSource, CounterSource, EventConfig, EventSelect, GuestClock};

use crate::rig::CYCLES;

struct Fake(u64);

impl GuestClock for Fake {
    fn cycles(&mut self) -> u64 {
        self.0
    }
}

fn cycles() -> EventConfig {
    EventSelect(CYCLES).decode()
}

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
