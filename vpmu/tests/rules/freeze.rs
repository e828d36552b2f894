// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P26: IA32_DEBUGCTL. P27, P28: counters that a PMI freezes.

use vpmu::msr::{IA32_DEBUGCTL, IA32_PERF_GLOBAL_CTRL, IA32_PERF_GLOBAL_STATUS_SET};
use vpmu::{Entry, MsrRead, MsrWrite, PmiOutcome, PmuModel};

use crate::rig::{CYCLES, CYCLES_INT, Rig, before_overflow};

const FREEZE: u64 = 1 << 12;
const CTR_FRZ: u64 = 1 << 59;

/// Counter 0 two counts past an overflow with INT, counter 1 just counting.
fn due(model: PmuModel, debugctl: u64) -> Rig {
    let mut rig = Rig::of(model);
    rig.write(IA32_DEBUGCTL, debugctl);
    rig.select(0, CYCLES_INT);
    rig.select(1, CYCLES);
    rig.set_value(0, before_overflow(5));
    rig.count(7);
    rig
}

#[test]
fn p26_keeps_the_freeze_drops_two_and_refuses_the_rest() {
    for bit in 0..64 {
        let mut rig = Rig::of(PmuModel::INTEL_V2);
        match bit {
            0 | 1 => {
                rig.write(IA32_DEBUGCTL, 1 << bit);
                assert_eq!(rig.read(IA32_DEBUGCTL), 0, "bit {bit}");
            }
            12 => {
                rig.write(IA32_DEBUGCTL, FREEZE | 0b11);
                assert_eq!(rig.read(IA32_DEBUGCTL), FREEZE);
            }
            _ => {
                rig.write(IA32_DEBUGCTL, FREEZE);
                rig.refuse(IA32_DEBUGCTL, 1 << bit);
                assert_eq!(rig.read(IA32_DEBUGCTL), FREEZE, "bit {bit}");
            }
        }
    }
    for model in [PmuModel::INTEL_V1, PmuModel::AMD_V2] {
        let mut rig = Rig::of(model);
        assert_eq!(rig.pmu.read_msr(IA32_DEBUGCTL), MsrRead::NotHandled);
        assert_eq!(rig.pmu.write_msr(IA32_DEBUGCTL, 0), MsrWrite::NotHandled);
    }
}

#[test]
fn p27_a_delivered_pmi_clears_the_global_control() {
    let mut rig = due(PmuModel::INTEL_V3, FREEZE);
    let entry = rig.enter();
    assert_eq!(entry.pmi, Some(PmiOutcome::Nmi));
    assert_eq!(entry.recheck, None, "nothing runs any more");
    assert_eq!((rig.read(IA32_PERF_GLOBAL_CTRL), rig.status()), (0, 1));
    rig.count(100);
    assert_eq!(
        (rig.value(0), rig.value(1)),
        (2, 7),
        "all counts up to then"
    );
    rig.control(0b11);
    rig.count(10);
    assert_eq!((rig.value(0), rig.value(1)), (12, 17));
}

#[test]
fn p28_a_delivered_pmi_sets_the_freeze_bit() {
    let mut rig = due(PmuModel::INTEL_V4, FREEZE);
    let entry = rig.enter();
    assert_eq!((entry.pmi, entry.recheck), (Some(PmiOutcome::Nmi), None));
    assert_eq!(rig.status(), CTR_FRZ | 1);
    assert_eq!(rig.read(IA32_PERF_GLOBAL_CTRL), 0xFF);
    rig.count(100);
    rig.clear_status(1);
    rig.control(0xFF);
    rig.select(1, CYCLES);
    rig.count(100);
    assert_eq!((rig.value(0), rig.value(1)), (2, 7), "until it is cleared");
    assert!(!rig.pmu.counting());
    rig.clear_status(CTR_FRZ);
    rig.count(10);
    assert_eq!((rig.value(0), rig.value(1)), (12, 17));
}

#[test]
fn p28_set_by_hand_it_freezes_as_well() {
    let mut rig = due(PmuModel::INTEL_V4, 0);
    rig.write(IA32_PERF_GLOBAL_STATUS_SET, CTR_FRZ);
    rig.count(100);
    assert_eq!(rig.enter(), Entry::default(), "P15: it does not run");
    assert_eq!(rig.value(1), 7);
    rig.clear_status(CTR_FRZ);
    assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi));
    assert_eq!(rig.value(0), 2);
}

#[test]
fn p27_p28_only_a_delivered_pmi_and_only_if_asked() {
    for model in [PmuModel::INTEL_V2, PmuModel::INTEL_V5] {
        for (debugctl, outcome) in [
            (0, PmiOutcome::Nmi),
            (FREEZE, PmiOutcome::Masked),
            (FREEZE, PmiOutcome::Undeliverable),
        ] {
            let mut rig = due(model, debugctl);
            rig.apic.answer = Ok(outcome);
            rig.enter();
            assert_eq!(rig.status(), 1, "{model}, {outcome:?}");
            rig.count(10);
            assert_eq!(
                (rig.value(0), rig.value(1)),
                (12, 17),
                "{model}, {outcome:?}"
            );
        }
    }
}
