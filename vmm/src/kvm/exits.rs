// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How often a vCPU left the guest, by kind.

use std::collections::BTreeMap;

/// The kinds of exit that reports tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    IoIn,
    IoOut,
    MmioRead,
    MmioWrite,
    PmuRead,
    PmuWrite,
    MsrRead,
    MsrWrite,
    Debug,
    PerfPort,
    Tick,
    Kick,
    Other,
}

const NAMES: [(Kind, &str); 13] = [
    (Kind::IoIn, "io-in"),
    (Kind::IoOut, "io-out"),
    (Kind::MmioRead, "mmio-read"),
    (Kind::MmioWrite, "mmio-write"),
    (Kind::PmuRead, "pmu-msr-read"),
    (Kind::PmuWrite, "pmu-msr-write"),
    (Kind::MsrRead, "msr-read"),
    (Kind::MsrWrite, "msr-write"),
    (Kind::Debug, "debug"),
    (Kind::PerfPort, "perf-port"),
    (Kind::Tick, "port-tick"),
    (Kind::Kick, "kick"),
    (Kind::Other, "other"),
];

impl Kind {
    /// What it is called in reports.
    pub(super) const fn name(self) -> &'static str {
        NAMES[self as usize].1
    }
}

/// A count for each kind.
#[derive(Clone, Debug, Default)]
pub(super) struct ExitCounts([u64; NAMES.len()]);

impl ExitCounts {
    pub(super) fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// The kinds that occurred.
    pub(super) fn named(&self) -> BTreeMap<&'static str, u64> {
        NAMES
            .iter()
            .map(|&(kind, name)| (name, self.0[kind as usize]))
            .filter(|&(_, count)| count > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_count_and_name() {
        for (at, (kind, name)) in NAMES.into_iter().enumerate() {
            let mut counts = ExitCounts::default();
            counts.add(kind);
            counts.add(kind);
            assert_eq!(kind as usize, at);
            assert_eq!(counts.named(), BTreeMap::from([(name, 2)]));
        }
    }
}
