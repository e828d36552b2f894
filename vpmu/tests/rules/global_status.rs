// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P05: the status is read-only. P06: IA32_PERF_GLOBAL_OVF_CTRL clears it.

use vpmu::MsrWrite;
use vpmu::msr::{IA32_PERF_GLOBAL_OVF_CTRL, IA32_PERF_GLOBAL_STATUS};

use crate::rig::{CYCLES, Rig, before_overflow};

/// A PMU whose four counters have all overflowed.
fn all_overflowed() -> Rig {
    let mut rig = Rig::new();
    for n in 0..4 {
        rig.set_value(n, before_overflow(1));
        rig.select(n, CYCLES);
    }
    rig.count(1);
    rig
}

#[test]
fn p05_status_has_one_bit_a_counter() {
    for n in 0..4 {
        let mut rig = Rig::new();
        assert_eq!(rig.status(), 0);
        rig.set_value(n, before_overflow(1));
        rig.select(n, CYCLES);
        rig.count(1);
        assert_eq!(rig.status(), 1 << n);
    }
    assert_eq!(all_overflowed().status(), 0xF);
}

#[test]
fn p05_status_is_read_only() {
    let mut rig = all_overflowed();
    for value in [0, 1, 0xF, u64::MAX] {
        let answer = rig.pmu.write_msr(IA32_PERF_GLOBAL_STATUS, value);
        assert_eq!(answer, MsrWrite::GeneralProtection, "{value:#x}");
        assert_eq!(rig.status(), 0xF);
    }
}

#[test]
fn p06_ones_clear_their_status_bits() {
    for bits in 0..=0xF {
        let mut rig = all_overflowed();
        rig.clear_status(bits);
        assert_eq!(rig.status(), 0xF & !bits, "{bits:#x}");
    }
}

#[test]
fn p06_each_bit_is_accepted_or_reserved() {
    for bit in 0..64 {
        let mut rig = all_overflowed();
        let value = 1 << bit | 1;
        let (answer, status) = match bit {
            0..4 | 62 | 63 => (MsrWrite::Done, 0xF & !value),
            _ => (MsrWrite::GeneralProtection, 0xF),
        };
        assert_eq!(
            rig.pmu.write_msr(IA32_PERF_GLOBAL_OVF_CTRL, value),
            answer,
            "bit {bit}"
        );
        assert_eq!(rig.status(), status, "bit {bit}");
        assert_eq!(rig.read(IA32_PERF_GLOBAL_OVF_CTRL), 0, "bit {bit}");
    }
}

#[test]
fn p06_clears_overflows_up_to_the_write() {
    let mut rig = Rig::new();
    rig.set_value(0, before_overflow(1));
    rig.select(0, CYCLES);
    rig.count(1);
    rig.clear_status(1);
    assert_eq!(
        rig.status(),
        0,
        "it happened before the write, though nobody had looked"
    );
}
