// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random register traffic on every model, on a bare source and on the perf core at the same time:
//! whatever the host opens, closes, switches and rotates meanwhile, the guest sees the same, and so
//! do the statistics.

use proptest::prelude::*;
use vcpu_call::Calls;
use vpmu::context::{Attr, Event, Leaves, Open, Perf, PerfConfig, State, Target, Task, VcpuThread};
use vpmu::source::MAX_SLOTS;
use vpmu::source::script::ScriptSource;
use vpmu::{EventConfig, MsrId, MsrWrite, Nanos, PmiOutcome, PmiSink, PmuModel, VcpuPmu, Vendor};

use crate::checks::{V0, counting, pinned};
use crate::rig::cycles;

/// The most that host events may pin, so that each of the guest's counters has its place.
const PINNED: usize = 2;

type Vcpu = VcpuThread<ScriptSource, fn() -> Nanos>;

#[derive(Clone, Debug)]
enum Step {
    /// The register of that number among those that the model has, and a few others.
    Write(prop::sample::Index, u64),
    Read(prop::sample::Index),
    Rdpmc(u32),
    Count(u64),
    CountSlot(usize, u64),
    Time(u64),
    Enter(Result<PmiOutcome, ()>),
    Host(Host),
}

/// What the host does on the perf core, and a bare source knows nothing of.
#[derive(Clone, Debug)]
enum Host {
    Open,
    OpenPinned,
    OpenInTask,
    OpenSampling(u64),
    Close(prop::sample::Index),
    Toggle(prop::sample::Index),
    Switch(bool),
    Rotate,
    Look,
}

struct Apic(Result<PmiOutcome, ()>);

impl PmiSink for Apic {
    type Error = ();

    fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, ()> {
        self.0
    }
}

/// Most of what there is, but not all: so some selects are refused.
fn supported(config: &EventConfig) -> bool {
    !config.edge && config.cmask < 4
}

struct Bench {
    registers: Vec<MsrId>,
    bare: VcpuPmu<ScriptSource>,
    core: VcpuPmu<Vcpu>,
    perf: Perf<fn() -> Nanos>,
    task: Task,
    events: Vec<(Event, bool)>,
    now: u64,
}

impl Bench {
    fn new(model: PmuModel) -> Self {
        let config = PerfConfig {
            slots: MAX_SLOTS,
            ..PerfConfig::new(1)
        };
        let clock: fn() -> Nanos = || Nanos(0);
        let perf = Perf::new(config, clock);
        let source = || ScriptSource::supporting(supported);
        let cpu = perf.cpu(V0, source()).unwrap();
        let calls = Calls::new(1, |_| ());
        let mut vcpu = VcpuThread::new(cpu, calls.vcpu(V0).unwrap());
        vcpu.online().unwrap();
        let task = perf.create_task(V0).unwrap();
        let ranges = model.msr_ranges();
        let mut registers: Vec<_> = ranges
            .flat_map(|range| (range.first.0..range.first.0 + range.count).map(MsrId))
            .collect();
        registers.push(MsrId(0x10));
        let mut bench = Self {
            registers,
            bare: VcpuPmu::new(model, source()),
            core: VcpuPmu::new(model, vcpu),
            perf,
            task,
            events: Vec::new(),
            now: 0,
        };
        bench.bare.set_min_rearm(Nanos(100));
        bench.core.set_min_rearm(Nanos(100));
        for (msr, value) in warm_up(model) {
            assert_eq!(bench.bare.write_msr(msr, value), MsrWrite::Done);
            assert_eq!(bench.core.write_msr(msr, value), MsrWrite::Done);
        }
        bench
    }

    fn msr(&self, index: &prop::sample::Index) -> MsrId {
        *index.get(&self.registers)
    }

