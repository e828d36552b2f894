// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What CPUID says of the models.

use vpmu::{CpuidLeaf, ModelError, PmuModel};

#[test]
fn leaf_a_of_intel_v2() {
    let CpuidLeaf { eax, ebx, ecx, edx } = PmuModel::INTEL_V2.cpuid().leaf_a;
    assert_eq!(
        eax.to_le_bytes(),
        [2, 4, 48, 7],
        "version, counters, width, length of EBX"
    );
    for (bit, event, offered) in [
        (0, "core cycles", true),
        (1, "instructions", false),
        (2, "reference cycles", true),
        (3, "cache references", false),
        (4, "cache misses", false),
        (5, "branches", false),
        (6, "branch misses", false),
    ] {
        assert_eq!(ebx & 1 << bit == 0, offered, "{event}");
    }
    assert_eq!(ebx >> 7, 0);
    assert_eq!((ecx, edx), (0, 0), "no fixed counters");
}

#[test]
fn models_are_found_by_their_names() {
    for model in PmuModel::ALL {
        assert_eq!(model.name().parse(), Ok(*model));
        assert_eq!(model.to_string(), model.name());
    }
    for name in ["", "intel", "Intel-v2", "intel-v2 "] {
        assert_eq!(
            name.parse::<PmuModel>(),
            Err(ModelError::Unknown),
            "{name:?}"
        );
    }
    let message = ModelError::Unknown.to_string();
    for model in PmuModel::ALL {
        assert!(message.contains(model.name()), "{message:?} names {model}");
    }
}

#[test]
fn intel_masks_its_lvtpc() {
    assert!(PmuModel::INTEL_V2.masks_lvtpc_on_pmi());
}
