// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can be built and what is refused, and how models are written.

use vpmu::{Event, ModelError, PmuKind, PmuModel, Vendor};

use crate::shapes;

/// What a kind may have: counters, fixed-function counters, width.
type Limits = [(u8, u8); 3];

const LIMITS: [(PmuKind, Limits); 8] = [
    (PmuKind::AmdK7, [(4, 4), (0, 0), (48, 48)]),
    (PmuKind::AmdCore, [(6, 6), (0, 0), (48, 48)]),
    (PmuKind::AmdV2, [(1, 6), (0, 0), (48, 48)]),
    (PmuKind::IntelV1, [(1, 8), (0, 0), (32, 63)]),
    (PmuKind::IntelV2, [(1, 8), (0, 3), (32, 63)]),
    (PmuKind::IntelV3, [(1, 8), (0, 3), (32, 63)]),
    (PmuKind::IntelV4, [(1, 8), (0, 3), (32, 63)]),
    (PmuKind::IntelV5, [(1, 8), (0, 3), (32, 63)]),
];

#[test]
fn every_number_within_the_limits_is_built_and_none_beyond() {
    assert_eq!(LIMITS.map(|(kind, _)| kind), PmuKind::ALL);
    for (kind, [counters, fixed, width]) in LIMITS {
        for given in 0..=u8::MAX {
            let build = PmuModel::builder(kind);
            let (min, max) = counters;
            assert_eq!(
                build
                    .counters(given)
                    .build()
                    .map(|model| model.gp_counters()),
                if (min..=max).contains(&given) {
                    Ok(usize::from(given))
                } else {
                    Err(ModelError::Counters {
                        kind,
                        given,
                        min,
                        max,
                    })
                }
            );
            let (min, max) = fixed;
            let everything = |model: PmuModel| model.advertising(|_| true).fixed_counters().count();
            assert_eq!(
                build.fixed(given).build().map(everything),
                if (min..=max).contains(&given) {
                    Ok(usize::from(given))
                } else {
                    Err(ModelError::Fixed {
                        kind,
                        given,
                        min,
                        max,
                    })
                }
            );
            let (min, max) = width;
            assert_eq!(
                build
                    .width(given)
                    .build()
                    .map(|model| model.counter_width()),
                if (min..=max).contains(&given) {
                    Ok(u32::from(given))
                } else {
                    Err(ModelError::Width {
                        kind,
                        given,
                        min,
                        max,
                    })
                }
            );
        }
    }
}

#[test]
fn fixed_counters_have_gaps_in_version_5_alone() {
    let events = [Event::Instructions, Event::CoreCycles, Event::RefCycles];
    for (kind, [_, (_, max), _]) in LIMITS {
        for fixed in 0..=max {
            for counted in 0..8_u8 {
                let model = PmuModel::builder(kind)
                    .fixed(fixed)
                    .build()
                    .expect("it is within the limits")
                    .advertising(|config| {
                        let at = events.iter().position(|event| *event == config.event);
                        at.is_some_and(|at| counted >> at & 1 == 1)
                    });
                let gaps = kind == PmuKind::IntelV5;
                let expected: Vec<_> = (0..usize::from(fixed))
                    .filter(|i| !gaps || counted >> i & 1 == 1)
                    .collect();
                let there: Vec<_> = model.fixed_counters().collect();
                assert_eq!(there, expected, "{model}, of {counted:#b}");
            }
        }
    }
}

#[test]
fn full_width_writes_are_intels() {
    for (kind, _) in LIMITS {
        for there in [false, true] {
            let built = PmuModel::builder(kind).full_width_writes(there).build();
            if there && kind.vendor() == Vendor::Amd {
                assert_eq!(built, Err(ModelError::FullWidth { kind }));
            } else {
                let model = built.expect("Intel's may have them");
                assert_eq!(model.full_width_writes(), there, "{kind}");
            }
        }
    }
}

