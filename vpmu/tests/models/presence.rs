// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P01: which registers each model has, and what they hold at first.

use std::collections::BTreeMap;

use vpmu::{MsrId, MsrRead, MsrWrite, PMU_MSR_RANGES, PmuModel};

use crate::rig::Rig;
use crate::shapes;
use crate::table::{Register, Writes, registers};

fn by_number(model: &PmuModel) -> BTreeMap<MsrId, Register> {
    let rows = registers(model);
    let count = rows.len();
    let table: BTreeMap<_, _> = rows.into_iter().map(|row| (row.msr, row)).collect();
    assert_eq!(table.len(), count, "{model}: no number stands for two");
    table
}

#[test]
fn p01_every_pmu_msr_is_there_or_faults() {
    for model in shapes::all() {
        let table = by_number(&model);
        let mut found = 0;
        for range in model.msr_ranges() {
            for msr in (0..range.count).map(|n| range.first.nth(n)) {
                let mut rig = Rig::new(model);
                let (read, written) = (rig.pmu.read_msr(msr), rig.pmu.write_msr(msr, 0));
                let Some(register) = table.get(&msr) else {
                    assert_eq!(read, MsrRead::GeneralProtection, "{model}: {msr:x?}");
                    assert_eq!(written, MsrWrite::GeneralProtection, "{model}: {msr:x?}");
                    continue;
                };
                found += 1;
                assert_eq!(
                    read,
                    MsrRead::Value(register.reset),
                    "{model}: {}",
                    register.name
                );
                let expected = if register.writes == Writes::Never {
                    MsrWrite::GeneralProtection
                } else {
                    MsrWrite::Done
                };
                assert_eq!(written, expected, "{model}: {}", register.name);
            }
        }
        assert_eq!(found, table.len(), "{model}: all of them are routed");
    }
}

#[test]
fn p01_the_ranges_are_the_pmus_and_debugctl() {
    for model in shapes::all() {
        let debugctl = MsrId(0x1D9);
        let routed = |msr| model.msr_ranges().any(|range| range.contains(msr));
        for range in PMU_MSR_RANGES {
            assert!(
                (0..range.count).all(|n| routed(range.first.nth(n))),
                "{model}"
            );
        }
        assert_eq!(routed(debugctl), shapes::version(&model) >= 2, "{model}");
        let count: u32 = model.msr_ranges().map(|range| range.count).sum();
        let pmus: u32 = PMU_MSR_RANGES.iter().map(|range| range.count).sum();
        assert_eq!(count, pmus + u32::from(routed(debugctl)), "{model}");
    }
}

#[test]
fn p01_other_msrs_are_not_handled() {
    const OTHERS: [u32; 24] = [
        0,
        0x10,
        0x1B,
        0xC0,
        0xC9,
        0x185,
        0x18E,
        0x1A0,
        0x1D8,
        0x1DA,
        0x308,
        0x319,
        0x38C,
        0x393,
        0x3F8,
        0x4C0,
        0x4C9,
        0x834,
        0xC000_0080,
        0xC000_0304,
        0xC001_0008,
        0xC001_01FF,
        0xC001_020C,
        u32::MAX,
    ];
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        let debugctl = (shapes::version(&model) < 2).then_some(0x1D9);
        for msr in OTHERS.into_iter().chain(debugctl).map(MsrId) {
            assert_eq!(
                rig.pmu.read_msr(msr),
                MsrRead::NotHandled,
                "{model}: {msr:x?}"
            );
            for value in [0, u64::MAX] {
                let answer = rig.pmu.write_msr(msr, value);
                assert_eq!(answer, MsrWrite::NotHandled, "{model}: {msr:x?}");
            }
        }
    }
}

#[test]
fn p01_what_is_not_offered_faults_on_every_model() {
    let absent = [
        (0x1A6, "MSR_OFFCORE_RSP_0"),
        (0x1A7, "MSR_OFFCORE_RSP_1"),
        (0x30C, "IA32_FIXED_CTR3, topdown slots"),
        (0x318, "IA32_FIXED_CTR15"),
        (0x329, "MSR_PERF_METRICS"),
        (0x3F1, "IA32_PEBS_ENABLE"),
        (0x3F2, "MSR_PEBS_DATA_CFG"),
        (0x3F4, "IA32_PEBS_BASE"),
        (0x3F6, "MSR_PEBS_LD_LAT"),
        (0x3F7, "MSR_PEBS_FRONTEND"),
        (0x600, "IA32_DS_AREA"),
        (0x1900, "version 6's counters"),
    ];
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        for (msr, name) in absent {
            let msr = MsrId(msr);
            assert_eq!(
                rig.pmu.read_msr(msr),
                MsrRead::GeneralProtection,
                "{model}: {name}"
            );
            for value in [0, 1, u64::MAX] {
                let answer = rig.pmu.write_msr(msr, value);
                assert_eq!(answer, MsrWrite::GeneralProtection, "{model}: {name}");
            }
        }
    }
}
