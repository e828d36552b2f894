// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Overflows: which are due, which of them the guest sees, and what else a PMI does.

use super::counters::Counters;
use super::intel::CTR_FRZ;
use super::layout::{Freeze, bit};
use super::ports::Ports;
use super::slots::Slots;
use crate::{CounterSource, Nanos, PmuObserver, Wake};

impl Counters {
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

    /// The counters that may cause a PMI: they run and have INT.
    const fn candidates(&self) -> Slots {
        self.running.both(self.interrupting)
    }

    /// P15 and P24, of one of the candidates.
    const fn due_with_pmi(&self, slot: usize) -> bool {
        self.units[slot].value.due() || self.asked.contains(slot)
    }

    /// Makes an overflow visible, if one is due. Whatever PMI was asked for by hand has come, or
    /// will not.
    pub(super) fn show<S: CounterSource, O: PmuObserver>(
        &mut self,
        slot: usize,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.asked.set(slot, false);
        if let Some(wrap) = self.units[slot].value.wrap() {
            self.throttled.set(slot, false);
            self.status |= bit(slot) & self.status_bits;
            let skid = self.interrupting.contains(slot).then_some(wrap.skid);
            ports.overflowed(slot, wrap.overflows, skid);
        }
    }
}
