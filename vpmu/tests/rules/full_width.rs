// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P23: full-width writes.

use vpmu::PmuModel;
use vpmu::msr::{IA32_A_PMC0, IA32_PERF_CAPABILITIES, IA32_PMC0};

use crate::rig::{CYCLES, Rig, TOP};

#[test]
fn p23_writes_take_the_whole_width_and_no_more() {
    let mut rig = Rig::of(PmuModel::INTEL_V3);
    for value in [0, 0x8000_0000, 0x1234_5678_9ABC, TOP] {
        rig.write(IA32_A_PMC0.nth(1), value);
        assert_eq!(rig.read(IA32_PMC0.nth(1)), value, "one register");
        assert_eq!(rig.read(IA32_A_PMC0.nth(1)), value);
        rig.refuse(IA32_A_PMC0.nth(1), value | 1 << 48);
        assert_eq!(rig.value(1), value);
    }
    rig.set_value(1, 0x8000_0000);
    assert_eq!(rig.read(IA32_A_PMC0.nth(1)), 0xFFFF_8000_0000, "P02");
}

#[test]
fn p23_a_running_counter_counts_on_from_there() {
    let mut rig = Rig::of(PmuModel::INTEL_V3);
    rig.select(0, CYCLES);
    rig.count(5);
    rig.write(IA32_A_PMC0, TOP - 1);
    rig.count(3);
    assert_eq!((rig.value(0), rig.status()), (1, 1));
}

#[test]
fn p23_the_capabilities_say_so_and_are_read_only() {
    let mut rig = Rig::of(PmuModel::INTEL_V3);
    assert_eq!(rig.read(IA32_PERF_CAPABILITIES), 0x2000);
    for value in [0, 0x2000, u64::MAX] {
        rig.refuse(IA32_PERF_CAPABILITIES, value);
    }
    let mut without = Rig::of(PmuModel::INTEL_V2);
    without.refuse(IA32_PERF_CAPABILITIES, 0);
    without.refuse(IA32_A_PMC0, 0);
}
