// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The PMU of one vCPU: the few calls that a VMM's vCPU loop makes.

use crate::registers::Ports;
use crate::registers::intel::IntelRegisters;
use crate::{
    CounterSource, EventSelect, MsrId, Nanos, NoObserver, PmuModel, PmuObserver, PmuStats,
};

/// The answer to a RDMSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum MsrRead {
    /// The value for EDX:EAX.
    Value(u64),
    /// The instruction takes #GP(0).
    GeneralProtection,
    /// This MSR is not the PMU's.
    NotHandled,
}

/// The answer to a WRMSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum MsrWrite {
    /// Written.
    Done,
    /// The instruction takes #GP(0); nothing changed.
    GeneralProtection,
    /// This MSR is not the PMU's.
    NotHandled,
}

/// What a sink did with a PMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PmiOutcome {
    /// Delivered as this vector.
    Fixed(u8),
    /// Delivered as an NMI.
    Nmi,
    /// Not delivered: the LVTPC is masked.
    Masked,
    /// Not delivered: the LVTPC asks for what cannot be delivered.
    Undeliverable,
}

impl PmiOutcome {
    /// Whether the guest gets an interrupt.
    pub const fn delivered(self) -> bool {
        matches!(self, Self::Fixed(_) | Self::Nmi)
    }
}

/// Where PMIs go: the vCPU's local APIC.
pub trait PmiSink {
    /// What can go wrong.
    type Error;

    /// Looks at the LVTPC and delivers one PMI as it says, masking it where `model` does that
    /// ([`PmuModel::masks_lvtpc_on_pmi`]).
    ///
    /// # Errors
    /// Whatever the local APIC's owner reports. Nothing became visible then.
    fn pmi(&mut self, model: PmuModel) -> Result<PmiOutcome, Self::Error>;
}

/// When the VMM must kick the vCPU and call [`VcpuPmu::enter_guest`] again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recheck {
    /// When this many more unhalted guest cycles have passed.
    InCycles(u64),
    /// At this moment of host time.
    At(Nanos),
}

/// What [`VcpuPmu::enter_guest`] did and wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// What the sink did, if it was asked for a PMI.
    pub pmi: Option<PmiOutcome>,
    /// When to come back at the latest; `None` if nothing depends on it.
    pub recheck: Option<Recheck>,
}

/// Whether a counter counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterState {
    /// The guest has not enabled it.
    #[default]
    Disabled,
    /// It counts.
    Counting,
    /// The guest enabled it for no privilege level: it rightly stands still.
    Idle,
    /// The guest enabled it with something that the source cannot count.
    NotCounted,
}

/// One counter as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterView {
    /// Its event select register.
    pub select: EventSelect,
    /// Its value as a read returns it.
    pub value: u64,
    /// Whether it counts.
    pub state: CounterState,
}

/// The shortest time between two PMIs of a vCPU unless [`VcpuPmu::set_min_rearm`] says otherwise.
pub const DEFAULT_MIN_REARM: Nanos = Nanos::from_micros(100);

/// The PMU of one vCPU.
#[derive(Clone, Debug)]
pub struct VcpuPmu<S, O = NoObserver> {
    model: PmuModel,
    registers: IntelRegisters,
    source: S,
    observer: O,
    stats: PmuStats,
    min_rearm: Nanos,
    last_pmi: Option<Nanos>,
}

impl<S: CounterSource> VcpuPmu<S> {
    /// The PMU `model` in its reset state, counting by `source`.
    pub fn new(model: PmuModel, source: S) -> Self {
        Self::with_observer(model, source, NoObserver)
    }
}

impl<S: CounterSource, O: PmuObserver> VcpuPmu<S, O> {
    /// Like [`VcpuPmu::new`], with somebody who watches.
    pub fn with_observer(model: PmuModel, source: S, observer: O) -> Self {
        Self {
            model,
            registers: IntelRegisters::new(model),
            source,
            observer,
            stats: PmuStats::new(model.gp_counters()),
            min_rearm: DEFAULT_MIN_REARM,
            last_pmi: None,
        }
    }

    /// The model.
    pub const fn model(&self) -> PmuModel {
        self.model
    }

