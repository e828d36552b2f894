// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P07: RDPMC.

use crate::rig::{CYCLES, CYCLES_INT, Rig, TOP, before_overflow};

#[test]
fn p07_reads_what_rdmsr_reads() {
    let mut rig = Rig::new();
    for n in 0..4 {
        rig.set_value(n, 1_000 * u64::from(n));
        rig.select(n, CYCLES);
    }
    rig.count(5);
    for n in 0..4 {
        assert_eq!(rig.pmu.read_pmc(n), Some(1_000 * u64::from(n) + 5));
        assert_eq!(rig.pmu.read_pmc(n), Some(rig.value(n)));
    }
}

#[test]
fn p07_any_other_index_faults() {
    let mut rig = Rig::new();
    for index in [
        4,
        5,
        7,
        8,
        0x100,
        1 << 30,
        1 << 30 | 1,
        1 << 31,
        1 << 31 | 2,
        u32::MAX,
    ] {
        assert_eq!(rig.pmu.read_pmc(index), None, "{index:#x}");
    }
}

#[test]
fn p07_a_counter_can_be_read_after_it_was_disabled() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES);
    rig.count(5);
    rig.select(0, 0);
    assert_eq!(rig.pmu.read_pmc(0), Some(5));
}

#[test]
fn p14_rdpmc_holds_a_due_overflow_back_too() {
    let mut rig = Rig::new();
    rig.set_value(0, before_overflow(1));
    rig.select(0, CYCLES_INT);
    rig.count(9);
    assert_eq!(rig.pmu.read_pmc(0), Some(TOP));
    rig.enter();
    assert_eq!(rig.pmu.read_pmc(0), Some(8));
}
