// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The counters and what decides over them: which run, which overflowed, which of that the guest
//! sees. Every transition of a counter is here.

use super::intel::CTR_FRZ;
use super::layout::{Freeze, Layout, bit};
use super::ports::Ports;
use super::slots::Slots;
use crate::counter::Counter;
use crate::source::MAX_SLOTS;
use crate::{
    CounterId, CounterSource, CounterState, CounterView, EventSelect, Nanos, PmuObserver, Vendor,
    Wake,
};

#[derive(Clone, Debug)]
pub(super) struct Counters {
    units: [Unit; MAX_SLOTS],
    vendor: Vendor,
    /// What the status can hold (nothing, where it is not there).
    status_bits: u64,
    there: Slots,
    /// Whose state is [`CounterState::Counting`].
    running: Slots,
    /// Whose select has INT.
    interrupting: Slots,
    /// Whose status bit was set by hand, with a PMI that is still to come (P24).
    asked: Slots,
    /// Whose due overflow was counted as throttled.
    throttled: Slots,
    control: u64,
    status: u64,
}

#[derive(Clone, Copy, Debug)]
struct Unit {
    value: Counter,
    /// Of a fixed-function counter: the select that asks the same.
    select: EventSelect,
    /// Follows from `select`, control, status and what filter and source said to them.
    state: CounterState,
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

    /// Stops whatever counts, without a look at what it counted.
    pub(super) fn stop_all<S: CounterSource, O: PmuObserver>(&self, ports: &mut Ports<'_, S, O>) {
        for slot in self.running {
            ports.source.stop(slot);
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

    /// Whether a PMI is due now (P14, P15, P24). Only after a sync, which has shown whatever was due
    /// without INT.
    pub(super) fn interrupt_due(&self) -> bool {
        self.candidates().any(|slot| self.due_with_pmi(slot))
    }

    /// Shows all overflows whose PMI the sink was asked for.
    pub(super) fn show_interrupting<S: CounterSource, O: PmuObserver>(
        &mut self,
        ports: &mut Ports<'_, S, O>,
    ) {
        for slot in self.candidates() {
            if self.due_with_pmi(slot) {
                self.show(slot, ports);
            }
        }
    }

    /// Marks all overflows that the throttle holds until `until` (P19).
    pub(super) fn throttle<S: CounterSource, O: PmuObserver>(
        &mut self,
        until: Nanos,
        ports: &mut Ports<'_, S, O>,
    ) {
        for slot in self.candidates() {
            if self.units[slot].value.due() && !self.throttled.contains(slot) {
                self.throttled.set(slot, true);
                ports.throttled(slot, until);
            }
        }
    }

    /// What a PMI that was delivered does to the counters (P27, P28).
    pub(super) fn freeze<S: CounterSource, O: PmuObserver>(
        &mut self,
        how: Freeze,
        ports: &mut Ports<'_, S, O>,
    ) {
        match how {
            Freeze::Never => {}
            Freeze::Control => self.set_control(0, ports),
            Freeze::Status => self.set_status(CTR_FRZ, ports),
        }
    }

    /// Tells the source of every overflow with INT that lies ahead. Returns after how many guest
    /// cycles the VMM has to look again (P20).
    pub(super) fn arm<S: CounterSource, O: PmuObserver>(
        &self,
        ports: &mut Ports<'_, S, O>,
    ) -> Option<u64> {
        let mut nearest = None;
        for slot in self.candidates() {
            if let Wake::InCycles(cycles) =
                ports.source.arm(slot, self.units[slot].value.distance())
            {
                nearest = Some(nearest.map_or(cycles, |nearest: u64| nearest.min(cycles)));
            }
        }
        nearest
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

    /// Takes all counts so far, then judges every counter anew: what decides over them changed.
    pub(super) fn steer_all<S: CounterSource, O: PmuObserver>(
        &mut self,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.sync_all(ports);
        for slot in self.there {
            self.steer(slot, self.units[slot].select, ports);
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

    /// Puts back control and status, and lets run what they let run.
    pub(super) fn put_back_globals<S: CounterSource, O: PmuObserver>(
        &mut self,
        control: u64,
        status: u64,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.control = control;
        self.status = status;
        self.steer_all(ports);
    }

    /// The counters that may cause a PMI: they run and have INT.
    const fn candidates(&self) -> Slots {
        self.running.both(self.interrupting)
    }

    /// P08.
    const fn enabled(&self, slot: usize) -> bool {
        self.units[slot].select.enabled()
            && self.control & bit(slot) != 0
            && self.status & CTR_FRZ == 0
    }

    /// P15 and P24, of one of the candidates.
    const fn due_with_pmi(&self, slot: usize) -> bool {
        self.units[slot].value.due() || self.asked.contains(slot)
    }

    /// Makes an overflow visible, if one is due. Whatever PMI was asked for by hand has come, or
    /// will not.
    fn show<S: CounterSource, O: PmuObserver>(&mut self, slot: usize, ports: &mut Ports<'_, S, O>) {
        self.asked.set(slot, false);
        if let Some(wrap) = self.units[slot].value.wrap() {
            self.throttled.set(slot, false);
            self.status |= bit(slot) & self.status_bits;
            let skid = self.interrupting.contains(slot).then_some(wrap.skid);
            ports.overflowed(slot, wrap.overflows, skid);
        }
    }

    /// Makes the source count what the registers now ask of the counter in `slot`, whose counts so
    /// far were taken and whose select was `before`.
    fn steer<S: CounterSource, O: PmuObserver>(
        &mut self,
        slot: usize,
        before: EventSelect,
        ports: &mut Ports<'_, S, O>,
    ) {
        let select = self.units[slot].select;
        let config = select.decode_for(self.vendor);
        let state = if !self.enabled(slot) {
            CounterState::Disabled
        } else if !config.usr && !config.os {
            CounterState::Idle
        } else if !ports.allows(slot, self.vendor, select) {
            CounterState::Filtered
        } else {
            CounterState::Counting
        };
        let ran = self.running.contains(slot);
        let wanted = state == CounterState::Counting;
        if ran && wanted && config == before.decode_for(self.vendor) {
            return;
        }
        if ran {
            ports.source.stop(slot);
        }
        let runs = wanted && ports.start(slot, &config);
        self.running.set(slot, runs);
        self.units[slot].state = if wanted && !runs {
            CounterState::NotCounted
        } else {
            state
        };
        match self.units[slot].state {
            CounterState::NotCounted => ports.not_counted(slot, select),
            CounterState::Filtered => ports.filtered(slot, select),
            _ => {}
        }
    }
}
