// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P25: which counters are in use.

use vpmu::PmuModel;
use vpmu::msr::{IA32_FIXED_CTR_CTRL, IA32_PERF_GLOBAL_INUSE};

use crate::rig::Rig;

#[test]
fn p25_follows_selects_and_fields() {
    let mut rig = Rig::of(PmuModel::INTEL_V4);
    for (n, select, fields, in_use) in [
        (0, 0, 0, 0),
        (0, 0x00C0, 0, 1),
        (3, 0x0001, 0, 0b1001),
        (0, 0xFF00, 0, 0b1000),
        (3, 0, 0x100, 1 << 34),
        (3, 0, 0x024, 1 << 33),
        (3, 0, 0x800, 1 << 63),
        (3, 1 << 20, 0, 1 << 63),
        (3, 0, 0, 0),
    ] {
        rig.select(n, select);
        rig.write(IA32_FIXED_CTR_CTRL, fields);
        assert_eq!(
            rig.read(IA32_PERF_GLOBAL_INUSE),
            in_use,
            "{select:#x}, {fields:#x}"
        );
    }
    for value in [0, 1, u64::MAX] {
        rig.refuse(IA32_PERF_GLOBAL_INUSE, value);
    }
}
