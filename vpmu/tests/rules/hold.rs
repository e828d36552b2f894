// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P15: enable and INT are judged when the overflow would become visible.

use vpmu::source::script::ScriptSource;
use vpmu::{Event, EventSelect, PmiOutcome};

use crate::rig::{Act, CYCLES, CYCLES_INT, Rig, TOP, before_overflow};

/// A PMU with an overflow of counter 0 due, two counts ago.
fn due() -> Rig {
    let source = ScriptSource::supporting(|config| config.event == Event::CoreCycles);
    let mut rig = Rig::with_source(source);
    rig.set_value(0, before_overflow(5));
    rig.select(0, CYCLES_INT);
    rig.count(7);
    rig
}

/// The ways in which a guest stops counter 0, and lets it run again.
const SWITCHES: [(&str, Act, Act); 5] = [
    (
        "EN",
        |rig| rig.select(0, CYCLES_INT & !EventSelect::EN),
        |rig| rig.select(0, CYCLES_INT),
    ),
    ("global", |rig| rig.control(0b1110), |rig| rig.control(0xF)),
    (
        "all of it",
        |rig| rig.select(0, 0),
        |rig| rig.select(0, CYCLES_INT),
    ),
    (
        "an event that is not counted",
        |rig| rig.select(0, CYCLES_INT | 0x100),
        |rig| rig.select(0, CYCLES_INT),
    ),
    (
        "no privilege level",
        |rig| rig.select(0, CYCLES_INT & !(EventSelect::USR | EventSelect::OS)),
        |rig| rig.select(0, CYCLES_INT),
    ),
];

#[test]
fn p15_no_pmi_after_the_guest_disabled_the_counter() {
    for (name, disable, _) in SWITCHES {
        let mut rig = due();
        disable(&mut rig);
        for _ in 0..3 {
            rig.count(1_000);
            let entry = rig.enter();
            assert_eq!((entry.pmi, rig.apic.asked), (None, 0), "{name}");
            assert_eq!((rig.value(0), rig.status()), (TOP, 0), "{name}");
            assert_eq!(entry.recheck, None, "{name}");
        }
        assert_eq!(rig.pmu.stats().overflows, 0, "{name}");
    }
}

#[test]
fn p15_running_again_it_is_due_as_before() {
    for (name, disable, enable) in SWITCHES {
        let mut rig = due();
        disable(&mut rig);
        rig.enter();
        enable(&mut rig);
        assert_eq!((rig.value(0), rig.status()), (TOP, 0), "{name}");
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{name}");
        assert_eq!((rig.value(0), rig.status()), (2, 1), "{name}");
    }
}

#[test]
fn p15_written_while_stopped_it_is_forgotten() {
    for (name, disable, enable) in SWITCHES {
        let mut rig = due();
        disable(&mut rig);
        rig.set_value(0, 40);
        enable(&mut rig);
        assert_eq!(rig.enter().pmi, None, "{name}");
        assert_eq!((rig.value(0), rig.status()), (40, 0), "{name}");
    }
}

#[test]
fn p15_int_cleared_makes_it_visible_without_pmi() {
    let mut rig = due();
    rig.select(0, CYCLES);
    assert_eq!((rig.status(), rig.value(0)), (1, 2));
    assert_eq!(rig.enter().pmi, None);
    rig.select(0, CYCLES_INT);
    assert_eq!(rig.enter().pmi, None, "it was seen already");
    assert_eq!(rig.apic.asked, 0);
}

#[test]
fn p15_int_cleared_while_disabled_waits_for_the_enable() {
    let mut rig = due();
    rig.select(0, CYCLES & !EventSelect::EN);
    rig.enter();
    assert_eq!((rig.value(0), rig.status()), (TOP, 0));
    rig.select(0, CYCLES);
    assert_eq!((rig.status(), rig.value(0)), (1, 2));
    assert_eq!(rig.apic.asked, 0);
}

#[test]
fn p15_a_held_counter_does_not_hold_the_others() {
    let mut rig = due();
    rig.select(0, CYCLES_INT & !EventSelect::EN);
    rig.set_value(1, before_overflow(3));
    rig.select(1, CYCLES_INT);
    rig.count(3);
    assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi));
    assert_eq!((rig.status(), rig.value(0)), (0b10, TOP));
}

#[test]
fn p15_clearing_the_status_does_not_touch_what_is_due() {
    let mut rig = due();
    rig.clear_status(0xF);
    assert_eq!((rig.value(0), rig.status()), (TOP, 0));
    assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi));
    assert_eq!(rig.status(), 1);
}
