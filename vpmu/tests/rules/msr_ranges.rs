// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which MSRs are the PMU's.

use vpmu::{MsrId, PMU_MSR_RANGES};

#[test]
fn ranges_are_sorted_apart_and_few_enough_for_a_filter() {
    assert!(PMU_MSR_RANGES.len() <= 16);
    let mut end = 0;
    for range in PMU_MSR_RANGES {
        assert!(range.count > 0);
        assert!(range.first.0 >= end, "{range:x?}");
        end = range.first.0 + range.count;
    }
}

#[test]
fn every_register_of_both_vendors_is_in() {
    let rows: [(u32, u32, &str); 22] = [
        (0xC1, 8, "IA32_PMCx"),
        (0x186, 8, "IA32_PERFEVTSELx"),
        (0x1A6, 2, "MSR_OFFCORE_RSP_x"),
        (0x309, 4, "IA32_FIXED_CTRx"),
        (0x329, 1, "MSR_PERF_METRICS"),
        (0x345, 1, "IA32_PERF_CAPABILITIES"),
        (0x38D, 1, "IA32_FIXED_CTR_CTRL"),
        (0x38E, 1, "IA32_PERF_GLOBAL_STATUS"),
        (0x38F, 1, "IA32_PERF_GLOBAL_CTRL"),
        (0x390, 1, "IA32_PERF_GLOBAL_OVF_CTRL"),
        (0x391, 1, "IA32_PERF_GLOBAL_STATUS_SET"),
        (0x392, 1, "IA32_PERF_GLOBAL_INUSE"),
        (0x3F1, 2, "IA32_PEBS_ENABLE, MSR_PEBS_DATA_CFG"),
        (0x3F4, 2, "IA32_PEBS_BASE, IA32_PEBS_INDEX"),
        (0x3F6, 2, "MSR_PEBS_LD_LAT, MSR_PEBS_FRONTEND"),
        (0x4C1, 8, "IA32_A_PMCx"),
        (0x600, 1, "IA32_DS_AREA"),
        (0x1900, 4 * 8, "version 6 general-purpose"),
        (0x1980, 4 * 4, "version 6 fixed"),
        (0xC000_0300, 4, "PerfCntrGlobalx"),
        (0xC001_0000, 8, "PerfEvtSelx, PerfCtrx"),
        (0xC001_0200, 12, "PERF_CTLx, PERF_CTRx"),
    ];
    for (first, count, name) in rows {
        for n in 0..count {
            assert!(MsrId(first).nth(n).is_pmu(), "{name} {n}");
        }
    }
}

#[test]
fn registers_of_others_are_not() {
    for (msr, name) in [
        (0x10, "IA32_TIME_STAMP_COUNTER"),
        (0xCE, "MSR_PLATFORM_INFO"),
        (0xE7, "IA32_MPERF"),
        (0xE8, "IA32_APERF"),
        (0x198, "IA32_PERF_STATUS"),
        (0x199, "IA32_PERF_CTL"),
        (0x1A0, "IA32_MISC_ENABLE"),
        (0x1A4, "MSR_MISC_FEATURE_CONTROL"),
        (0x1AD, "MSR_TURBO_RATIO_LIMIT"),
        (0x1C8, "MSR_LBR_SELECT"),
        (0x1D9, "IA32_DEBUGCTL"),
        (0x277, "IA32_PAT"),
        (0x3F8, "MSR_PKG_C3_RESIDENCY"),
        (0x480, "IA32_VMX_BASIC"),
        (0x4D0, "IA32_MCG_EXT_CTL"),
        (0x6E0, "IA32_TSC_DEADLINE"),
        (0x834, "the local APIC's LVTPC"),
        (0xC000_0080, "IA32_EFER"),
        (0xC000_0104, "TSC ratio"),
        (0xC001_0010, "SYSCFG"),
        (0xC001_0015, "HWCR"),
        (0xC001_0230, "L3 counters"),
        (0xC001_0240, "northbridge counters"),
        (0xC001_1030, "instruction-based sampling"),
        (0x4B56_4D00, "KVM_WALL_CLOCK_NEW"),
    ] {
        assert!(!MsrId(msr).is_pmu(), "{name}");
    }
}