    fn step(&mut self, step: &Step) {
        let Self { bare, core, .. } = self;
        match step {
            Step::Write(index, value) => {
                let msr = self.msr(index);
                let answers = (
                    self.bare.write_msr(msr, *value),
                    self.core.write_msr(msr, *value),
                );
                assert_eq!(answers.0, answers.1, "{msr:?} := {value:#x}");
            }
            Step::Read(index) => self.same(self.msr(index)),
            Step::Rdpmc(index) => assert_eq!(bare.read_pmc(*index), core.read_pmc(*index)),
            Step::Count(counts) => {
                bare.source_mut().count(*counts);
                core.source_mut().cpu_mut().source_mut().count(*counts);
            }
            Step::CountSlot(slot, counts) => {
                bare.source_mut().count_slot(*slot, *counts);
                let cpu = core.source_mut().cpu_mut();
                if let Some(slot) = cpu.guest_slot(*slot) {
                    cpu.source_mut().count_slot(slot, *counts);
                }
            }
            Step::Time(nanos) => self.now += nanos,
            Step::Enter(answer) => {
                let now = Nanos(self.now);
                let entries = (
                    bare.enter_guest(now, &mut Apic(*answer)),
                    core.enter_guest(now, &mut Apic(*answer)),
                );
                assert_eq!(entries.0, entries.1);
                let cpu = core.source().cpu();
                for slot in 0..MAX_SLOTS {
                    let armed = cpu
                        .guest_slot(slot)
                        .and_then(|slot| cpu.source().armed(slot));
                    assert_eq!(bare.source().armed(slot), armed, "slot {slot}");
                }
            }
            Step::Host(host) => self.host(host),
        }
        self.check();
    }

    fn host(&mut self, host: &Host) {
        let vcpu = self.core.source_mut();
        match host {
            Host::Open => self.open(counting(), false),
            Host::OpenPinned => {
                let is_pinned = |(event, _): &&(Event, bool)| event.attr().pinned;
                if self.events.iter().filter(is_pinned).count() < PINNED {
                    self.open(pinned(), false);
                }
            }
            Host::OpenInTask => self.open(counting(), true),
            Host::OpenSampling(period) => self.open(Attr::sampling(cycles(), *period), true),
            Host::Close(index) if !self.events.is_empty() => {
                let (event, _) = self.events.swap_remove(index.index(self.events.len()));
                self.perf.close(&event, vcpu).unwrap();
            }
            Host::Toggle(index) if !self.events.is_empty() => {
                let index = index.index(self.events.len());
                let (event, on) = &mut self.events[index];
                let toggled = if *on {
                    self.perf.disable(event, vcpu)
                } else {
                    self.perf.enable(event, vcpu)
                };
                toggled.unwrap();
                *on = !*on;
            }
            Host::Close(_) | Host::Toggle(_) => {}
            Host::Switch(to_task) => {
                let prev = vcpu.cpu().current().cloned();
                let next = to_task.then(|| self.task.clone());
                if prev.is_some() != next.is_some() {
                    let cpu = vcpu.cpu_mut();
                    cpu.switch(prev.as_ref(), Leaves::Queued, next).unwrap();
                }
            }
            Host::Rotate => vcpu.cpu_mut().rotate(),
            Host::Look => {
                let cpu = vcpu.cpu_mut();
                cpu.count(None);
                cpu.irq_work();
                cpu.arm();
            }
        }
    }

    fn open(&mut self, attr: Attr, in_task: bool) {
        // More than there are counters, so that some have to wait.
        if self.events.len() < 2 * MAX_SLOTS {
            let target = if in_task {
                Target::Task(&self.task)
            } else {
                Target::Vcpu(V0)
            };
            let open = Open::new(attr, target);
            let event = self.perf.open(&open, self.core.source_mut()).unwrap();
            self.events.push((event, true));
        }
    }

    fn same(&mut self, msr: MsrId) {
        let answers = (self.bare.read_msr(msr), self.core.read_msr(msr));
        assert_eq!(answers.0, answers.1, "{msr:?}");
    }

    fn check(&self) {
        assert_eq!(self.core.source().cpu().audit(), Ok(()));
        assert_eq!(self.bare.stats(), self.core.stats());
        assert_eq!(self.bare.counting(), self.core.counting());
        let cpu = self.core.source().cpu();
        for slot in 0..MAX_SLOTS {
            let programmed = cpu
                .guest_slot(slot)
                .and_then(|slot| cpu.source().running(slot));
            assert_eq!(self.bare.source().running(slot), programmed, "slot {slot}");
        }
        for (event, on) in &self.events {
            let state = self.perf.status(event).unwrap().state;
            assert!(!event.attr().pinned || !on || state == State::Active(V0));
        }
    }

