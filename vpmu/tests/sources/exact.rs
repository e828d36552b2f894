// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A CPU that retires instructions one by one: a source that is exact, and overflows without skid.
//!
//! The trait is to fit such a source. This is the smallest there can be: three kinds of instruction,
//! and a stop in front of the next one when a counter overflowed.

use std::convert::Infallible;

use vpmu::msr::{IA32_PERF_GLOBAL_STATUS, IA32_PERFEVTSEL0, IA32_PMC0};
use vpmu::source::MAX_SLOTS;
use vpmu::{
    CounterSource, Event, EventConfig, EventSelect, MsrRead, MsrWrite, Nanos, NotCounted,
    PmiOutcome, PmiSink, PmuModel, VcpuPmu, Wake,
};

use crate::contract::Rig;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    /// At CPL 3.
    User,
    /// A branch at CPL 3.
    UserBranch,
    /// At CPL 0.
    Kernel,
}

/// What the guest executes, over and over.
const PROGRAM: [Instruction; 5] = [
    Instruction::User,
    Instruction::Kernel,
    Instruction::UserBranch,
    Instruction::Kernel,
    Instruction::User,
];

#[derive(Clone, Copy, Debug)]
struct Slot {
    config: EventConfig,
    untaken: u64,
    /// Counts until the CPU has to stop.
    left: Option<u64>,
}

#[derive(Debug, Default)]
struct ExactCpu {
    slots: [Option<Slot>; MAX_SLOTS],
    retired: usize,
    /// A counter overflowed: nothing is retired before the registers have looked.
    stops: bool,
}

impl ExactCpu {
    /// Retires the next instruction; `None` if it has to stop in front of it.
    fn step(&mut self) -> Option<Instruction> {
        if self.stops {
            return None;
        }
        let instruction = PROGRAM[self.retired % PROGRAM.len()];
        self.retired += 1;
        for slot in self.slots.iter_mut().flatten() {
            if !counts(&slot.config, instruction) {
                continue;
            }
            slot.untaken += 1;
            if let Some(left) = &mut slot.left {
                *left = left.saturating_sub(1);
                self.stops |= *left == 0;
            }
        }
        Some(instruction)
    }
}

fn counts(config: &EventConfig, instruction: Instruction) -> bool {
    let level = match instruction {
        Instruction::Kernel => config.os,
        Instruction::User | Instruction::UserBranch => config.usr,
    };
    level && (config.event == Event::Instructions || instruction == Instruction::UserBranch)
}

impl CounterSource for ExactCpu {
    fn enter_guest(&mut self) {
        self.stops = false;
    }

    fn supports(&self, config: &EventConfig) -> bool {
        let plain = !config.edge && !config.invert && config.cmask == 0 && !config.any_thread;
        plain && matches!(config.event, Event::Instructions | Event::Branches)
    }

    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted> {
        self.stop(slot);
        if slot >= MAX_SLOTS || !self.supports(config) {
            return Err(NotCounted);
        }
        self.slots[slot] = Some(Slot {
            config: *config,
            untaken: 0,
            left: None,
        });
        Ok(())
    }

    fn stop(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = None;
        }
    }

    fn take(&mut self, slot: usize) -> u64 {
        let Some(Some(slot)) = self.slots.get_mut(slot) else {
            return 0;
        };
        slot.left = None;
        std::mem::take(&mut slot.untaken)
    }

    fn arm(&mut self, slot: usize, distance: u64) -> Wake {
        if let Some(Some(slot)) = self.slots.get_mut(slot) {
            slot.left = Some(distance);
        }
        Wake::BySource
    }
}

struct Exact(ExactCpu);

impl Rig for Exact {
    type Source = ExactCpu;

    const COUNTED: EventConfig = EventConfig::everywhere(Event::Instructions);
    const REFUSED: EventConfig = EventConfig::everywhere(Event::CoreCycles);

    fn new() -> Result<Self, String> {
        Ok(Self(ExactCpu::default()))
    }

