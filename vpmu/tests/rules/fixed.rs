// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P22: the fixed-function counters. P07: their RDPMC.

use vpmu::msr::{IA32_FIXED_CTR_CTRL, IA32_FIXED_CTR0};
use vpmu::source::script::ScriptSource;
use vpmu::{CounterId, CounterState, Event, EventSelect, PmuModel};

use crate::rig::{CYCLES_INT, Rig, Seen, TOP};

/// User and kernel in the field of counter 1.
const BOTH: u64 = 0x30;
const PMI: u64 = 0x80;

fn fixed(n: u32) -> vpmu::MsrId {
    IA32_FIXED_CTR0.nth(n)
}

/// All three fixed-function counters on, by both enable bits.
fn running(model: PmuModel) -> Rig {
    let mut rig = Rig::of(model);
    rig.control(0b111 << 32);
    rig.write(IA32_FIXED_CTR_CTRL, 0x333);
    rig
}

#[test]
fn p22_each_counts_its_event() {
    let mut rig = running(PmuModel::INTEL_V2);
    for (n, event) in Event::FIXED.iter().enumerate() {
        let config = rig.pmu.source().running(8 + n).expect("it runs");
        assert_eq!(config.event, *event, "counter {n}");
        assert!(config.usr && config.os && config.cmask == 0 && !config.any_thread);
        rig.pmu.source_mut().count_slot(8 + n, 10 + n as u64);
    }
    assert_eq!([0, 1, 2].map(|n| rig.read(fixed(n))), [10, 11, 12]);
    assert_eq!(
        [0, 1, 2].map(|n| rig.pmu.read_pmc(1 << 30 | n)),
        [10, 11, 12].map(Some)
    );
}

#[test]
fn p22_each_level_and_any_thread_by_its_bit() {
    for (field, [os, usr, any_thread]) in [
        (0x1, [true, false, false]),
        (0x2, [false, true, false]),
        (0x3, [true, true, false]),
        (0x7, [true, true, true]),
    ] {
        let mut rig = Rig::of(PmuModel::INTEL_V3);
        rig.control(1 << 34);
        rig.write(IA32_FIXED_CTR_CTRL, field << 8);
        let config = rig.pmu.source().running(10).expect("it runs");
        assert_eq!(
            [config.os, config.usr, config.any_thread],
            [os, usr, any_thread]
        );
    }
}

#[test]
fn p22_writes_take_the_whole_width_and_no_more() {
    let mut rig = Rig::of(PmuModel::INTEL_V2);
    for value in [0, 0x8000_0000, 0x1234_5678_9ABC, TOP] {
        rig.write(fixed(2), value);
        assert_eq!(rig.read(fixed(2)), value);
        rig.refuse(fixed(2), value | 1 << 48);
        rig.refuse(fixed(2), value | 1 << 63);
        assert_eq!(rig.read(fixed(2)), value);
    }
}

#[test]
fn p22_reserved_bits_of_the_control() {
    for (model, any_thread) in [
        (PmuModel::INTEL_V2, false),
        (PmuModel::INTEL_V3, true),
        (PmuModel::INTEL_V4, true),
    ] {
        for bit in 0..64 {
            let mut rig = Rig::of(model);
            if bit < 12 && (bit % 4 != 2 || any_thread) {
                rig.write(IA32_FIXED_CTR_CTRL, 1 << bit);
                assert_eq!(rig.read(IA32_FIXED_CTR_CTRL), 1 << bit, "{model}");
            } else {
                rig.write(IA32_FIXED_CTR_CTRL, BOTH);
                rig.refuse(IA32_FIXED_CTR_CTRL, 1 << bit);
                assert_eq!(rig.read(IA32_FIXED_CTR_CTRL), BOTH, "{model}: bit {bit}");
            }
        }
    }
}

#[test]
fn p08_both_enables_of_a_fixed_counter_are_needed() {
    for (field, control, counts) in [
        (0x30, 1 << 33, true),
        (0x10, 1 << 33, true),
        (0x20, 1 << 33, true),
        (0x00, 1 << 33, false),
        (0x80, 1 << 33, false),
        (0x30, 0b101 << 32 | 0xF, false),
    ] {
        let mut rig = Rig::of(PmuModel::INTEL_V2);
        rig.control(control);
        rig.write(IA32_FIXED_CTR_CTRL, field);
        rig.count(7);
        let expected = if counts { 7 } else { 0 };
        assert_eq!(rig.read(fixed(1)), expected, "{field:#x}, {control:#x}");
    }
}

#[test]
fn p22_an_overflow_has_bit_32_and_above_and_its_pmi() {
    let mut rig = Rig::of(PmuModel::INTEL_V2);
    rig.control(1 << 33 | 1);
    rig.select(0, CYCLES_INT);
    rig.set_value(0, u64::MAX);
    rig.write(fixed(1), TOP);
    rig.write(IA32_FIXED_CTR_CTRL, BOTH | PMI);
    rig.count(3);
    assert_eq!((rig.read(fixed(1)), rig.status()), (TOP, 0), "P14");
    rig.enter();
    assert_eq!((rig.read(fixed(1)), rig.status()), (2, 1 << 33 | 1));
    assert_eq!(rig.apic.asked, 1, "one PMI for both");
    rig.write(IA32_FIXED_CTR_CTRL, BOTH);
    rig.write(fixed(1), TOP);
    rig.clear_status(1 << 33);
    rig.count(1);
    assert_eq!(rig.status(), 1 << 33 | 1, "P13: without PMI at once");
}

#[test]
fn p11_one_that_cannot_count_stands_still_and_is_told() {
    let cycles = ScriptSource::supporting(|config| config.event == Event::CoreCycles);
    let mut rig = Rig::with(PmuModel::INTEL_V2, cycles);
    rig.control(0b11 << 32);
    rig.write(IA32_FIXED_CTR_CTRL, 0x33);
    rig.count(9);
    assert_eq!((rig.read(fixed(0)), rig.read(fixed(1))), (0, 9));
    assert_eq!(rig.state(CounterId::Fixed(0)), CounterState::NotCounted);
    let asked = EventSelect(0x43_00C0);
    assert_eq!(rig.seen(), [Seen::NotCounted(CounterId::Fixed(0), asked)]);
}

#[test]
fn p07_no_other_index_of_a_fixed_counter() {
    let mut rig = running(PmuModel::INTEL_V2);
    for index in [3, 4, 8, 1 << 29, 1 << 31, 1 << 31 | 1] {
        assert_eq!(rig.pmu.read_pmc(1 << 30 | index), None, "{index:#x}");
    }
    let mut amd = Rig::of(PmuModel::AMD_V2);
    assert_eq!(amd.pmu.read_pmc(1 << 30), None);
    assert_eq!((amd.pmu.read_pmc(5), amd.pmu.read_pmc(6)), (Some(0), None));
}
