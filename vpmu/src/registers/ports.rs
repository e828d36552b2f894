// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the registers act upon outside of themselves.

use crate::{
    CounterId, CounterSource, EventConfig, EventFilter, EventSelect, Nanos, PmuObserver, PmuStats,
    Vendor,
};

pub(crate) struct Ports<'a, S, O> {
    pub(crate) source: &'a mut S,
    pub(crate) observer: &'a mut O,
    pub(crate) stats: &'a mut PmuStats,
    pub(crate) filter: Option<&'a EventFilter>,
}

impl<S: CounterSource, O: PmuObserver> Ports<'_, S, O> {
    pub(super) fn counted(&mut self, slot: usize, counts: u64) {
        let counted = &mut self.stats.counters[slot].counted;
        *counted = counted.saturating_add(counts);
    }

    /// Whether the host lets the guest count this (P35).
    pub(super) fn allows(&self, slot: usize, vendor: Vendor, select: EventSelect) -> bool {
        self.filter
            .is_none_or(|filter| match CounterId::of_slot(slot) {
                CounterId::Gp(_) => filter.allows_select(vendor, select),
                CounterId::Fixed(n) => filter.allows_fixed(n),
            })
    }

    /// Whether the source counts `config` in `slot` from now on.
    pub(super) fn start(&mut self, slot: usize, config: &EventConfig) -> bool {
        self.source.supports(config) && self.source.start(slot, config).is_ok()
    }

    pub(super) fn not_counted(&mut self, slot: usize, select: EventSelect) {
        if self.stats.unsupported_selects.insert(select) {
            self.observer.not_counted(CounterId::of_slot(slot), select);
        }
    }

    pub(super) fn filtered(&mut self, slot: usize, select: EventSelect) {
        if self.stats.filtered_selects.insert(select) {
            self.observer.filtered(CounterId::of_slot(slot), select);
        }
    }

    /// `skid` is that of an overflow with INT.
    pub(super) fn overflowed(&mut self, slot: usize, overflows: u64, skid: Option<u64>) {
        let total = &mut self.stats.overflows;
        *total = total.saturating_add(overflows);
        let own = &mut self.stats.counters[slot].overflows;
        *own = own.saturating_add(overflows);
        if let Some(skid) = skid {
            self.stats.skid.record(skid);
        }
        self.observer.overflow(CounterId::of_slot(slot), skid);
    }

    pub(super) fn throttled(&mut self, slot: usize, until: Nanos) {
        self.stats.throttled += 1;
        self.observer.throttled(CounterId::of_slot(slot), until);
    }
}