    fn source(&mut self) -> &mut ExactCpu {
        &mut self.0
    }

    fn advance(&mut self, counts: u64) {
        for _ in 0..counts {
            self.0.enter_guest();
            assert!(self.0.step().is_some());
        }
    }

    fn run(&mut self, wake: Wake) {
        assert_eq!(wake, Wake::BySource);
        self.0.enter_guest();
        while self.0.step().is_some() {}
    }
}

contract!(Exact);

/// A local APIC that takes every PMI.
#[derive(Default)]
struct Apic {
    pmis: u32,
}

impl PmiSink for Apic {
    type Error = Infallible;

    fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, Infallible> {
        self.pmis += 1;
        Ok(PmiOutcome::Nmi)
    }
}

/// Runs a guest whose counter 0 overflows after `distance` of what `select` asks for. Returns what
/// it had retired when the PMI came.
fn pmi_after(select: u64, distance: u32) -> Vec<Instruction> {
    let mut pmu = VcpuPmu::new(PmuModel::INTEL_V2, ExactCpu::default());
    let mut apic = Apic::default();
    let value = (-i64::from(distance)).cast_unsigned();
    assert_eq!(pmu.write_msr(IA32_PMC0, value), MsrWrite::Done);
    let select = select | EventSelect::EN | EventSelect::INT;
    assert_eq!(pmu.write_msr(IA32_PERFEVTSEL0, select), MsrWrite::Done);
    let mut retired = Vec::new();
    loop {
        let entry = pmu.enter_guest(Nanos(0), &mut apic).unwrap();
        assert_eq!(entry.recheck, None, "nobody has to kick this vCPU");
        if apic.pmis > 0 {
            break;
        }
        while let Some(instruction) = pmu.source_mut().step() {
            retired.push(instruction);
        }
        pmu.exit_guest();
    }
    assert_eq!(pmu.read_msr(IA32_PERF_GLOBAL_STATUS), MsrRead::Value(1));
    assert_eq!(
        pmu.read_msr(IA32_PMC0),
        MsrRead::Value(0),
        "it has just wrapped"
    );
    assert_eq!(pmu.stats().skid.max, 0);
    assert_eq!(pmu.stats().overflows, 1);
    retired
}

#[test]
fn p21_an_exact_source_has_no_skid() {
    let (usr, os) = (EventSelect::USR, EventSelect::OS);
    for distance in 1..40_u32 {
        let program = || PROGRAM.iter().copied().cycle();
        for (select, event) in [
            (
                0xC0 | usr | os,
                EventConfig::everywhere(Event::Instructions),
            ),
            (0xC0 | usr, config(Event::Instructions, true)),
            (0xC0 | os, config(Event::Instructions, false)),
            (0xC4 | usr, config(Event::Branches, true)),
        ] {
            let retired = pmi_after(select, distance);
            let mut left = distance;
            let expected: Vec<_> = program()
                .take_while(|&instruction| {
                    let before = left;
                    left = left.saturating_sub(u32::from(counts(&event, instruction)));
                    before > 0
                })
                .collect();
            assert_eq!(retired, expected, "{select:#x} after {distance}");
        }
    }
}

fn config(event: Event, usr: bool) -> EventConfig {
    EventConfig {
        usr,
        os: !usr,
        ..EventConfig::everywhere(event)
    }
}

#[test]
fn counts_are_those_of_the_program_at_every_level() {
    for (config, expected) in [
        (EventConfig::everywhere(Event::Instructions), 500),
        (config(Event::Instructions, true), 300),
        (config(Event::Instructions, false), 200),
        (config(Event::Branches, true), 100),
        (config(Event::Branches, false), 0),
    ] {
        let mut cpu = ExactCpu::default();
        assert_eq!(cpu.start(0, &config), Ok(()));
        for _ in 0..500 {
            assert!(cpu.step().is_some());
        }
        assert_eq!(cpu.take(0), expected, "{config:?}");
    }
}
