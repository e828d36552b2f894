// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What has which colour: the same in every picture.

/// What is drawn often, so that two pictures can be compared.
const KNOWN: [(&str, &str); 21] = [
    ("guest", "#4c9f70"),
    ("io-in", "#c8553d"),
    ("io-out", "#e09f3e"),
    ("mmio-read", "#9b5de5"),
    ("mmio-write", "#b98eea"),
    ("pmu-msr-read", "#3a86ff"),
    ("pmu-msr-write", "#6aa5ff"),
    ("msr-read", "#2ec4b6"),
    ("msr-write", "#7bdfd2"),
    ("debug", "#b56576"),
    ("perf-port", "#6a4c93"),
    ("port-tick", "#a98467"),
    ("kick", "#577590"),
    ("other", "#8d99ae"),
    ("running", "#d7e3ee"),
    ("paused", "#f4d35e"),
    ("starting", "#b8dfae"),
    ("stopping", "#f2b5a7"),
    ("offline", "#c9c9c9"),
    ("absent", "#e6e6e6"),
    ("finished", "#b0b0b0"),
];

/// For everything else.
const OTHERS: [&str; 6] = [
    "#8ecae6", "#ffb703", "#a3b18a", "#cdb4db", "#f28482", "#84a59d",
];

/// The colour of a slice of this name.
pub(super) fn of(name: &str) -> &'static str {
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    known.map_or_else(
        || {
            let sum: usize = name.bytes().map(usize::from).sum();
            OTHERS[sum % OTHERS.len()]
        },
        |(_, colour)| colour,
    )
}

/// Whether slices of this name are explained below the picture.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == name)
}

/// The colour of an instant, and what it is explained as.
pub(super) fn of_instant(name: &str) -> (&'static str, &'static str) {
    match name {
        "PMI" => ("#d00000", "PMI"),
        "guest overflow" => ("#f48c06", "overflow that the guest sees"),
        "lost" => ("#000000", "records lost"),
        _ => ("#6c757d", "step of the perf core"),
    }
}
