// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P13: overflows without interrupt. P18: several wraps at once.

use vpmu::{CounterId, EventSelect};

use crate::rig::{Act, CYCLES, CYCLES_INT, Rig, Seen, TOP, before_overflow};

#[test]
fn p13_visible_at_once() {
    let mut rig = Rig::new();
    rig.set_value(0, before_overflow(5));
    rig.select(0, CYCLES);
    rig.count(4);
    assert_eq!((rig.value(0), rig.status()), (TOP, 0));
    rig.count(1);
    assert_eq!((rig.value(0), rig.status()), (0, 1));
    rig.count(1);
    assert_eq!((rig.value(0), rig.status()), (1, 1));
    assert_eq!(rig.seen(), [Seen::Overflow(CounterId::Gp(0), None)]);
    assert_eq!(rig.pmu.stats().overflows, 1);
    assert_eq!(rig.pmu.stats().skid.count, 0);
}

#[test]
fn p13_every_access_and_every_entry_finds_it() {
    let looks: [(&str, Act); 6] = [
        ("value", |rig| _ = rig.value(0)),
        ("status", |rig| _ = rig.status()),
        ("rdpmc", |rig| _ = rig.pmu.read_pmc(0)),
        ("select", |rig| rig.select(0, 0x3C)),
        ("control", |rig| rig.control(0)),
        ("entry", |rig| _ = rig.enter()),
    ];
    for (name, look) in looks {
        let mut rig = Rig::new();
        rig.set_value(0, before_overflow(5));
        rig.select(0, CYCLES);
        rig.count(6);
        look(&mut rig);
        assert_eq!(rig.pmu.stats().overflows, 1, "{name}");
        assert_eq!((rig.status(), rig.value(0)), (1, 1), "{name}");
        assert_eq!(rig.apic.asked, 0, "{name}: no PMI was asked for");
    }
}

#[test]
fn p13_setting_int_later_brings_no_pmi_for_it() {
    let mut rig = Rig::new();
    rig.set_value(0, before_overflow(5));
    rig.select(0, CYCLES);
    rig.count(6);
    rig.select(0, CYCLES_INT);
    rig.enter();
    assert_eq!((rig.status(), rig.apic.asked), (1, 0));
}

#[test]
fn p18_wraps_nobody_saw_are_one_visible_overflow() {
    for select in [CYCLES, CYCLES_INT] {
        let mut rig = Rig::new();
        rig.select(0, select);
        rig.count(3 << 48 | 7);
        rig.enter();
        assert_eq!((rig.status(), rig.value(0)), (1, 7));
        assert_eq!(rig.apic.asked, u32::from(select & EventSelect::INT != 0));
        assert_eq!(rig.pmu.stats().overflows, 3);
        assert_eq!(rig.totals(CounterId::Gp(0)).overflows, 3);
        let entry = rig.enter();
        assert_eq!(entry.pmi, None, "nothing is left over");
    }
}

#[test]
fn p18_a_source_gone_mad_does_no_harm() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES_INT);
    for _ in 0..3 {
        rig.count(u64::MAX);
        rig.enter();
        rig.value(0);
    }
    assert_eq!(rig.pmu.stats().pmis, 3);
}
