// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P01: what is not there faults, what is not the PMU's is left to others.

use vpmu::{MsrId, MsrRead, MsrWrite, PMU_MSR_RANGES};

use crate::rig::Rig;

/// Every MSR that intel-v2 has without fixed-function counters.
const PRESENT: [std::ops::RangeInclusive<u32>; 3] = [0xC1..=0xC4, 0x186..=0x189, 0x38D..=0x390];

#[test]
fn p01_every_other_pmu_msr_faults() {
    let mut rig = Rig::new();
    let mut absent = 0;
    for range in PMU_MSR_RANGES {
        for msr in (0..range.count).map(|n| range.first.nth(n)) {
            let present = PRESENT.iter().any(|range| range.contains(&msr.0));
            let read = rig.pmu.read_msr(msr);
            if present {
                assert!(matches!(read, MsrRead::Value(_)), "{msr:x?}");
            } else {
                assert_eq!(read, MsrRead::GeneralProtection, "{msr:x?}");
                assert_eq!(
                    rig.pmu.write_msr(msr, 0),
                    MsrWrite::GeneralProtection,
                    "{msr:x?}"
                );
                absent += 1;
            }
        }
    }
    assert!(
        absent > 200,
        "{absent} is too few: the ranges are not what they were"
    );
}

#[test]
fn p01_msrs_of_others_are_not_handled() {
    let mut rig = Rig::new();
    for msr in [
        0,
        0x10,
        0x1B,
        0xC0,
        0xC9,
        0x185,
        0x18E,
        0x1A0,
        0x308,
        0x38C,
        0x393,
        0x3F8,
        0x80,
        0x834,
        0xC000_0080,
        0xC000_0304,
        0xC001_0008,
        0xC001_001F,
        0xC001_0230,
        u32::MAX,
    ] {
        assert_eq!(
            rig.pmu.read_msr(MsrId(msr)),
            MsrRead::NotHandled,
            "{msr:#x}"
        );
        assert_eq!(
            rig.pmu.write_msr(MsrId(msr), 0),
            MsrWrite::NotHandled,
            "{msr:#x}"
        );
    }
}
