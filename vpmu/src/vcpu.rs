// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The PMU of one vCPU: the few calls that a VMM's vCPU loop makes.

use crate::registers::Ports;
use crate::registers::intel::IntelRegisters;
use crate::{
    CounterSource, EventSelect, MsrId, Nanos, NoObserver, PmuModel, PmuObserver, PmuStats,
};

/// The answer to a RDMSR. An MSR that is not the PMU's is [`NotHandled`](Self::NotHandled).
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
///
/// ```
/// use vpmu::{PmiOutcome, PmiSink, PmuModel};
///
/// /// A local APIC whose LVTPC nobody programmed.
/// struct Unprogrammed;
///
/// impl PmiSink for Unprogrammed {
///     type Error = core::convert::Infallible;
///
///     fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, Self::Error> {
///         Ok(PmiOutcome::Masked)
///     }
/// }
/// ```
pub trait PmiSink {
    /// What can go wrong; [`core::convert::Infallible`] if nothing can.
    type Error;

    /// Looks at the LVTPC and delivers one PMI as it says, masking it where `model` does that
    /// ([`PmuModel::masks_lvtpc_on_pmi`]).
    ///
    /// Runs inside [`VcpuPmu::enter_guest`], on the vCPU's thread; the overflow becomes visible if
    /// it succeeds. [`Lvtpc`](crate::Lvtpc) takes the register apart.
    ///
    /// # Errors
    /// Whatever the local APIC's owner reports. It must not have delivered then: the next entry
    /// asks again (P17 of [`registers`](crate::registers)).
    fn pmi(&mut self, model: PmuModel) -> Result<PmiOutcome, Self::Error>;
}

/// When the VMM must kick the vCPU out of the guest and call [`VcpuPmu::enter_guest`] again.
///
/// Coming earlier costs an exit and nothing else; coming later makes the PMI later, by as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recheck {
    /// When this many more unhalted guest cycles have passed, at least 1. The number can be as large
    /// as 2^48: a kick that far away may be left out.
    InCycles(u64),
    /// At this moment of host time, on the clock of `now`.
    At(Nanos),
}

/// What [`VcpuPmu::enter_guest`] did, and what it needs next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// What the sink did, if it was asked for a PMI.
    pub pmi: Option<PmiOutcome>,
    /// When to come back at the latest; `None` if the VMM need not see to that. It holds until the
    /// next call of [`VcpuPmu::enter_guest`].
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
    /// The guest enabled it with something that the source cannot count: it stands still.
    NotCounted,
}

/// One counter as the guest sees it, from [`VcpuPmu::counters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterView {
    /// Its event select register.
    pub select: EventSelect,
    /// Its value as RDMSR and RDPMC return it.
    pub value: u64,
    /// Whether it counts.
    pub state: CounterState,
}

/// The shortest time between two PMIs of a vCPU unless [`VcpuPmu::set_min_rearm`] says otherwise.
pub const DEFAULT_MIN_REARM: Nanos = Nanos::from_micros(100);

/// The PMU of one vCPU: registers over a [`CounterSource`], watched by a [`PmuObserver`].
///
/// It belongs to the vCPU's thread. What it promises the guest are the rules P01 to P21 of
/// [`registers`](crate::registers). No call allocates, blocks or panics.
///
/// ```
/// use vpmu::msr::{IA32_PERFEVTSEL0, IA32_PMC0};
/// use vpmu::source::script::ScriptSource;
/// use vpmu::{MsrId, MsrRead, MsrWrite, PmuModel, VcpuPmu};
///
/// let mut pmu = VcpuPmu::new(PmuModel::INTEL_V2, ScriptSource::new());
/// assert_eq!(pmu.write_msr(IA32_PERFEVTSEL0, 0x43_003C), MsrWrite::Done);
/// pmu.source_mut().count(1_000);
/// assert_eq!(pmu.read_msr(IA32_PMC0), MsrRead::Value(1_000));
/// assert_eq!(pmu.read_pmc(0), Some(1_000));
/// assert_eq!(pmu.read_pmc(4), None, "there is no counter 4");
/// assert_eq!(pmu.read_msr(MsrId(0x309)), MsrRead::GeneralProtection, "no fixed counter either");
/// assert_eq!(pmu.read_msr(MsrId(0x10)), MsrRead::NotHandled);
/// ```
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
    /// The PMU `model` in its reset state, counting by `source`, its throttle at
    /// [`DEFAULT_MIN_REARM`].
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

    /// The guest's RDMSR of `msr` (P01 to P06).
    pub fn read_msr(&mut self, msr: MsrId) -> MsrRead {
        let (registers, mut ports) = self.parts();
        registers.read_msr(msr, &mut ports)
    }

    /// The guest's WRMSR of `value` to `msr` (P01 to P06).
    ///
    /// Call [`enter_guest`](Self::enter_guest) before the guest runs on: the write may have made an
    /// overflow possible, or moved one.
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

    /// Whether any counter runs (P08): enabled, and with an event that the source counts.
    ///
    /// While none does, [`enter_guest`](Self::enter_guest) has nothing to do and may be left out.
    pub fn counting(&self) -> bool {
        self.registers.counting()
    }

    /// The counters as the guest sees them, counter 0 first.
    pub fn counters(&mut self) -> impl Iterator<Item = CounterView> + '_ {
        let (registers, mut ports) = self.parts();
        registers.sync_all(&mut ports);
        registers.views()
    }

    /// Whether [`enter_guest`](Self::enter_guest) at `now` would ask the sink for a PMI: an overflow
    /// with INT is due (P14, P15) and the throttle does not hold it (P19).
    ///
    /// For a VMM that must choose its moment, such as one that has an interrupt of its own to inject.
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
