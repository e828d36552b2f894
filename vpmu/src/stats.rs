// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a PMU counted, delivered and could not do.

use crate::registers::slots::Slots;
use crate::source::MAX_SLOTS;
use crate::{CounterId, EventSelect, PmiOutcome, PmuModel};

/// How far behind their overflow PMIs came, in counts of the overflowing event: cycles for the
/// clock source (P21 of [`registers`](crate::registers)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkidStats {
    /// How many were measured: each overflow with INT that became visible.
    pub count: u64,
    /// The largest skid, in counts; 0 before the first.
    pub max: u64,
    /// The sum of all skids, in counts, or `u64::MAX` if that is more.
    pub sum: u64,
    buckets: [u64; Self::BUCKETS],
}

impl SkidStats {
    /// How many buckets [`buckets`](Self::buckets) has.
    pub const BUCKETS: usize = 32;

    /// The mean skid in counts, rounded down; `None` before the first.
    pub const fn mean(&self) -> Option<u64> {
        self.sum.checked_div(self.count)
    }

    /// Skids by size: bucket 0 counts those of 0, bucket n those of 2^(n-1) up to 2^n - 1, and the
    /// last one all above, too.
    pub const fn buckets(&self) -> &[u64; Self::BUCKETS] {
        &self.buckets
    }

    pub(crate) fn record(&mut self, skid: u64) {
        self.count += 1;
        self.max = self.max.max(skid);
        self.sum = self.sum.saturating_add(skid);
        let bits = (u64::BITS - skid.leading_zeros()) as usize;
        self.buckets[bits.min(Self::BUCKETS - 1)] += 1;
    }
}

/// The selects a guest enabled that were not counted, because the source could not or the filter did
/// not let it: each distinct one once, up to [`CAPACITY`](Self::CAPACITY) (P11 and P35 of
/// [`registers`](crate::registers)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnsupportedSelects {
    selects: [EventSelect; Self::CAPACITY],
    len: usize,
    truncated: bool,
}

impl UnsupportedSelects {
    /// How many distinct selects are remembered.
    pub const CAPACITY: usize = 16;

    /// The selects in the order in which they came, without enable, interrupt and pin-control bit
    /// ([`EventSelect::what`]).
    pub fn as_slice(&self) -> &[EventSelect] {
        &self.selects[..self.len]
    }

    /// Whether there were more than could be remembered.
    pub const fn truncated(&self) -> bool {
        self.truncated
    }

    /// Whether `select` is new, and was remembered.
    pub(crate) fn insert(&mut self, select: EventSelect) -> bool {
        let select = select.what();
        if self.as_slice().contains(&select) {
            return false;
        }
        if self.len == Self::CAPACITY {
            self.truncated = true;
            return false;
        }
        self.selects[self.len] = select;
        self.len += 1;
        true
    }
}

/// Totals of one counter since the PMU was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterStats {
    /// Events counted, whatever the guest wrote into the counter in between, or `u64::MAX` if that
    /// is more.
    pub counted: u64,
    /// Overflows that became visible to the guest.
    pub overflows: u64,
}

/// Totals of one PMU since it was made.
///
/// Each time the sink was asked for a PMI adds one to `pmis`, `masked` or `undeliverable`; one
/// asking can stand for overflows of several counters.
///
/// ```
/// use vpmu::{ClockSource, GuestClock, PmuModel, VcpuPmu};
///
/// struct Stopped;
/// impl GuestClock for Stopped {
///     fn cycles(&mut self) -> u64 {
///         0
///     }
/// }
///
/// let pmu = VcpuPmu::new(PmuModel::INTEL_V2, ClockSource::new(Stopped));
/// assert_eq!(pmu.stats().counters().count(), 7, "four general-purpose ones, three fixed");
/// assert_eq!(pmu.stats().skid.mean(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PmuStats {
    /// Overflows that became visible to the guest, with and without interrupt, of all counters.
    pub overflows: u64,
    /// PMIs delivered, as vector or NMI.
    pub pmis: u64,
    /// PMIs not delivered because the LVTPC was masked.
    pub masked: u64,
    /// PMIs not delivered because the LVTPC asked for what cannot be delivered.
    pub undeliverable: u64,
    /// Overflows held back by the minimum re-arm interval (P19), each once.
    pub throttled: u64,
    /// How late overflows with INT became visible.
    pub skid: SkidStats,
    /// What the guest wanted counted and the source cannot count (P11).
    pub unsupported_selects: UnsupportedSelects,
    /// What the guest wanted counted and the host's filter refused (P35).
    pub filtered_selects: UnsupportedSelects,
    pub(crate) counters: [CounterStats; MAX_SLOTS],
    there: Slots,
}

impl PmuStats {
    pub(crate) fn new(model: PmuModel) -> Self {
        Self {
            there: Slots::of(model),
            ..Self::default()
        }
    }

    pub(crate) const fn record_pmi(&mut self, outcome: PmiOutcome) {
        match outcome {
            PmiOutcome::Fixed(_) | PmiOutcome::Nmi => self.pmis += 1,
            PmiOutcome::Masked => self.masked += 1,
            PmiOutcome::Undeliverable => self.undeliverable += 1,
        }
    }

    /// Totals by counter, the general-purpose ones first.
    pub fn counters(&self) -> impl Iterator<Item = (CounterId, CounterStats)> + '_ {
        self.there
            .map(|slot| (CounterId::of_slot(slot), self.counters[slot]))
    }
}
