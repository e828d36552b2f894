// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P21: the skid is measured, and stays in the counter.

use vpmu::SkidStats;

use crate::rig::{CYCLES_INT, Rig, before_overflow};

/// A PMU that had overflows with these skids.
fn after(skids: &[u64]) -> Rig {
    let mut rig = Rig::new();
    rig.select(0, CYCLES_INT);
    for &skid in skids {
        rig.set_value(0, before_overflow(10));
        rig.count(10 + skid);
        rig.enter();
        assert_eq!(rig.value(0), skid);
    }
    rig
}

#[test]
fn p21_count_max_sum_and_mean() {
    let rig = after(&[3, 0, 50, 7]);
    let skid = rig.pmu.stats().skid;
    assert_eq!(
        (skid.count, skid.max, skid.sum, skid.mean()),
        (4, 50, 60, Some(15))
    );
    assert_eq!(Rig::new().pmu.stats().skid.mean(), None);
}

#[test]
fn p21_skids_by_powers_of_two() {
    for (skid, bucket) in [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 2),
        (4, 3),
        (1_023, 10),
        (1_024, 11),
    ] {
        let rig = after(&[skid, skid]);
        let mut expected = [0; SkidStats::BUCKETS];
        expected[bucket] = 2;
        assert_eq!(rig.pmu.stats().skid.buckets(), &expected, "{skid}");
    }
    let rig = after(&[1 << 40]);
    assert_eq!(
        rig.pmu.stats().skid.buckets()[SkidStats::BUCKETS - 1],
        1,
        "too large for the rest"
    );
}

#[test]
fn p21_each_counter_of_a_shared_pmi_has_its_own() {
    let mut rig = Rig::new();
    rig.set_value(0, before_overflow(10));
    rig.set_value(1, before_overflow(30));
    rig.select(0, CYCLES_INT);
    rig.select(1, CYCLES_INT);
    rig.count(31);
    rig.enter();
    let skid = rig.pmu.stats().skid;
    assert_eq!((skid.count, skid.max, skid.sum), (2, 21, 22));
}
