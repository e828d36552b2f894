// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A PMU that things are done to, and what of it can be seen.

use vpmu::source::MAX_SLOTS;
use vpmu::source::script::ScriptSource;
use vpmu::{
    CounterId, CounterState, Entry, Event, EventConfig, EventSelect, MsrId, MsrRead, MsrWrite,
    Nanos, PmiOutcome, PmiSink, PmuModel, VcpuPmu, Vendor,
};

use crate::expected::{self, Register};
use crate::input::{Answer, Op};

/// The PMU of a vCPU.
pub type Pmu = VcpuPmu<ScriptSource>;

/// Whether the source counts this.
pub fn supported(config: &EventConfig) -> bool {
    let known = matches!(config.event, Event::CoreCycles | Event::Instructions);
    known && !config.edge && !config.invert && config.cmask == 0
}

/// A PMU after reset.
pub fn new(model: PmuModel) -> Pmu {
    VcpuPmu::new(model, ScriptSource::supporting(supported))
}

/// A local APIC that gives one answer.
struct Apic {
    answer: Answer,
    asked: u32,
}

impl PmiSink for Apic {
    type Error = ();

    fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, ()> {
        self.asked += 1;
        match self.answer {
            Answer::Outcome(outcome) => Ok(outcome),
            Answer::Broken => Err(()),
        }
    }
}

/// What was answered to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// To WRMSR.
    Write(MsrWrite),
    /// To RDMSR.
    Read(MsrRead),
    /// To RDPMC.
    ReadPmc(Option<u64>),
    /// To an entry, and how often the sink was asked for a PMI.
    Enter(Result<Entry, ()>, u32),
    /// To anything else.
    Nothing,
}

/// Does one thing to a PMU, at `now`. Moving it is not for it to do: nothing happens.
pub fn apply(pmu: &mut Pmu, now: &mut Nanos, op: &Op) -> Told {
    match *op {
        Op::Write(msr, value) => return Told::Write(pmu.write_msr(msr, value)),
        Op::Read(msr) => return Told::Read(pmu.read_msr(msr)),
        Op::ReadPmc(index) => return Told::ReadPmc(pmu.read_pmc(index)),
        Op::Enter(answer) => {
            let mut apic = Apic { answer, asked: 0 };
            let pending = pmu.clone().pending_pmi(*now);
            let entry = pmu.enter_guest(*now, &mut apic);
            assert_eq!(pending, apic.asked > 0, "what is pending is asked for");
            return Told::Enter(entry, apic.asked);
        }
        Op::Count(slot, events) => pmu.source_mut().count_slot(slot, events),
        Op::CountAll(events) => pmu.source_mut().count(events),
        Op::Wait(time) => *now = now.saturating_add(Nanos(time)),
        Op::Exit => pmu.exit_guest(),
        Op::MinRearm(time) => pmu.set_min_rearm(time),
        Op::Reset => pmu.reset(),
        Op::Move => {}
    }
    Told::Nothing
}

/// One counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Which.
    pub id: CounterId,
    /// What it is asked for.
    pub select: EventSelect,
    /// What RDMSR gives.
    pub value: u64,
    /// Whether it counts.
    pub state: CounterState,
    /// Value and overflows as one number, which never falls between two writes.
    pub shown: u128,
}

/// What a guest can see of its PMU, statistics as its memory of overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    counters: [Option<Counter>; MAX_SLOTS],
    /// The global status, 0 without one.
    pub status: u64,
    /// The global control, all ones without one.
    pub control: u64,
    /// The selects of the fixed-function counters, 0 without them.
    pub fixed_control: u64,
    /// IA32_DEBUGCTL, 0 without it.
    pub debug_control: u64,
}

impl Seen {
    /// Looks at a copy: being looked at must not change anything, and shall hide nothing either.
    pub fn of(pmu: &Pmu) -> Self {
        let mut pmu = pmu.clone();
        let model = pmu.model();
        let (status, control) = match model.vendor() {
            Vendor::Intel => (MsrId(0x38E), MsrId(0x38F)),
            Vendor::Amd => (MsrId(0xC000_0300), MsrId(0xC000_0301)),
        };
        let fixed_control = read(&mut pmu, MsrId(0x38D), Register::FixedControl).unwrap_or(0);
        let mut counters = [None; MAX_SLOTS];
        for view in pmu.counters() {
            counters[view.id.slot()] = Some(Counter {
                id: view.id,
                select: view.select,
                value: view.value,
                state: view.state,
                shown: u128::from(view.value),
            });
        }
        for (id, stats) in pmu.stats().counters() {
            let counter = counters[id.slot()]
                .as_mut()
                .expect("its statistics are there");
            counter.shown += expected::wrap(model) * u128::from(stats.overflows);
        }
        Self {
            counters,
            status: read(&mut pmu, status, Register::Status).unwrap_or(0),
            control: read(&mut pmu, control, Register::Control).unwrap_or(u64::MAX),
            fixed_control,
            debug_control: read(&mut pmu, MsrId(0x1D9), Register::DebugControl).unwrap_or(0),
        }
    }

    /// The counters that are there.
    pub fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.counters.iter().flatten()
    }

    /// One of them.
    pub fn counter(&self, id: CounterId) -> &Counter {
        self.counters[id.slot()]
            .as_ref()
            .expect("a counter that is there")
    }

    /// What the guest asks of a counter, by its registers.
    pub fn asked(&self, id: CounterId) -> EventSelect {
        match id {
            CounterId::Gp(_) => self.counter(id).select,
            CounterId::Fixed(i) => expected::fixed_select(self.fixed_control, i),
        }
    }

    /// Whether the guest has enabled it (P08).
    pub fn enabled(&self, id: CounterId) -> bool {
        let running = self.control & expected::bit(id) != 0;
        self.asked(id).enabled() && running && self.status & expected::CTR_FRZ == 0
    }

    /// The counts that would go to it, were nothing but the guest and the source to decide.
    pub fn wants(&self, vendor: Vendor, id: CounterId) -> bool {
        let vendor = match id {
            CounterId::Gp(_) => vendor,
            CounterId::Fixed(_) => Vendor::Intel,
        };
        let config = self.asked(id).decode_for(vendor);
        self.enabled(id) && (config.usr || config.os) && supported(&config)
    }

    /// The same but for the memory of overflows, which another PMU does not have.
    pub fn forgetful(mut self) -> Self {
        for counter in self.counters.iter_mut().flatten() {
            counter.shown = 0;
        }
        self
    }
}

fn read(pmu: &mut Pmu, msr: MsrId, register: Register) -> Option<u64> {
    if expected::register(pmu.model(), msr) != Some(register) {
        return None;
    }
    match pmu.read_msr(msr) {
        MsrRead::Value(value) => Some(value),
        other => panic!("P01: RDMSR of {register:?} gives {other:?}"),
    }
}

/// The slots of the source that run.
pub fn running(pmu: &Pmu) -> impl Iterator<Item = usize> {
    (0..MAX_SLOTS).filter(|&slot| pmu.source().running(slot).is_some())
}
