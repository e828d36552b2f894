// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The PMU of one vCPU: the few calls that a VMM's vCPU loop makes.

use alloc::sync::Arc;

use crate::registers::file::RegisterFile;
use crate::registers::ports::Ports;
use crate::{
    CounterSource, CounterView, EventFilter, MsrId, Nanos, NoObserver, PmiOutcome, PmiSink,
    PmuModel, PmuObserver, PmuSnapshot, PmuStats, RestoreError,
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

/// The shortest time between two PMIs of a vCPU unless [`VcpuPmu::set_min_rearm`] says otherwise.
pub const DEFAULT_MIN_REARM: Nanos = Nanos::from_micros(100);

/// The PMU of one vCPU: registers over a [`CounterSource`], watched by a [`PmuObserver`].
///
/// It belongs to the vCPU's thread. What it promises the guest are the rules P01 to P36 of
/// [`registers`](crate::registers). No call blocks or panics, whatever the guest does, and none
/// allocates but [`snapshot`](Self::snapshot).
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
/// assert_eq!(pmu.read_msr(MsrId(0x30C)), MsrRead::GeneralProtection, "no fixed counter 3 either");
/// assert_eq!(pmu.read_msr(MsrId(0x10)), MsrRead::NotHandled);
/// ```
#[derive(Clone, Debug)]
pub struct VcpuPmu<S, O = NoObserver> {
    model: PmuModel,
    registers: RegisterFile,
    source: S,
    observer: O,
    stats: PmuStats,
    filter: Option<Arc<EventFilter>>,
    min_rearm: Nanos,
    last_pmi: Option<Nanos>,
    /// The source was told of an entry, and not yet of the exit.
    inside: bool,
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
            registers: RegisterFile::new(model),
            source,
            observer,
            stats: PmuStats::new(model),
            filter: None,
            min_rearm: DEFAULT_MIN_REARM,
            last_pmi: None,
            inside: false,
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

    /// The source, for what only its kind can be told or asked.
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

    /// Lets the guest count only what `filter` allows, from now on; `None` allows everything (P35).
    ///
    /// Counters that it refuses stop, and those that it no longer refuses start.
    pub fn set_filter(&mut self, filter: Option<Arc<EventFilter>>) {
        self.filter = filter;
        let (registers, mut ports) = self.parts();
        registers.judge_anew(&mut ports);
    }

    /// The guest's RDMSR of `msr`.
    pub fn read_msr(&mut self, msr: MsrId) -> MsrRead {
        let (registers, mut ports) = self.parts();
        registers.read_msr(msr, &mut ports)
    }

    /// The guest's WRMSR of `value` to `msr`.
    ///
    /// Call [`enter_guest`](Self::enter_guest) before the guest runs on: the write may have made an
    /// overflow possible, or moved one.
    pub fn write_msr(&mut self, msr: MsrId, value: u64) -> MsrWrite {
        let (registers, mut ports) = self.parts();
        registers.write_msr(msr, value, &mut ports)
    }

    /// The guest's RDPMC with `index` in ECX: the value for EDX:EAX, or `None` for #GP(0) (P07).
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
    pub const fn counting(&self) -> bool {
        self.registers.counting()
    }

    /// The counters as the guest sees them, the general-purpose ones first.
    pub fn counters(&mut self) -> impl Iterator<Item = CounterView> + '_ {
        let (registers, mut ports) = self.parts();
        registers.sync_all(&mut ports);
        registers.views()
    }

    /// Whether [`enter_guest`](Self::enter_guest) at `now` would ask the sink for a PMI: one is due
    /// (P14, P15, P24) and the throttle does not hold it (P19).
    ///
    /// For a VMM that must choose its moment, such as one that has an interrupt of its own to inject.
    pub fn pending_pmi(&mut self, now: Nanos) -> bool {
        let (registers, mut ports) = self.parts();
        registers.sync_all(&mut ports);
        registers.interrupt_due() && self.throttle_end(now).is_none()
    }

    /// Makes overflows visible and delivers their PMI (P14), right before the guest is entered; last
    /// of all tells the source of the entry, if any counter runs.
    ///
    /// Call it on the vCPU's thread before every entry, `now` being the host's monotonic time, and
    /// come back when [`Entry::recheck`] says so.
    ///
    /// # Errors
    /// What the sink reported. Nothing became visible, and the next call tries again (P17). The VMM
    /// may enter the guest all the same: the source was told.
    pub fn enter_guest<P: PmiSink>(&mut self, now: Nanos, sink: &mut P) -> Result<Entry, P::Error> {
        if !self.registers.counting() {
            return Ok(Entry::default());
        }
        let entry = self.deliver(now, sink);
        // A freeze may have stopped them all.
        if self.registers.counting() {
            self.source.enter_guest();
            self.inside = true;
        }
        entry
    }

    /// The vCPU has left the guest: tells the source, if it was told of the entry.
    ///
    /// Call it right after the exit, before the exit is handled.
    pub fn exit_guest(&mut self) {
        if core::mem::take(&mut self.inside) {
            self.source.exit_guest();
        }
    }

    /// Back to how [`new`](Self::new) made it: power-up, RESET, or a vCPU that is added again (P34).
    /// An INIT leaves the PMU alone.
    ///
    /// Statistics, filter, re-arm interval and the throttle of the last PMI are the host's, and stay.
    pub fn reset(&mut self) {
        let (registers, mut ports) = self.parts();
        registers.reset(&mut ports);
    }

    /// The whole state at `now`, after all counts were taken (P36).
    pub fn snapshot(&mut self, now: Nanos) -> PmuSnapshot {
        let throttled_for = self
            .throttle_end(now)
            .map_or(Nanos(0), |end| end.saturating_sub(now));
        let model = self.model;
        let (registers, mut ports) = self.parts();
        registers.save(model, throttled_for, &mut ports)
    }

    /// Puts the state of `snapshot` in place of all that was, at `now` (P36).
    ///
    /// What was counted here and not yet taken is counted in the statistics alone.
    ///
    /// # Errors
    /// If the snapshot is of another model, or could be of no PMU: nothing changed then.
    pub fn restore(&mut self, snapshot: &PmuSnapshot, now: Nanos) -> Result<(), RestoreError> {
        if snapshot.model != self.model {
            return Err(RestoreError::Model {
                snapshot: snapshot.model,
                here: self.model,
            });
        }
        self.registers.check(snapshot)?;
        let (registers, mut ports) = self.parts();
        registers.load(snapshot, &mut ports);
        let throttled_for = snapshot.throttled_for.min(self.min_rearm);
        self.last_pmi = (throttled_for > Nanos(0)).then(|| {
            let end = now.saturating_add(throttled_for);
            end.saturating_sub(self.min_rearm)
        });
        Ok(())
    }

    fn deliver<P: PmiSink>(&mut self, now: Nanos, sink: &mut P) -> Result<Entry, P::Error> {
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
            registers.show_interrupting(outcome.delivered(), &mut ports);
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

    fn parts(&mut self) -> (&mut RegisterFile, Ports<'_, S, O>) {
        let ports = Ports {
            source: &mut self.source,
            observer: &mut self.observer,
            stats: &mut self.stats,
            filter: self.filter.as_deref(),
        };
        (&mut self.registers, ports)
    }
}
