// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P04: the global enable bits.

use vpmu::MsrWrite;
use vpmu::msr::IA32_PERF_GLOBAL_CTRL;

use crate::rig::{CYCLES, Rig};

#[test]
fn p04_starts_with_all_counters_enabled() {
    assert_eq!(Rig::new().read(IA32_PERF_GLOBAL_CTRL), 0xF);
}

#[test]
fn p04_each_bit_is_accepted_or_reserved() {
    for bit in 0..64 {
        let mut rig = Rig::new();
        let (answer, read) = if bit < 4 {
            (MsrWrite::Done, 1 << bit)
        } else {
            (MsrWrite::GeneralProtection, 0xF)
        };
        assert_eq!(
            rig.pmu.write_msr(IA32_PERF_GLOBAL_CTRL, 1 << bit),
            answer,
            "bit {bit}"
        );
        assert_eq!(rig.read(IA32_PERF_GLOBAL_CTRL), read, "bit {bit}");
    }
}

#[test]
fn p04_a_refused_write_does_not_stop_counters() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES);
    let refused = rig.pmu.write_msr(IA32_PERF_GLOBAL_CTRL, 1 << 32);
    assert_eq!(refused, MsrWrite::GeneralProtection);
    rig.count(3);
    assert_eq!(rig.value(0), 3);
}
