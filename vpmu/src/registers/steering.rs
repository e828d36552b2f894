// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which counters run: what registers, filter and source say to it.

use super::counters::Counters;
use super::intel::CTR_FRZ;
use super::layout::bit;
use super::ports::Ports;
use crate::{CounterSource, CounterState, EventSelect, PmuObserver};

impl Counters {
    /// Stops whatever counts, without a look at what it counted.
    pub(super) fn stop_all<S: CounterSource, O: PmuObserver>(&self, ports: &mut Ports<'_, S, O>) {
        for slot in self.running {
            ports.source.stop(slot);
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

    /// P08.
    const fn enabled(&self, slot: usize) -> bool {
        self.units[slot].select.enabled()
            && self.control & bit(slot) != 0
            && self.status & CTR_FRZ == 0
    }

    /// Makes the source count what the registers now ask of the counter in `slot`, whose counts so
    /// far were taken and whose select was `before`.
    pub(super) fn steer<S: CounterSource, O: PmuObserver>(
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
