// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What CPUID says of the models.

use vpmu::{CpuidLeaf, Event, EventConfig, ModelError, PmuCpuid, PmuKind, PmuModel, Vendor};

/// The bits of EBX in leaf 0AH, in order.
const ARCHITECTURAL: [(Event, &str); 7] = [
    (Event::CoreCycles, "core cycles"),
    (Event::Instructions, "instructions"),
    (Event::RefCycles, "reference cycles"),
    (Event::LlcReferences, "cache references"),
    (Event::LlcMisses, "cache misses"),
    (Event::Branches, "branches"),
    (Event::BranchMisses, "branch misses"),
];

fn everything(_: &EventConfig) -> bool {
    true
}

#[test]
fn leaf_a_of_intel_v2() {
    let CpuidLeaf { eax, ebx, ecx, edx } = PmuModel::INTEL_V2.cpuid().leaf_a;
    assert_eq!(
        eax.to_le_bytes(),
        [2, 4, 48, 7],
        "version, counters, width, length of EBX"
    );
    for (bit, (_, name)) in ARCHITECTURAL.into_iter().enumerate() {
        let offered = name == "core cycles" || name == "reference cycles";
        assert_eq!(ebx & 1 << bit == 0, offered, "{name}");
    }
    assert_eq!(ebx >> 7, 0);
    assert_eq!(ecx, 0, "no bitmap below version 5");
    assert_eq!((edx & 0x1F, edx >> 5), (3, 48), "three fixed counters");
}

#[test]
fn leaf_a_of_every_intel_model() {
    for (model, eax, ecx, edx) in [
        (PmuModel::INTEL_V1, 0x0730_0401, 0, 0),
        (PmuModel::INTEL_V2, 0x0730_0402, 0, 48 << 5 | 3),
        (PmuModel::INTEL_V3, 0x0730_0403, 0, 48 << 5 | 3),
        (PmuModel::INTEL_V4, 0x0730_0804, 0, 48 << 5 | 3),
        (
            PmuModel::INTEL_V5,
            0x0730_0805,
            0b111,
            1 << 15 | 48 << 5 | 3,
        ),
    ] {
        let leaf = model.advertising(everything).cpuid().leaf_a;
        let ebx = 0;
        assert_eq!(leaf, CpuidLeaf { eax, ebx, ecx, edx }, "{model}");
    }
}

#[test]
fn leaf_a_has_the_numbers_of_the_model() {
    for kind in PmuKind::ALL.iter().copied() {
        let Some(version) = kind.version() else {
            continue;
        };
        for counters in 1..=8 {
            for width in [32, 40, 48, 63] {
                for fixed in 0..=if version < 2 { 0 } else { 3 } {
                    let model = PmuModel::builder(kind)
                        .counters(counters)
                        .width(width)
                        .fixed(fixed)
                        .build()
                        .expect("it is a model")
                        .advertising(everything);
                    let leaf = model.cpuid().leaf_a;
                    assert_eq!(
                        leaf.eax.to_le_bytes(),
                        [version, counters, width, 7],
                        "{model}"
                    );
                    let all = (1 << fixed) - 1;
                    assert_eq!(leaf.ecx, if version < 5 { 0 } else { all }, "{model}");
                    let edx = leaf.edx & !(1 << 15);
                    let expected = if fixed == 0 {
                        0
                    } else {
                        u32::from(fixed) | u32::from(width) << 5
                    };
                    assert_eq!(edx, expected, "{model}");
                    assert_eq!(leaf.edx >> 15 == 1, version >= 5, "{model}: AnyThread");
                }
            }
        }
    }
}

#[test]
fn leaf_a_masks_what_the_source_cannot_count() {
    for kind in PmuKind::ALL.iter().copied() {
        if kind.vendor() == Vendor::Amd {
            continue;
        }
        for (bit, (event, name)) in ARCHITECTURAL.into_iter().enumerate() {
            let model = PmuModel::of(kind).advertising(|config| config.event == event);
            let ebx = model.cpuid().leaf_a.ebx;
            assert_eq!(ebx, 0x7F & !(1 << bit), "{kind}: {name}");
        }
    }
}

