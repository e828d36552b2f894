// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P36: the register file as a snapshot, and back.

use super::counters::Kept;
use super::file::RegisterFile;
use super::layout::{Layout, bit};
use super::ports::Ports;
use crate::{
    CounterId, CounterSnapshot, CounterSource, EventSelect, Nanos, PmuModel, PmuObserver,
    PmuSnapshot, RestoreError,
};

impl RegisterFile {
    /// The state after all counts were taken; `model` and `throttled_for` are told along.
    pub(crate) fn save<S: CounterSource, O: PmuObserver>(
        &mut self,
        model: PmuModel,
        throttled_for: Nanos,
        ports: &mut Ports<'_, S, O>,
    ) -> PmuSnapshot {
        self.counters.sync_all(ports);
        PmuSnapshot {
            model,
            counters: self
                .layout
                .slots
                .map(|slot| self.save_counter(slot))
                .collect(),
            fixed_control: self.fixed_control,
            global_control: self.counters.control(),
            global_status: self.counters.status(),
            debug_control: self.debug_control,
            throttled_for,
        }
    }

    fn save_counter(&self, slot: usize) -> CounterSnapshot {
        let kept = self.counters.keep(slot);
        let id = CounterId::of_slot(slot);
        CounterSnapshot {
            id,
            count: kept.count,
            select: match id {
                CounterId::Gp(_) => self.counters.select(slot).0,
                CounterId::Fixed(_) => 0,
            },
            pmi_asked: kept.asked,
            throttled: kept.throttled,
        }
    }

    /// Whether the registers could ever be like this.
    pub(crate) fn check(&self, snapshot: &PmuSnapshot) -> Result<(), RestoreError> {
        let layout = &self.layout;
        let there = layout.slots.map(CounterId::of_slot);
        if !snapshot.counters.iter().map(|counter| counter.id).eq(there) {
            return Err(RestoreError::Counters);
        }
        // Where it is no register, nobody can have changed it.
        if layout.status == 0 && snapshot.global_control != layout.control_reset {
            return Err(RestoreError::Value {
                register: "the global control",
                value: snapshot.global_control,
            });
        }
        let within = |register, value: u64, bits: u64| {
            if value & !bits == 0 {
                Ok(())
            } else {
                Err(RestoreError::Value { register, value })
            }
        };
        within(
            "IA32_FIXED_CTR_CTRL",
            snapshot.fixed_control,
            layout.fixed_control,
        )?;
        within(
            "the global control",
            snapshot.global_control,
            layout.counters,
        )?;
        within("the global status", snapshot.global_status, layout.status)?;
        within(
            "IA32_DEBUGCTL",
            snapshot.debug_control,
            layout.debug_control,
        )?;
        for counter in &snapshot.counters {
            let select = match counter.id {
                CounterId::Gp(_) => layout.select,
                CounterId::Fixed(_) => 0,
            };
            within("an event select", counter.select, select)?;
            let status = snapshot.global_status & bit(counter.id.slot());
            if (counter.pmi_asked && status == 0)
                || (counter.throttled && !layout.due(counter.count))
            {
                return Err(RestoreError::Pending {
                    counter: counter.id,
                });
            }
        }
        Ok(())
    }

    /// Takes over a snapshot that was [checked](Self::check).
    pub(crate) fn load<S: CounterSource, O: PmuObserver>(
        &mut self,
        snapshot: &PmuSnapshot,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.reset(ports);
        self.fixed_control = snapshot.fixed_control;
        self.debug_control = snapshot.debug_control;
        for counter in &snapshot.counters {
            let slot = counter.id.slot();
            let select = match counter.id {
                CounterId::Gp(_) => EventSelect(counter.select),
                CounterId::Fixed(_) => Layout::fixed_select(snapshot.fixed_control, slot),
            };
            let kept = Kept {
                count: counter.count,
                asked: counter.pmi_asked,
                throttled: counter.throttled,
            };
            self.counters.put_back(slot, select, kept);
        }
        self.counters
            .put_back_globals(snapshot.global_control, snapshot.global_status, ports);
    }
}