#[test]
fn errors_say_why() {
    for (text, message) in [
        (
            "amd-k7,counters=5",
            "amd-k7 has 4 to 4 general-purpose counters, not 5",
        ),
        (
            "intel-v2,counters=0",
            "intel-v2 has 1 to 8 general-purpose counters, not 0",
        ),
        (
            "intel-v1,fixed=1",
            "intel-v1 has 0 to 0 fixed-function counters, not 1",
        ),
        (
            "intel-v5,fixed=4",
            "intel-v5 has 0 to 3 fixed-function counters, not 4",
        ),
        (
            "amd-v2,width=40",
            "amd-v2 has counters of 48 to 48 bits, not 40",
        ),
        (
            "intel-v3,width=64",
            "intel-v3 has counters of 32 to 63 bits, not 64",
        ),
        (
            "amd-core,full-width=on",
            "amd-core has no full-width writes: its counters take all their bits at any write",
        ),
    ] {
        let error = text.parse::<PmuModel>().expect_err(text);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_model_is_written_as_what_is_not_usual_about_it() {
    for (text, displayed) in [
        ("intel-v2", "intel-v2"),
        ("intel-v2,counters=4,fixed=3,width=48", "intel-v2"),
        ("intel-v2,full-width=off", "intel-v2"),
        ("intel-v2,full-width=on", "intel-v2,full-width=on"),
        ("intel-v3,full-width=off", "intel-v3,full-width=off"),
        (
            "intel-v4,width=40,counters=2",
            "intel-v4,counters=2,width=40",
        ),
        ("intel-v5,fixed=0", "intel-v5,fixed=0"),
        ("amd-v2,counters=6", "amd-v2"),
        ("amd-v2,counters=3,counters=2", "amd-v2,counters=2"),
    ] {
        let model: PmuModel = text.parse().expect(text);
        assert_eq!(model.to_string(), displayed);
        assert_eq!(displayed.parse(), Ok(model), "{text}");
    }
}

#[test]
fn what_is_no_model_is_refused() {
    for (text, error) in [
        ("", ModelError::Unknown),
        ("intel", ModelError::Unknown),
        ("intel-v6", ModelError::Unknown),
        ("Intel-v2", ModelError::Unknown),
        (" intel-v2", ModelError::Unknown),
        ("intel-v2 ", ModelError::Unknown),
        ("counters=4", ModelError::Unknown),
        ("intel-v2,", ModelError::Syntax),
        ("intel-v2,,fixed=0", ModelError::Syntax),
        ("intel-v2,counters", ModelError::Syntax),
        ("intel-v2,counters=", ModelError::Syntax),
        ("intel-v2,counters=four", ModelError::Syntax),
        ("intel-v2,counters=-1", ModelError::Syntax),
        ("intel-v2,counters=256", ModelError::Syntax),
        ("intel-v2,counters=0x4", ModelError::Syntax),
        ("intel-v2, counters=4", ModelError::Syntax),
        ("intel-v2,counter=4", ModelError::Syntax),
        ("intel-v2,full-width=yes", ModelError::Syntax),
        ("intel-v2,full-width", ModelError::Syntax),
    ] {
        assert_eq!(text.parse::<PmuModel>(), Err(error), "{text:?}");
    }
}

#[test]
fn usual_models_are_what_the_builder_builds_unasked() {
    for (kind, _) in LIMITS {
        let model = PmuModel::builder(kind).build().expect("it is usual");
        assert_eq!(model, PmuModel::of(kind));
        assert!(PmuModel::ALL.contains(&model), "{kind}");
        assert_eq!(
            (model.kind(), model.vendor(), model.name()),
            (kind, kind.vendor(), kind.name())
        );
    }
    assert_eq!(PmuModel::ALL.len(), LIMITS.len());
}

#[test]
fn tested_models_are_of_every_kind_and_differ() {
    let all = shapes::all();
    for (at, model) in all.iter().enumerate() {
        assert!(!all[..at].contains(model), "{model} is tested twice");
        let built = PmuModel::builder(model.kind())
            .counters(u8::try_from(model.gp_counters()).expect("few counters"))
            .width(u8::try_from(model.counter_width()).expect("few bits"))
            .full_width_writes(model.full_width_writes())
            .build();
        assert!(built.is_ok(), "{model}");
    }
}
