// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A PMU on a bench: a source that counts what it is told, a local APIC that does what it is told.

use vpmu::msr::{
    IA32_PERF_GLOBAL_CTRL, IA32_PERF_GLOBAL_OVF_CTRL, IA32_PERF_GLOBAL_STATUS, IA32_PERFEVTSEL0,
    IA32_PMC0,
};
use vpmu::source::script::ScriptSource;
use vpmu::{
    CounterId, CounterState, CounterStats, Entry, EventSelect, MsrId, MsrRead, MsrWrite, Nanos,
    PmiOutcome, PmiSink, PmuKind, PmuModel, PmuObserver, VcpuPmu,
};

/// Core cycles, user and kernel, enabled.
pub(crate) const CYCLES: u64 = 0x43_003C;
/// The same with a PMI on overflow.
pub(crate) const CYCLES_INT: u64 = CYCLES | EventSelect::INT;
/// The highest value of a counter of 48 bits.
pub(crate) const TOP: u64 = (1 << 48) - 1;

/// The value to write for an overflow after `counts`.
pub(crate) fn before_overflow(counts: u32) -> u64 {
    (-i64::from(counts)).cast_unsigned()
}

/// The local APIC is broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// A local APIC that answers `answer` and counts the questions.
pub(crate) struct Apic {
    pub(crate) answer: Result<PmiOutcome, ()>,
    pub(crate) asked: u32,
}

impl PmiSink for Apic {
    type Error = Broken;

    fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, Broken> {
        self.asked += 1;
        self.answer.map_err(|()| Broken)
    }
}

/// What an observer can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    NotCounted(CounterId, EventSelect),
    Filtered(CounterId, EventSelect),
    Overflow(CounterId, Option<u64>),
    Throttled(CounterId, Nanos),
    Pmi(Nanos, PmiOutcome),
}

#[derive(Default)]
pub(crate) struct Log(pub(crate) Vec<Seen>);

impl PmuObserver for Log {
    fn not_counted(&mut self, counter: CounterId, select: EventSelect) {
        self.0.push(Seen::NotCounted(counter, select));
    }

    fn filtered(&mut self, counter: CounterId, select: EventSelect) {
        self.0.push(Seen::Filtered(counter, select));
    }

    fn overflow(&mut self, counter: CounterId, skid: Option<u64>) {
        self.0.push(Seen::Overflow(counter, skid));
    }

    fn throttled(&mut self, counter: CounterId, until: Nanos) {
        self.0.push(Seen::Throttled(counter, until));
    }

    fn pmi(&mut self, now: Nanos, outcome: PmiOutcome) {
        self.0.push(Seen::Pmi(now, outcome));
    }
}

/// Something done to a rig.
pub(crate) type Act = fn(&mut Rig);

pub(crate) struct Rig {
    pub(crate) pmu: VcpuPmu<ScriptSource, Log>,
    pub(crate) apic: Apic,
    pub(crate) now: Nanos,
}

impl Rig {
    /// Four counters of version 2 and no fixed ones, whose source counts everything, without
    /// throttle, on an APIC that delivers NMIs.
    pub(crate) fn new() -> Self {
        Self::with_source(ScriptSource::new())
    }

    pub(crate) fn with_source(source: ScriptSource) -> Self {
        let model = PmuModel::builder(PmuKind::IntelV2).fixed(0).build();
        Self::with(model.expect("there are such"), source)
    }

    /// The same of another model.
    pub(crate) fn of(model: PmuModel) -> Self {
        Self::with(model, ScriptSource::new())
    }

    pub(crate) fn with(model: PmuModel, source: ScriptSource) -> Self {
        let mut pmu = VcpuPmu::with_observer(model, source, Log::default());
        pmu.set_min_rearm(Nanos(0));
        Self {
            pmu,
            apic: Apic {
                answer: Ok(PmiOutcome::Nmi),
                asked: 0,
            },
            now: Nanos(1_000),
        }
    }

    /// RDMSR that must not fault.
    #[track_caller]
    pub(crate) fn read(&mut self, msr: MsrId) -> u64 {
        match self.pmu.read_msr(msr) {
            MsrRead::Value(value) => value,
            other => panic!("RDMSR of {msr:x?} gave {other:?}"),
        }
    }

    /// WRMSR that must not fault.
    #[track_caller]
    pub(crate) fn write(&mut self, msr: MsrId, value: u64) {
        assert_eq!(
            self.pmu.write_msr(msr, value),
            MsrWrite::Done,
            "{value:#x} to {msr:x?}"
        );
    }

    #[track_caller]
    pub(crate) fn value(&mut self, n: u32) -> u64 {
        self.read(IA32_PMC0.nth(n))
    }

    #[track_caller]
    pub(crate) fn set_value(&mut self, n: u32, value: u64) {
        self.write(IA32_PMC0.nth(n), value);
    }

    #[track_caller]
    pub(crate) fn select(&mut self, n: u32, select: u64) {
        self.write(IA32_PERFEVTSEL0.nth(n), select);
    }

    #[track_caller]
    pub(crate) fn control(&mut self, value: u64) {
        self.write(IA32_PERF_GLOBAL_CTRL, value);
    }

    #[track_caller]
    pub(crate) fn status(&mut self) -> u64 {
        self.read(IA32_PERF_GLOBAL_STATUS)
    }

    #[track_caller]
    pub(crate) fn clear_status(&mut self, bits: u64) {
        self.write(IA32_PERF_GLOBAL_OVF_CTRL, bits);
    }

    /// WRMSR that must fault.
    #[track_caller]
    pub(crate) fn refuse(&mut self, msr: MsrId, value: u64) {
        assert_eq!(
            self.pmu.write_msr(msr, value),
            MsrWrite::GeneralProtection,
            "{value:#x} to {msr:x?}"
        );
    }

    /// The totals of one counter.
    #[track_caller]
    pub(crate) fn totals(&self, id: CounterId) -> CounterStats {
        let mut counters = self.pmu.stats().counters();
        counters
            .find_map(|(counter, stats)| (counter == id).then_some(stats))
            .expect("it is there")
    }

    #[track_caller]
    pub(crate) fn state(&mut self, id: CounterId) -> CounterState {
        let mut counters = self.pmu.counters();
        let view = counters.find(|view| view.id == id);
        view.expect("it is there").state
    }

    pub(crate) fn count(&mut self, counts: u64) {
        self.pmu.source_mut().count(counts);
    }

    /// Enters the guest, 1 ns after the last time, with an APIC that works.
    #[track_caller]
    pub(crate) fn enter(&mut self) -> Entry {
        self.now = self.now.saturating_add(Nanos(1));
        self.enter_at(self.now)
    }

    #[track_caller]
    pub(crate) fn enter_at(&mut self, now: Nanos) -> Entry {
        let expected = self.pmu.pending_pmi(now);
        let asked = self.apic.asked;
        let entry = self
            .pmu
            .enter_guest(now, &mut self.apic)
            .expect("the APIC works");
        assert_eq!(
            self.apic.asked - asked,
            u32::from(expected),
            "pending_pmi tells the truth"
        );
        assert_eq!(entry.pmi.is_some(), expected);
        entry
    }

    /// What the observer saw since the last call.
    pub(crate) fn seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.pmu.observer_mut().0)
    }
}
