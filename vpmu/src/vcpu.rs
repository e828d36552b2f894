// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The PMU of one vCPU: the few calls that a VMM's vCPU loop makes.

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

/// The PMU of one vCPU.
#[derive(Clone, Debug)]
pub struct VcpuPmu<S, O = NoObserver> {
    model: PmuModel,
    source: S,
    observer: O,
    stats: PmuStats,
    min_rearm: Nanos,
}

impl<S: CounterSource> VcpuPmu<S> {
    /// The PMU `model` in its reset state, counting by `source`.
    pub fn new(model: PmuModel, source: S) -> Self {
        Self::with_observer(model, source, NoObserver)
    }
}

/// The shortest time between two PMIs of a vCPU unless [`VcpuPmu::set_min_rearm`] says otherwise.
pub const DEFAULT_MIN_REARM: Nanos = Nanos::from_micros(100);

impl<S: CounterSource, O: PmuObserver> VcpuPmu<S, O> {
    /// Like [`VcpuPmu::new`], with somebody who watches.
    pub fn with_observer(model: PmuModel, source: S, observer: O) -> Self {
        Self {
            model,
            source,
            observer,
            stats: PmuStats {
                gp_counters: model.gp_counters(),
                ..PmuStats::default()
            },
            min_rearm: DEFAULT_MIN_REARM,
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

    /// The observer.
    pub const fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Totals since the PMU was made.
    pub const fn stats(&self) -> &PmuStats {
        &self.stats
    }

    /// Sets the shortest time between two PMIs.
    pub const fn set_min_rearm(&mut self, min_rearm: Nanos) {
        self.min_rearm = min_rearm;
    }

    /// RDMSR.
    pub fn read_msr(&mut self, msr: MsrId) -> MsrRead {
        if msr.is_pmu() {
            MsrRead::GeneralProtection
        } else {
            MsrRead::NotHandled
        }
    }

    /// WRMSR.
    pub fn write_msr(&mut self, msr: MsrId, value: u64) -> MsrWrite {
        let _ = value;
        if msr.is_pmu() {
            MsrWrite::GeneralProtection
        } else {
            MsrWrite::NotHandled
        }
    }

    /// RDPMC with `index` in ECX; `None` is #GP(0).
    pub fn read_pmc(&mut self, index: u32) -> Option<u64> {
        let _ = index;
        None
    }

    /// Whether any counter counts.
    pub fn counting(&self) -> bool {
        false
    }

    /// The counters as the guest sees them, counter 0 first.
    pub fn counters(&mut self) -> impl Iterator<Item = CounterView> + '_ {
        core::iter::empty()
    }

    /// Whether [`enter_guest`](Self::enter_guest) at `now` would ask for a PMI.
    pub fn would_deliver(&mut self, now: Nanos) -> bool {
        let _ = now;
        false
    }

    /// Makes overflows visible and delivers their PMI, right before the guest is entered.
    ///
    /// # Errors
    /// What the sink reported.
    pub fn enter_guest<P: PmiSink>(&mut self, now: Nanos, sink: &mut P) -> Result<Entry, P::Error> {
        let _ = (now, sink);
        Ok(Entry::default())
    }
}
