// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P26: IA32_DEBUGCTL, as far as the PMU knows it. P29: IA32_MISC_ENABLE.

use crate::rig::{DEBUGCTL, FREEZE, Rig};
use crate::shapes::{self, INTEL_FROM_V2, is_amd};

#[test]
fn p26_only_the_freeze_is_kept() {
    const LBR_AND_BTF: u64 = 0b11;
    for model in shapes::of(&INTEL_FROM_V2) {
        let mut rig = Rig::new(model);
        for (written, read) in [
            (LBR_AND_BTF, 0),
            (FREEZE | LBR_AND_BTF, FREEZE),
            (FREEZE, FREEZE),
            (0b01, 0),
            (FREEZE, FREEZE),
            (0, 0),
        ] {
            rig.write(DEBUGCTL, written);
            assert_eq!(rig.read(DEBUGCTL), read, "{model}: {written:#x}");
        }
    }
}

#[test]
fn p26_a_reserved_bit_leaves_the_freeze_as_it_was() {
    for model in shapes::of(&INTEL_FROM_V2) {
        for bit in (2..64).filter(|bit| *bit != 12) {
            let mut rig = Rig::new(model);
            rig.write(DEBUGCTL, FREEZE);
            rig.refuse(DEBUGCTL, 1 << bit);
            assert_eq!(rig.read(DEBUGCTL), FREEZE, "{model}: bit {bit}");
        }
    }
}

#[test]
fn p29_misc_enable_says_what_there_is() {
    const PERFMON_AVAILABLE: u64 = 1 << 7;
    const BTS_UNAVAILABLE: u64 = 1 << 11;
    const PEBS_UNAVAILABLE: u64 = 1 << 12;
    for model in shapes::all() {
        // AMD has no such register.
        let all = if is_amd(&model) {
            0
        } else {
            PERFMON_AVAILABLE | BTS_UNAVAILABLE | PEBS_UNAVAILABLE
        };
        assert_eq!(model.misc_enable(), (all, all), "{model}");
    }
}