    /// Whatever was left for later comes to light.
    fn finish(mut self) {
        for msr in self.registers.clone() {
            self.same(msr);
        }
        self.check();
    }
}

fn value() -> impl Strategy<Value = u64> {
    let select = (
        prop_oneof![Just(0x3C_u64), Just(0xC0), Just(0x76), 0..0x1_0000_u64],
        0..4_u64,
        any::<bool>(),
        prop::bool::weighted(0.8),
        prop_oneof![8 => Just(0_u64), 1 => (18..40_u32).prop_map(|bit| 1 << bit)],
    );
    prop_oneof![
        6 => select.prop_map(|(event, levels, interrupts, enabled, rare)| {
            event | levels << 16 | u64::from(interrupts) << 20 | u64::from(enabled) << 22 | rare
        }),
        3 => (1..200_u64).prop_map(|before| before.wrapping_neg() & 0xFFFF_FFFF_FFFF),
        2 => Just(0xF_u64),
        2 => Just(0x7_0000_00FF_u64),
        2 => 0..0x1000_u64,
        1 => any::<u64>(),
    ]
}

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        4 => Just(Host::Open),
        1 => Just(Host::OpenPinned),
        4 => Just(Host::OpenInTask),
        1 => (1..200_u64).prop_map(Host::OpenSampling),
        2 => any::<prop::sample::Index>().prop_map(Host::Close),
        3 => any::<prop::sample::Index>().prop_map(Host::Toggle),
        2 => any::<bool>().prop_map(Host::Switch),
        3 => Just(Host::Rotate),
        3 => Just(Host::Look),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![
        4 => Just(Ok(PmiOutcome::Nmi)),
        1 => Just(Ok(PmiOutcome::Masked)),
        1 => Just(Err(())),
    ];
    prop_oneof![
        12 => (any::<prop::sample::Index>(), value()).prop_map(|(msr, value)| Step::Write(msr, value)),
        4 => any::<prop::sample::Index>().prop_map(Step::Read),
        2 => prop_oneof![0..8_u32, (0..4_u32).prop_map(|n| 1 << 30 | n)].prop_map(Step::Rdpmc),
        4 => prop_oneof![0..300_u64, 0..1_u64 << 50].prop_map(Step::Count),
        2 => (0..MAX_SLOTS, 0..300_u64).prop_map(|(slot, counts)| Step::CountSlot(slot, counts)),
        1 => (0..200_u64).prop_map(Step::Time),
        5 => answer.prop_map(Step::Enter),
        10 => host().prop_map(Step::Host),
    ]
}

fn model() -> impl Strategy<Value = PmuModel> {
    prop::sample::select(PmuModel::ALL)
}

/// First of all, the guest enables what it can, or the dice would seldom do.
fn warm_up(model: PmuModel) -> Vec<(MsrId, u64)> {
    match model.vendor() {
        Vendor::Intel => vec![(MsrId(0x186), 0x53_003C), (MsrId(0x187), 0x43_00C0)],
        Vendor::Amd => vec![
            (MsrId(0xC001_0000), 0x53_0076),
            (MsrId(0xC001_0001), 0x43_00C0),
        ],
    }
}

proptest! {
    #[test]
    fn the_registers_cannot_tell_the_perf_core_from_a_bare_source(
        model in model(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut bench = Bench::new(model);
        steps.iter().for_each(|step| bench.step(step));
        bench.finish();
    }
}

/// The comparison is worth something: traffic reaches counters on both sides.
#[test]
fn what_is_compared_counts() {
    for model in PmuModel::ALL {
        let mut bench = Bench::new(*model);
        (0..MAX_SLOTS).for_each(|_| bench.step(&Step::Host(Host::Open)));
        bench.step(&Step::Count(7));
        assert!(bench.core.counting(), "{model}");
        assert_eq!(bench.core.read_pmc(0), Some(7), "{model}");
    }
}
