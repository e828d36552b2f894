// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The register file: what reads return and what writes do.

use super::counters::Counters;
use super::intel::{CAPABILITIES, DROPPED_DEBUG_CONTROL};
use super::layout::{Layout, Register};
use super::ports::Ports;
use crate::{
    CounterSource, CounterView, EventSelect, MsrId, MsrRead, MsrWrite, Nanos, PmuModel, PmuObserver,
};

/// The registers of one vCPU.
#[derive(Clone, Debug)]
pub(crate) struct RegisterFile {
    pub(super) layout: Layout,
    pub(super) counters: Counters,
    pub(super) fixed_control: u64,
    pub(super) debug_control: u64,
}

impl RegisterFile {
    /// The registers of `model` after reset.
    pub(crate) fn new(model: PmuModel) -> Self {
        Self::reset_state(Layout::of(model))
    }

    fn reset_state(layout: Layout) -> Self {
        Self {
            counters: Counters::new(&layout),
            layout,
            fixed_control: 0,
            debug_control: 0,
        }
    }

    /// P34.
    pub(crate) fn reset<S: CounterSource, O: PmuObserver>(&mut self, ports: &mut Ports<'_, S, O>) {
        self.counters.sync_all(ports);
        self.counters.stop_all(ports);
        *self = Self::reset_state(self.layout);
    }

    pub(crate) fn read_msr<S: CounterSource, O: PmuObserver>(
        &mut self,
        msr: MsrId,
        ports: &mut Ports<'_, S, O>,
    ) -> MsrRead {
        let Some(register) = self.layout.find(msr) else {
            return if msr.is_pmu() {
                MsrRead::GeneralProtection
            } else {
                MsrRead::NotHandled
            };
        };
        MsrRead::Value(match register {
            Register::Counter(slot) | Register::FullWidth(slot) => self.read_counter(slot, ports),
            Register::Select(slot) => self.counters.select(slot).0,
            Register::FixedControl => self.fixed_control,
            Register::Status => {
                self.counters.sync_all(ports);
                self.counters.status()
            }
            Register::Control => self.counters.control(),
            Register::StatusClear | Register::StatusSet => 0,
            Register::InUse => self.counters.in_use(),
            Register::Capabilities => CAPABILITIES,
            Register::DebugControl => self.debug_control,
        })
    }

    pub(crate) fn write_msr<S: CounterSource, O: PmuObserver>(
        &mut self,
        msr: MsrId,
        value: u64,
        ports: &mut Ports<'_, S, O>,
    ) -> MsrWrite {
        match self.layout.find(msr) {
            Some(register) => match self.write(register, value, ports) {
                Some(()) => MsrWrite::Done,
                None => MsrWrite::GeneralProtection,
            },
            None if msr.is_pmu() => MsrWrite::GeneralProtection,
            None => MsrWrite::NotHandled,
        }
    }

    /// Nothing, and nothing done, if it takes #GP.
    fn write<S: CounterSource, O: PmuObserver>(
        &mut self,
        register: Register,
        value: u64,
        ports: &mut Ports<'_, S, O>,
    ) -> Option<()> {
        let layout = &self.layout;
        match register {
            Register::Counter(slot) => {
                let value = layout.counter_write(slot, value)?;
                self.counters.set_value(slot, value, ports);
            }
            Register::FullWidth(slot) => {
                let value = layout.full_write(value)?;
                self.counters.set_value(slot, value, ports);
            }
            Register::Select(slot) => {
                let select = EventSelect(layout.accept(value, layout.select)?);
                self.counters.set_select(slot, select, ports);
            }
            Register::FixedControl => {
                self.fixed_control = layout.accept(value, layout.fixed_control)?;
                for slot in self.layout.fixed_slots() {
                    let select = Layout::fixed_select(self.fixed_control, slot);
                    self.counters.set_select(slot, select, ports);
                }
            }
            Register::Control => {
                let control = layout.accept(value, layout.counters)?;
                self.counters.set_control(control, ports);
            }
            Register::StatusClear => {
                let bits = layout.accept(value, layout.status_clear)?;
                self.counters.clear_status(bits, ports);
            }
            Register::StatusSet => {
                let bits = layout.accept(value, layout.status_set)?;
                self.counters.set_status(bits, ports);
            }
            Register::DebugControl => {
                let taken = layout.debug_control | DROPPED_DEBUG_CONTROL;
                self.debug_control = layout.accept(value, taken)? & layout.debug_control;
            }
            Register::Status | Register::InUse | Register::Capabilities => return None,
        }
        Some(())
    }

    pub(crate) fn read_pmc<S: CounterSource, O: PmuObserver>(
        &mut self,
        index: u32,
        ports: &mut Ports<'_, S, O>,
    ) -> Option<u64> {
        let slot = self.layout.find_pmc(index)?;
        Some(self.read_counter(slot, ports))
    }

    fn read_counter<S: CounterSource, O: PmuObserver>(
        &mut self,
        slot: usize,
        ports: &mut Ports<'_, S, O>,
    ) -> u64 {
        self.counters.sync(slot, ports);
        self.counters.value(slot)
    }

    /// Whether any counter runs.
    pub(crate) const fn counting(&self) -> bool {
        self.counters.running()
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = CounterView> + '_ {
        self.counters.views()
    }

    /// Takes what every counter counted so far, and shows overflows that ask for no PMI (P13).
    pub(crate) fn sync_all<S: CounterSource, O: PmuObserver>(
        &mut self,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.counters.sync_all(ports);
    }

    /// Whether a PMI is due (P14, P15, P24). Only after a sync.
    pub(crate) fn interrupt_due(&self) -> bool {
        self.counters.interrupt_due()
    }

    /// Shows all overflows whose PMI the sink was asked for; if it was `delivered`, freezes the
    /// counters as the guest wants it.
    pub(crate) fn show_interrupting<S: CounterSource, O: PmuObserver>(
        &mut self,
        delivered: bool,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.counters.show_interrupting(ports);
        if delivered && self.debug_control != 0 {
            self.counters.freeze(self.layout.freeze, ports);
        }
    }

    /// Marks all overflows that the throttle holds until `until` (P19).
    pub(crate) fn throttle<S: CounterSource, O: PmuObserver>(
        &mut self,
        until: Nanos,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.counters.throttle(until, ports);
    }

    /// Tells the source of every overflow with INT that lies ahead. Returns after how many guest
    /// cycles the VMM has to look again (P20).
    pub(crate) fn arm<S: CounterSource, O: PmuObserver>(
        &self,
        ports: &mut Ports<'_, S, O>,
    ) -> Option<u64> {
        self.counters.arm(ports)
    }

    /// Judges every counter anew: the filter changed (P35).
    pub(crate) fn judge_anew<S: CounterSource, O: PmuObserver>(
        &mut self,
        ports: &mut Ports<'_, S, O>,
    ) {
        self.counters.steer_all(ports);
    }
}
