// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The counters and the global registers that decide over them: what they are, and what writes change.
//! Which of them run is decided in `steering.rs`, what of an overflow shows in `overflows.rs`.

use super::intel::CTR_FRZ;
use super::layout::{Layout, bit};
use super::ports::Ports;
use super::slots::Slots;
use crate::counter::Counter;
use crate::source::MAX_SLOTS;
use crate::{
    CounterId, CounterSource, CounterState, CounterView, EventSelect, PmuObserver, Vendor,
};

#[derive(Clone, Debug)]
pub(super) struct Counters {
    pub(super) units: [Unit; MAX_SLOTS],
    pub(super) vendor: Vendor,
    /// What the status can hold (nothing, where it is not there).
    pub(super) status_bits: u64,
    pub(super) there: Slots,
    /// Whose state is [`CounterState::Counting`].
    pub(super) running: Slots,
    /// Whose select has INT.
    pub(super) interrupting: Slots,
    /// Whose status bit was set by hand, with a PMI that is still to come (P24).
    pub(super) asked: Slots,
    /// Whose due overflow was counted as throttled.
    pub(super) throttled: Slots,
    pub(super) control: u64,
    pub(super) status: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) value: Counter,
    /// Of a fixed-function counter: the select that asks the same.
    pub(super) select: EventSelect,
    /// Follows from `select`, control, status and what filter and source said to them.
    pub(super) state: CounterState,
}

/// One counter, as it is told to a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) count: u64,
    pub(super) asked: bool,
    pub(super) throttled: bool,
}

impl Counters {
    pub(super) fn new(layout: &Layout) -> Self {
        let unit = Unit {
            value: Counter::new(layout.width),
            select: EventSelect(0),
            state: CounterState::Disabled,
        };
        let mut units = [unit; MAX_SLOTS];
        for slot in layout.fixed_slots() {
            units[slot].select = Layout::fixed_select(0, slot);
        }
        Self {
            units,
            vendor: layout.vendor,
            status_bits: layout.status,
            there: layout.slots,
            running: Slots::default(),
            interrupting: Slots::default(),
            asked: Slots::default(),
            throttled: Slots::default(),
            control: layout.control_reset,
            status: 0,
        }
    }

    /// Whether any counter runs.
    pub(super) const fn running(&self) -> bool {
        !self.running.is_empty()
    }

    pub(super) fn views(&self) -> impl Iterator<Item = CounterView> + '_ {
        self.there.map(|slot| {
            let unit = &self.units[slot];
            CounterView {
                id: CounterId::of_slot(slot),
                select: unit.select,
                value: unit.value.visible(),
                state: unit.state,
            }
        })
    }

    pub(super) const fn select(&self, slot: usize) -> EventSelect {
        self.units[slot].select
    }

    pub(super) const fn control(&self) -> u64 {
        self.control
    }

    /// What the guest sees of a counter, as far as it was taken.
    pub(super) const fn value(&self, slot: usize) -> u64 {
        self.units[slot].value.visible()
    }

    /// As far as it was taken.
    pub(super) const fn status(&self) -> u64 {
        self.status
    }

    /// P25.
    pub(super) fn in_use(&self) -> u64 {
        const ANY_PMI: u64 = 1 << 63;
        let used = |slot: &usize| {
            let select = self.units[*slot].select;
            match CounterId::of_slot(*slot) {
                CounterId::Gp(_) => select.event_number(self.vendor) != 0,
                CounterId::Fixed(_) => select.enabled(),
            }
        };
        let bits = self
            .there
            .filter(used)
            .fold(0, |bits, slot| bits | bit(slot));
        if self.interrupting.is_empty() {
            bits
        } else {
            bits | ANY_PMI
        }
    }

    /// Takes what the counter in `slot` counted so far, and shows an overflow that asks for no PMI
    /// (P13).
    pub(super) fn sync<S: CounterSource, O: PmuObserver>(
        &mut self,
        slot: usize,
        ports: &mut Ports<'_, S, O>,
    ) {
        if !self.running.contains(slot) {
            return;
        }
        let counts = ports.source.take(slot);
        self.units[slot].value.add(counts);
        ports.counted(slot, counts);
        if !self.interrupting.contains(slot) {
            self.show(slot, ports);
        }
    }

    /// The same for all counters.
    pub(super) fn sync_all<S: CounterSource, O: PmuObserver>(
        &mut self,
        ports: &mut Ports<'_, S, O>,
    ) {
        for slot in self.running {
            self.sync(slot, ports);
        }
    }

    /// Writes a counter: `value` is cut to its width. An overflow that was due is forgotten (P10).
    pub(super) fn set_value<S: CounterSource, O: PmuObserver>(
        &mut self,
        slot: usize,
        value: u64,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.sync(slot, ports);
        self.units[slot].value.write(value);
        self.throttled.set(slot, false);
    }

    pub(super) fn set_select<S: CounterSource, O: PmuObserver>(
        &mut self,
        slot: usize,
        select: EventSelect,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.sync(slot, ports);
        let before = core::mem::replace(&mut self.units[slot].select, select);
        self.interrupting.set(slot, select.interrupts());
        self.steer(slot, before, ports);
    }

    pub(super) fn set_control<S: CounterSource, O: PmuObserver>(
        &mut self,
        control: u64,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.control = control;
        self.steer_all(ports);
    }

    /// P06. An asking for a PMI goes with its bit.
    pub(super) fn clear_status<S: CounterSource, O: PmuObserver>(
        &mut self,
        bits: u64,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.sync_all(ports);
        self.status &= !bits;
        for slot in self.asked {
            if self.status & bit(slot) == 0 {
                self.asked.set(slot, false);
            }
        }
        if bits & CTR_FRZ != 0 {
            self.steer_all(ports);
        }
    }

    /// P24.
    pub(super) fn set_status<S: CounterSource, O: PmuObserver>(
        &mut self,
        bits: u64,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.sync_all(ports);
        for slot in self.interrupting {
            if bits & !self.status & bit(slot) != 0 {
                self.asked.set(slot, true);
            }
        }
        self.status |= bits;
        if bits & CTR_FRZ != 0 {
            self.steer_all(ports);
        }
    }

    pub(super) const fn keep(&self, slot: usize) -> Kept {
        Kept {
            count: self.units[slot].value.raw(),
            asked: self.asked.contains(slot),
            throttled: self.throttled.contains(slot),
        }
    }

    /// Puts back what [`keep`](Self::keep) told of a counter, while none runs.
    pub(super) fn put_back(&mut self, slot: usize, select: EventSelect, kept: Kept) {
        self.units[slot].value.put_back(kept.count);
        self.units[slot].select = select;
        self.interrupting.set(slot, select.interrupts());
        self.asked.set(slot, kept.asked);
        self.throttled.set(slot, kept.throttled);
    }
}
