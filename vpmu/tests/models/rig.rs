// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A PMU of any model on a bench, told what to do without its vendor's numbers.

use vpmu::source::script::ScriptSource;
use vpmu::{
    CounterId, CounterState, CounterView, Entry, EventSelect, MsrId, MsrRead, MsrWrite, Nanos,
    PmiOutcome, PmiSink, PmuModel, PmuObserver, VcpuPmu,
};

use crate::shapes::{bit, has_globals, is_amd, slot, top};

/// The local APIC is broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// A local APIC that answers `answer` and counts the questions.
#[derive(Debug)]
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

/// What an observer can see of overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    NotCounted(CounterId, EventSelect),
    Filtered(CounterId, EventSelect),
    Overflow(CounterId, Option<u64>),
    Throttled(CounterId, Nanos),
    Pmi(Nanos, PmiOutcome),
}

#[derive(Clone, Debug, Default)]
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

/// The enable bit of a select; user and kernel; INT.
pub(crate) const EN: u64 = 1 << 22;
pub(crate) const ALL_LEVELS: u64 = 3 << 16;
pub(crate) const INT: u64 = 1 << 20;

/// The number of core cycles in a select of this model's.
pub(crate) fn cycles(model: &PmuModel) -> u64 {
    if is_amd(model) { 0x76 } else { 0x3C }
}

/// The MSR of a counter that takes any value below its width, if there is one.
pub(crate) fn full_width(model: &PmuModel, counter: CounterId) -> Option<MsrId> {
    match counter {
        CounterId::Fixed(_) => Some(counter_msr(model, counter)),
        CounterId::Gp(n) if model.full_width_writes() => Some(MsrId(0x4C1 + u32::from(n))),
        CounterId::Gp(_) => is_amd(model).then(|| counter_msr(model, counter)),
    }
}

/// The number by which every model knows its counter.
pub(crate) fn counter_msr(model: &PmuModel, counter: CounterId) -> MsrId {
    MsrId(match counter {
        CounterId::Fixed(i) => 0x309 + u32::from(i),
        CounterId::Gp(n) if !is_amd(model) => 0xC1 + u32::from(n),
        CounterId::Gp(n) if n < 4 => 0xC001_0004 + u32::from(n),
        CounterId::Gp(n) => 0xC001_0201 + 2 * u32::from(n),
    })
}

/// The number of a general-purpose counter's select.
pub(crate) fn select_msr(model: &PmuModel, n: u8) -> MsrId {
    let n = u32::from(n);
    MsrId(if !is_amd(model) {
        0x186 + n
    } else if n < 4 {
        0xC001_0000 + n
    } else {
        0xC001_0200 + 2 * n
    })
}

pub(crate) const FIXED_CTR_CTRL: MsrId = MsrId(0x38D);
pub(crate) const DEBUGCTL: MsrId = MsrId(0x1D9);
pub(crate) const FREEZE: u64 = 1 << 12;
pub(crate) const CTR_FRZ: u64 = 1 << 59;