    /// The source.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// The source, to be told of entries and exits.
    pub const fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// The observer.
    pub const fn observer(&self) -> &O {
        &self.observer
    }

    /// The observer, to take out what it saw.
    pub const fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Totals since the PMU was made, as of the last call that looked at the counters.
    pub const fn stats(&self) -> &PmuStats {
        &self.stats
    }

    /// Sets the shortest time between two PMIs (P19), for the one to come as well. Zero means none.
    pub const fn set_min_rearm(&mut self, min_rearm: Nanos) {
        self.min_rearm = min_rearm;
    }

    /// The guest's RDMSR of `msr`.
    pub fn read_msr(&mut self, msr: MsrId) -> MsrRead {
        let (registers, mut ports) = self.parts();
        registers.read_msr(msr, &mut ports)
    }

    /// The guest's WRMSR of `value` to `msr`.
    pub fn write_msr(&mut self, msr: MsrId, value: u64) -> MsrWrite {
        let (registers, mut ports) = self.parts();
        registers.write_msr(msr, value, &mut ports)
    }

    /// The guest's RDPMC with `index` in ECX: the value for EDX:EAX, or `None` for #GP(0).
    ///
    /// Whether the guest may execute RDPMC at all (CPL, CR4.PCE, CR0.PE) is for the caller to check
    /// first.
    pub fn read_pmc(&mut self, index: u32) -> Option<u64> {
        let (registers, mut ports) = self.parts();
        registers.read_pmc(index, &mut ports)
    }

    /// Whether any counter counts: enabled, and with an event that the source counts.
    pub fn counting(&self) -> bool {
        self.registers.counting()
    }

    /// The counters as the guest sees them, counter 0 first.
    pub fn counters(&mut self) -> impl Iterator<Item = CounterView> + '_ {
        let (registers, mut ports) = self.parts();
        registers.sync_all(&mut ports);
        registers.views()
    }

    /// Whether [`enter_guest`](Self::enter_guest) at `now` would ask the sink for a PMI.
    ///
    /// A VMM with an exit that is not complete yet finishes it first and asks again.
    pub fn would_deliver(&mut self, now: Nanos) -> bool {
        let (registers, mut ports) = self.parts();
        registers.sync_all(&mut ports);
        registers.interrupt_due() && self.throttle_end(now).is_none()
    }

    /// Makes overflows visible and delivers their PMI (P14), right before the guest is entered.
    ///
    /// Call it on the vCPU's thread before every entry, `now` being the host's monotonic time, and
    /// come back when [`Entry::recheck`] says so.
    ///
    /// # Errors
    /// What the sink reported. Nothing became visible, and the next call tries again (P17).
    pub fn enter_guest<P: PmiSink>(&mut self, now: Nanos, sink: &mut P) -> Result<Entry, P::Error> {
        let throttle_end = self.throttle_end(now);
        let model = self.model;
        let (registers, mut ports) = self.parts();
        registers.sync_all(&mut ports);
        let mut entry = Entry::default();
        if registers.interrupt_due() {
            if let Some(until) = throttle_end {
                registers.throttle(until, &mut ports);
                entry.recheck = Some(Recheck::At(until));
                return Ok(entry);
            }
            let outcome = sink.pmi(model)?;
            registers.show_interrupting(&mut ports);
            ports.stats.record_pmi(outcome);
            ports.observer.pmi(now, outcome);
            entry.pmi = Some(outcome);
        }
        entry.recheck = registers.arm(&mut ports).map(Recheck::InCycles);
        if entry.pmi.is_some_and(PmiOutcome::delivered) {
            self.last_pmi = Some(now);
        }
        Ok(entry)
    }

    /// When the throttle ends, if it holds at `now`.
    fn throttle_end(&self, now: Nanos) -> Option<Nanos> {
        self.last_pmi
            .map(|last| last.saturating_add(self.min_rearm))
            .filter(|&end| now < end)
    }

    const fn parts(&mut self) -> (&mut IntelRegisters, Ports<'_, S, O>) {
        let ports = Ports {
            source: &mut self.source,
            observer: &mut self.observer,
            stats: &mut self.stats,
        };
        (&mut self.registers, ports)
    }
}
