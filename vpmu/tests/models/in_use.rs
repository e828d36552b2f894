// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P25: which counters are in use.

use vpmu::{CounterId, MsrId};

use crate::rig::{EN, FIXED_CTR_CTRL, INT, Rig, select_msr};
use crate::shapes::{self, INTEL_FROM_V4, bit, counters};

const INUSE: MsrId = MsrId(0x392);
/// Bit 63: some counter asks for PMIs.
const PMI: u64 = 1 << 63;

#[test]
fn p25_a_select_with_an_event_is_in_use() {
    for model in shapes::of(&INTEL_FROM_V4) {
        for counter in counters(&model) {
            let CounterId::Gp(n) = counter else { continue };
            let mut rig = Rig::new(model);
            for (select, used) in [
                (0, 0),
                (1, bit(counter)),
                (0x3C, bit(counter)),
                (0x80, bit(counter)),
                (0xFF00, 0),
                (EN | 3 << 16, 0),
                (INT, PMI),
                (INT | EN | 0xC0, PMI | bit(counter)),
                (0, 0),
            ] {
                rig.write(select_msr(&model, n), select);
                assert_eq!(rig.read(INUSE), used, "{model} {counter}: {select:#x}");
            }
        }
    }
}

#[test]
fn p25_a_fixed_counter_with_an_enable_bit_is_in_use() {
    for model in shapes::of(&INTEL_FROM_V4) {
        for i in model.fixed_counters() {
            let used = 1 << (32 + i);
            let mut rig = Rig::new(model);
            for (field, expected) in [
                (0b0001, used),
                (0b0010, used),
                (0b0011, used),
                (0b1000, PMI),
                (0b1001, PMI | used),
                (0, 0),
            ] {
                rig.write(FIXED_CTR_CTRL, field << (4 * i));
                assert_eq!(rig.read(INUSE), expected, "{model} fixed {i}: {field:#b}");
            }
        }
    }
}

#[test]
fn p25_all_together_whatever_the_global_control_says() {
    for model in shapes::of(&INTEL_FROM_V4) {
        let mut rig = Rig::new(model);
        let mut expected = 0;
        for counter in counters(&model) {
            rig.program(counter, true, crate::rig::Pmi::None);
            expected |= bit(counter);
            assert_eq!(rig.read(INUSE), expected, "{model} {counter}");
        }
        rig.set_control(0);
        assert_eq!(rig.read(INUSE), expected, "{model}");
        rig.program(CounterId::Gp(0), true, crate::rig::Pmi::Wanted);
        assert_eq!(rig.read(INUSE), expected | PMI, "{model}");
    }
}
