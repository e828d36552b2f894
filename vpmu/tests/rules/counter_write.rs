// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P02: writes to counters are sign-extended from bit 31. P10: they restart the distance.

use crate::rig::{CYCLES, CYCLES_INT, Rig, TOP, before_overflow};

#[test]
fn p02_written_and_read_back() {
    for (written, read) in [
        (0, 0),
        (1, 1),
        (0x7FFF_FFFF, 0x7FFF_FFFF),
        (0x8000_0000, 0xFFFF_8000_0000),
        (0xFFFF_FFFF, TOP),
        (u64::MAX, TOP),
        (0xFFFF_FFFF_0000_0000, 0),
        (0x0000_1234_0000_0005, 5),
        (0xABCD_0000_8765_4321, 0xFFFF_8765_4321),
    ] {
        let mut rig = Rig::new();
        for n in 0..4 {
            rig.set_value(n, written);
            assert_eq!(rig.value(n), read, "write of {written:#x} to counter {n}");
        }
    }
}

#[test]
fn p02_counters_do_not_share_their_value() {
    let mut rig = Rig::new();
    for n in 0..4 {
        rig.set_value(n, 100 + u64::from(n));
    }
    assert_eq!([0, 1, 2, 3].map(|n| rig.value(n)), [100, 101, 102, 103]);
}

#[test]
fn p10_a_running_counter_counts_on_from_the_new_value() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES);
    rig.count(500);
    rig.set_value(0, 10);
    assert_eq!(rig.value(0), 10, "counts before the write are gone");
    rig.count(7);
    assert_eq!(rig.value(0), 17);
}

#[test]
fn p10_an_overflow_the_guest_never_saw_is_forgotten() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES_INT);
    rig.set_value(0, before_overflow(5));
    rig.count(6);
    rig.set_value(0, before_overflow(50));
    let entry = rig.enter();
    assert_eq!((entry.pmi, rig.status(), rig.apic.asked), (None, 0, 0));
    assert_eq!(rig.value(0), TOP - 49);
    assert_eq!(rig.pmu.stats().overflows, 0);
}

#[test]
fn p10_an_overflow_without_interrupt_before_the_write_stays_in_the_status() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES);
    rig.set_value(0, before_overflow(5));
    rig.count(6);
    rig.set_value(0, 0);
    assert_eq!(rig.status(), 1, "it happened, and nothing hid it");
}