/// What a source has to count for an event to be advertised.
#[test]
fn leaf_a_asks_for_the_event_at_all_levels_and_nothing_more() {
    let model = PmuModel::INTEL_V4.advertising(|config| {
        config.usr
            && config.os
            && !config.edge
            && !config.invert
            && config.cmask == 0
            && !config.any_thread
    });
    assert_eq!(model.cpuid().leaf_a.ebx, 0);
}

#[test]
fn version_5_says_which_fixed_counters_there_are() {
    let events = [Event::Instructions, Event::CoreCycles, Event::RefCycles];
    for there in 0..8_u32 {
        let supports = |config: &EventConfig| {
            let at = events.iter().position(|event| *event == config.event);
            at.is_some_and(|at| there >> at & 1 == 1)
        };
        let model = PmuModel::INTEL_V5.advertising(supports);
        let leaf = model.cpuid().leaf_a;
        // Counter i is there if its bit is set, or if the number of contiguous ones is above i.
        for i in 0..16 {
            let found = leaf.ecx >> i & 1 == 1 || leaf.edx & 0x1F > i;
            assert_eq!(found, there >> i & 1 == 1, "{there:#b}: counter {i}");
        }
        let listed: u32 = model.fixed_counters().map(|i| 1 << i).sum();
        assert_eq!(listed, there);
        let width = leaf.edx >> 5 & 0xFF;
        assert_eq!(width, if there == 0 { 0 } else { 48 }, "{there:#b}");
        for older in [PmuModel::INTEL_V2, PmuModel::INTEL_V3, PmuModel::INTEL_V4] {
            let older = older.advertising(supports);
            assert_eq!(older.cpuid().leaf_a.edx & 0x1F, 3, "{older}: without gaps");
            assert_eq!(older.cpuid().leaf_a.ecx, 0, "{older}");
        }
    }
}

#[test]
fn pdcm_is_full_width_writes() {
    for kind in PmuKind::ALL.iter().copied() {
        for there in [false, true] {
            let built = PmuModel::builder(kind).full_width_writes(there).build();
            if let Ok(model) = built {
                assert_eq!(model.cpuid().pdcm, there, "{model}");
            }
        }
    }
}

#[test]
fn leaves_of_amd_models() {
    for (model, core, version, counters) in [
        (PmuModel::AMD_K7, false, 0, 0),
        (PmuModel::AMD_CORE, true, 0, 0),
        (PmuModel::AMD_V2, true, 1, 6),
    ] {
        let expected = PmuCpuid::default();
        let cpuid = model.cpuid();
        assert_eq!(cpuid.perfctr_core, core, "{model}");
        assert_eq!(
            (cpuid.leaf_8000_0022.eax, cpuid.leaf_8000_0022.ebx),
            (version, counters),
            "{model}"
        );
        assert_eq!(
            (cpuid.leaf_8000_0022.ecx, cpuid.leaf_8000_0022.edx),
            (0, 0),
            "{model}"
        );
        assert_eq!(cpuid.leaf_a, expected.leaf_a, "{model}: Intel's");
        assert!(!cpuid.pdcm, "{model}: Intel's");
        assert_eq!(
            model.advertising(|_| false).cpuid(),
            cpuid,
            "{model}: AMD masks nothing"
        );
    }
    for counters in 1..=6 {
        let model = PmuModel::builder(PmuKind::AmdV2)
            .counters(counters)
            .build()
            .expect("it is a model");
        assert_eq!(model.cpuid().leaf_8000_0022.ebx, u32::from(counters));
    }
}

#[test]
fn amd_leaves_are_not_intels() {
    for model in PmuModel::ALL {
        if model.vendor() == Vendor::Intel {
            let cpuid = model.cpuid();
            assert!(!cpuid.perfctr_core, "{model}");
            assert_eq!(cpuid.leaf_8000_0022, CpuidLeaf::default(), "{model}");
        }
    }
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
    for model in PmuModel::ALL {
        let intel = model.vendor() == Vendor::Intel;
        assert_eq!(model.masks_lvtpc_on_pmi(), intel, "{model}");
    }
}