/// Status, control, what clears and what sets status bits.
pub(crate) fn globals(model: &PmuModel) -> [MsrId; 4] {
    if is_amd(model) {
        [0xC000_0300, 0xC000_0301, 0xC000_0302, 0xC000_0303].map(MsrId)
    } else {
        [0x38E, 0x38F, 0x390, 0x391].map(MsrId)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pmi {
    Wanted,
    None,
}

pub(crate) struct Rig {
    pub(crate) model: PmuModel,
    pub(crate) pmu: VcpuPmu<ScriptSource, Log>,
    pub(crate) apic: Apic,
    pub(crate) now: Nanos,
}

impl Rig {
    /// A PMU whose source counts everything, without throttle, on an APIC that delivers NMIs.
    pub(crate) fn new(model: PmuModel) -> Self {
        Self::with_source(model, ScriptSource::new())
    }

    pub(crate) fn with_source(model: PmuModel, source: ScriptSource) -> Self {
        let mut pmu = VcpuPmu::with_observer(model, source, Log::default());
        pmu.set_min_rearm(Nanos(0));
        Self {
            model,
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
            other => panic!("{}: RDMSR of {msr:x?} gave {other:?}", self.model),
        }
    }

    /// WRMSR that must not fault.
    #[track_caller]
    pub(crate) fn write(&mut self, msr: MsrId, value: u64) {
        let answer = self.pmu.write_msr(msr, value);
        assert_eq!(
            answer,
            MsrWrite::Done,
            "{}: {value:#x} to {msr:x?}",
            self.model
        );
    }

    /// WRMSR that must fault.
    #[track_caller]
    pub(crate) fn refuse(&mut self, msr: MsrId, value: u64) {
        let answer = self.pmu.write_msr(msr, value);
        assert_eq!(
            answer,
            MsrWrite::GeneralProtection,
            "{}: {value:#x} to {msr:x?}",
            self.model
        );
    }

    #[track_caller]
    pub(crate) fn value(&mut self, counter: CounterId) -> u64 {
        self.read(counter_msr(&self.model, counter))
    }

    /// Writes a value below the width that is low, or as near to the top as an Intel counter's plain
    /// MSR can bring it.
    #[track_caller]
    pub(crate) fn set_value(&mut self, counter: CounterId, value: u64) {
        self.write(counter_msr(&self.model, counter), value);
        assert_eq!(self.value(counter), value, "{} {counter}", self.model);
    }

    /// Has `counter` overflow after `counts`, at most 2^31.
    #[track_caller]
    pub(crate) fn set_before(&mut self, counter: CounterId, counts: u64) {
        self.set_value(counter, top(&self.model) - counts + 1);
    }

    /// Programs `counter` for cycles at all levels, or nothing of the kind, and leaves the global
    /// enable bits alone.
    #[track_caller]
    pub(crate) fn program(&mut self, counter: CounterId, enabled: bool, pmi: Pmi) {
        let interrupt = pmi == Pmi::Wanted;
        match counter {
            CounterId::Gp(n) => {
                let int = if interrupt { INT } else { 0 };
                let en = if enabled { EN } else { 0 };
                let select = cycles(&self.model) | ALL_LEVELS | int | en;
                self.write(select_msr(&self.model, n), select);
            }
            CounterId::Fixed(i) => {
                let field = u64::from(interrupt) << 3 | if enabled { 0b11 } else { 0 };
                let others = self.read(FIXED_CTR_CTRL) & !(0xF << (4 * i));
                self.write(FIXED_CTR_CTRL, others | field << (4 * i));
            }
        }
    }

    /// Lets `counter` count, its bit of the global control included.
    #[track_caller]
    pub(crate) fn start(&mut self, counter: CounterId, pmi: Pmi) {
        self.program(counter, true, pmi);
        self.enable(bit(counter));
    }

    /// Stops `counter` by its own enable bits.
    #[track_caller]
    pub(crate) fn stop(&mut self, counter: CounterId) {
        self.program(counter, false, Pmi::None);
    }

    /// Sets bits of the global control, if there is one.
    #[track_caller]
    pub(crate) fn enable(&mut self, bits: u64) {
        if has_globals(&self.model) {
            let control = self.control();
            self.set_control(control | bits);
        }
    }

    #[track_caller]
    pub(crate) fn control(&mut self) -> u64 {
        self.read(globals(&self.model)[1])
    }

    #[track_caller]
    pub(crate) fn set_control(&mut self, bits: u64) {
        self.write(globals(&self.model)[1], bits);
    }

    #[track_caller]
    pub(crate) fn status(&mut self) -> u64 {
        self.read(globals(&self.model)[0])
    }

    /// The status where there is one, else 0.
    #[track_caller]
    pub(crate) fn status_if_any(&mut self) -> u64 {
        if has_globals(&self.model) {
            self.status()
        } else {
            0
        }
    }

    #[track_caller]
    pub(crate) fn clear_status(&mut self, bits: u64) {
        self.write(globals(&self.model)[2], bits);
    }

    #[track_caller]
    pub(crate) fn set_status(&mut self, bits: u64) {
        self.write(globals(&self.model)[3], bits);
    }

    /// So many events in every running slot.
    pub(crate) fn count(&mut self, counts: u64) {
        self.pmu.source_mut().count(counts);
    }

    pub(crate) fn count_in(&mut self, counter: CounterId, counts: u64) {
        self.pmu.source_mut().count_slot(slot(counter), counts);
    }

    pub(crate) fn view(&mut self, counter: CounterId) -> CounterView {
        let view = self.pmu.counters().find(|view| view.id == counter);
        view.unwrap_or_else(|| panic!("{} has {counter}", self.model))
    }

    pub(crate) fn state(&mut self, counter: CounterId) -> CounterState {
        self.view(counter).state
    }

    /// Enters the guest, 1 ns after the last time, with an APIC that does not fail.
    #[track_caller]
    pub(crate) fn enter(&mut self) -> Entry {
        self.now = self.now.saturating_add(Nanos(1));
        let expected = self.pmu.pending_pmi(self.now);
        let asked = self.apic.asked;
        let entry = self
            .pmu
            .enter_guest(self.now, &mut self.apic)
            .expect("the APIC works");
        assert_eq!(
            (self.apic.asked - asked, entry.pmi.is_some()),
            (u32::from(expected), expected),
            "{}: pending_pmi tells the truth",
            self.model
        );
        entry
    }

    /// What the observer saw since the last call.
    pub(crate) fn seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.pmu.observer_mut().0)
    }
}
