// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P34: what a reset does, and what it leaves alone.

use vpmu::msr::{
    IA32_DEBUGCTL, IA32_FIXED_CTR_CTRL, IA32_FIXED_CTR0, IA32_PERF_GLOBAL_CTRL,
    IA32_PERF_GLOBAL_STATUS_SET, IA32_PERFEVTSEL0,
};
use vpmu::{CounterId, Entry, Nanos, PmuModel};

use crate::rig::{CYCLES, CYCLES_INT, Rig, before_overflow};

/// Everything written, an overflow due, a PMI asked for by hand.
fn used() -> Rig {
    let mut rig = Rig::of(PmuModel::INTEL_V4);
    rig.set_value(0, before_overflow(5));
    rig.select(0, CYCLES_INT);
    rig.select(1, CYCLES_INT);
    rig.control(0b111 << 32 | 0b11);
    rig.write(IA32_FIXED_CTR_CTRL, 0xBB);
    rig.write(IA32_DEBUGCTL, 1 << 12);
    rig.write(IA32_PERF_GLOBAL_STATUS_SET, 0b10);
    rig.count(7);
    rig
}

#[test]
fn p34_every_register_is_as_after_power_up() {
    let mut rig = used();
    rig.pmu.reset();
    assert_eq!(rig.status(), 0);
    assert_eq!(rig.read(IA32_PERF_GLOBAL_CTRL), 0xFF);
    assert_eq!(rig.read(IA32_FIXED_CTR_CTRL), 0);
    assert_eq!(rig.read(IA32_FIXED_CTR0), 0);
    assert_eq!(rig.read(IA32_DEBUGCTL), 0);
    assert_eq!((rig.value(0), rig.read(IA32_PERFEVTSEL0)), (0, 0));
}

#[test]
fn p34_nothing_is_pending_and_nothing_counts() {
    let mut rig = used();
    rig.pmu.reset();
    assert!((0..16).all(|slot| rig.pmu.source().running(slot).is_none()));
    assert_eq!(rig.enter(), Entry::default());
    for n in 0..2 {
        rig.select(n, CYCLES_INT);
    }
    rig.count(9);
    assert_eq!(
        rig.enter().pmi,
        None,
        "neither the overflow nor the asking is left"
    );
    assert_eq!(rig.value(0), 9);
}

#[test]
fn p34_the_hosts_part_stays() {
    let mut rig = Rig::of(PmuModel::INTEL_V2);
    rig.pmu.set_min_rearm(Nanos(1_000));
    rig.select(0, CYCLES_INT);
    rig.set_value(0, u64::MAX);
    rig.count(1);
    rig.enter_at(Nanos(5_000));
    rig.select(1, CYCLES);
    rig.count(30);
    rig.pmu.reset();
    assert_eq!(rig.pmu.stats().pmis, 1);
    assert_eq!(rig.totals(CounterId::Gp(1)).counted, 30, "up to the reset");
    rig.select(0, CYCLES_INT);
    rig.set_value(0, u64::MAX);
    rig.count(1);
    assert_eq!(
        rig.enter_at(Nanos(5_999)).pmi,
        None,
        "the throttle holds on"
    );
}
