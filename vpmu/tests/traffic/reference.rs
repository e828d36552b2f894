// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A PMU told once more, the simple way: every counter has an absolute position that only grows,
//! and overflow number k is the moment it reaches k * 2^48. What the guest sees follows from how
//! many of them were shown. Everything is settled at once after every step; nothing is deferred.

use std::collections::BTreeSet;

use vpmu::source::script::ScriptSource;
use vpmu::{EventSelect, MsrId, MsrRead, MsrWrite, Nanos, PmiOutcome, PmuStats, Recheck, VcpuPmu};

use crate::script::{
    Answer, Apic, CONTROL, FIXED_CTRL, OVF_CTRL, PMC, SELECT, STATUS, Step, VISIBLE, apply, pmu,
    supported,
};

const WRAP: u128 = 1 << 48;

#[derive(Clone, Default)]
struct Counter {
    select: u64,
    position: u128,
    /// How many overflows of this position were shown.
    shown: u128,
    counted: u128,
    overflows: u128,
}

struct Reference {
    counters: [Counter; 4],
    control: u64,
    status: u64,
    now: u64,
    min_rearm: u64,
    last_pmi: Option<u64>,
    /// Overflows that are being held, by counter and number; each is throttled once.
    held: BTreeSet<(usize, u128)>,
    throttled: u64,
    pmis: u64,
    masked: u64,
    undeliverable: u64,
    skids: Vec<u128>,
}

enum Answered {
    Value(u128),
    Done,
    Fault,
    NotMine,
}

impl Reference {
    fn new() -> Self {
        Self {
            counters: Default::default(),
            control: 0xF,
            status: 0,
            now: 0,
            min_rearm: 100,
            last_pmi: None,
            held: BTreeSet::new(),
            throttled: 0,
            pmis: 0,
            masked: 0,
            undeliverable: 0,
            skids: Vec::new(),
        }
    }

    fn enabled(&self, n: usize) -> bool {
        self.counters[n].select >> 22 & 1 == 1 && self.control >> n & 1 == 1
    }

    fn interrupts(&self, n: usize) -> bool {
        self.counters[n].select >> 20 & 1 == 1
    }

    fn counts(&self, n: usize) -> bool {
        self.enabled(n) && supported(&EventSelect(self.counters[n].select).decode())
    }

    fn hidden(&self, n: usize) -> u128 {
        self.counters[n].position / WRAP - self.counters[n].shown
    }

    fn value(&self, n: usize) -> u128 {
        if self.hidden(n) > 0 {
            WRAP - 1
        } else {
            self.counters[n].position % WRAP
        }
    }

    fn show(&mut self, n: usize) {
        let hidden = self.hidden(n);
        self.counters[n].shown += hidden;
        self.counters[n].overflows += hidden;
        if hidden > 0 {
            self.status |= 1 << n;
        }
    }

    fn settle(&mut self) {
        for n in 0..4 {
            if self.counts(n) && !self.interrupts(n) {
                self.show(n);
            }
        }
    }

    fn count(&mut self, n: usize, counts: u64) {
        if n < 4 && self.counts(n) {
            self.counters[n].position += u128::from(counts);
            self.counters[n].counted += u128::from(counts);
        }
    }

    fn read(&self, msr: u32) -> Answered {
        match msr {
            0xC1..=0xC4 => Answered::Value(self.value((msr - PMC) as usize)),
            0x186..=0x189 => Answered::Value(self.counters[(msr - SELECT) as usize].select.into()),
            STATUS => Answered::Value(self.status.into()),
            CONTROL => Answered::Value(self.control.into()),
            OVF_CTRL | FIXED_CTRL => Answered::Value(0),
            0x10 => Answered::NotMine,
            _ => Answered::Fault,
        }
    }

    fn write(&mut self, msr: u32, value: u64) -> Answered {
        match msr {
            0xC1..=0xC4 => {
                let n = (msr - PMC) as usize;
                let low = u128::from(value % (1 << 32));
                let negative = low >= 1 << 31;
                self.counters[n].position = if negative {
                    WRAP - (1 << 32) + low
                } else {
                    low
                };
                self.counters[n].shown = 0;
                self.held.retain(|&(counter, _)| counter != n);
            }
            0x186..=0x189 if value >> 32 == 0 && value >> 21 & 1 == 0 => {
                self.counters[(msr - SELECT) as usize].select = value;
            }
            CONTROL if value < 16 => self.control = value,
            OVF_CTRL if value << 2 >> 6 == 0 => self.status &= !value,
            FIXED_CTRL if value == 0 => {}
            0x10 => return Answered::NotMine,
            _ => return Answered::Fault,
        }
        Answered::Done
    }

    fn pending_pmi(&self) -> bool {
        self.throttle_end().is_none() && (0..4).any(|n| self.due(n))
    }

    fn due(&self, n: usize) -> bool {
        self.counts(n) && self.interrupts(n) && self.hidden(n) > 0
    }

    fn throttle_end(&self) -> Option<u64> {
        self.last_pmi
            .map(|last| last + self.min_rearm)
            .filter(|&end| self.now < end)
    }

    /// Returns what the entry says, or nothing if the sink was broken.
    fn enter(&mut self, answer: Answer) -> Option<(Option<PmiOutcome>, Option<Recheck>)> {
        let due: Vec<usize> = (0..4).filter(|&n| self.due(n)).collect();
        let mut pmi = None;
        if !due.is_empty() {
            if let Some(end) = self.throttle_end() {
                for n in due {
                    if self.held.insert((n, self.counters[n].shown)) {
                        self.throttled += 1;
                    }
                }
                return Some((None, Some(Recheck::At(Nanos(end)))));
            }
            let Answer::Sink(outcome) = answer else {
                return None;
            };
            for n in due {
                let counter = &self.counters[n];
                self.skids
                    .push(counter.position - (counter.shown + 1) * WRAP);
                self.show(n);
            }
            match outcome {
                PmiOutcome::Masked => self.masked += 1,
                PmiOutcome::Undeliverable => self.undeliverable += 1,
                PmiOutcome::Nmi | PmiOutcome::Fixed(_) => {
                    self.pmis += 1;
                    self.last_pmi = Some(self.now);
                }
            }
            pmi = Some(outcome);
        }
        let recheck = (0..4)
            .filter(|&n| self.counts(n) && self.interrupts(n))
            .map(|n| WRAP - self.counters[n].position % WRAP)
            .min()
            .map(|cycles| Recheck::InCycles(u64::try_from(cycles).expect("below the wrap")));
        Some((pmi, recheck))
    }

    fn check_stats(&self, stats: &PmuStats) {
        let overflows: u128 = self.counters.iter().map(|counter| counter.overflows).sum();
        assert_eq!(u128::from(stats.overflows), overflows);
        for (counter, (_, stats)) in self.counters.iter().zip(stats.counters()) {
            assert_eq!(u128::from(stats.counted), counter.counted);
            assert_eq!(u128::from(stats.overflows), counter.overflows);
        }
        assert_eq!(
            [
                stats.pmis,
                stats.masked,
                stats.undeliverable,
                stats.throttled
            ],
            [self.pmis, self.masked, self.undeliverable, self.throttled]
        );
        assert_eq!(stats.skid.count, self.skids.len() as u64);
        assert_eq!(u128::from(stats.skid.sum), self.skids.iter().sum());
        assert_eq!(
            Some(u128::from(stats.skid.max)),
            self.skids.iter().copied().max().or(Some(0))
        );
    }
}

/// Runs `steps` on both, and compares all there is to see after each.
pub(crate) fn compare(steps: &[Step]) {
    let mut pmu = pmu();
    let mut reference = Reference::new();
    for step in steps {
        one(&mut pmu, &mut reference, step);
        reference.settle();
        // A copy is looked at, so that looking does not settle what the PMU left for later.
        let mut copy = pmu.clone();
        for msr in VISIBLE {
            let Answered::Value(value) = reference.read(msr) else {
                unreachable!("it is there")
            };
            let value = u64::try_from(value).expect("a register has 64 bits");
            assert_eq!(
                copy.read_msr(MsrId(msr)),
                MsrRead::Value(value),
                "{msr:#x} after {step:?}"
            );
        }
        reference.check_stats(copy.stats());
        assert_eq!(
            copy.counting(),
            (0..4).any(|n| reference.counts(n)),
            "after {step:?}"
        );
    }
}

fn one(pmu: &mut VcpuPmu<ScriptSource>, reference: &mut Reference, step: &Step) {
    match *step {
        Step::Write(msr, value) => {
            let expected = match reference.write(msr, value) {
                Answered::Done => MsrWrite::Done,
                Answered::NotMine => MsrWrite::NotHandled,
                Answered::Fault | Answered::Value(_) => MsrWrite::GeneralProtection,
            };
            assert_eq!(pmu.write_msr(MsrId(msr), value), expected, "{step:?}");
        }
        Step::Read(msr) => {
            let expected = match reference.read(msr) {
                Answered::Value(value) => MsrRead::Value(u64::try_from(value).expect("64 bits")),
                Answered::NotMine => MsrRead::NotHandled,
                Answered::Fault | Answered::Done => MsrRead::GeneralProtection,
            };
            assert_eq!(pmu.read_msr(MsrId(msr)), expected, "{step:?}");
        }
        Step::Rdpmc(index) => {
            let expected = (index < 4).then(|| reference.value(index as usize));
            assert_eq!(pmu.read_pmc(index).map(u128::from), expected, "{step:?}");
        }
        Step::Enter(answer) => {
            let now = Nanos(reference.now);
            assert_eq!(
                pmu.clone().pending_pmi(now),
                reference.pending_pmi(),
                "{step:?}"
            );
            let asks = u32::from(reference.pending_pmi());
            let mut apic = Apic { answer, asked: 0 };
            let entry = pmu.enter_guest(now, &mut apic).ok();
            let expected = reference.enter(answer);
            assert_eq!(
                entry.map(|entry| (entry.pmi, entry.recheck)),
                expected,
                "{step:?}"
            );
            assert_eq!(apic.asked, asks, "{step:?}");
        }
        Step::Count(counts) => {
            (0..4).for_each(|n| reference.count(n, counts));
            apply(pmu, &mut 0, step);
        }
        Step::CountSlot(slot, counts) => {
            reference.count(slot, counts);
            apply(pmu, &mut 0, step);
        }
        Step::Time(ns) => reference.now += ns,
        Step::MinRearm(ns) => {
            reference.min_rearm = ns;
            apply(pmu, &mut 0, step);
        }
    }
    // An overflow that was shown or forgotten is held no longer.
    let counters = &reference.counters;
    reference
        .held
        .retain(|&(n, shown)| counters[n].shown == shown && counters[n].position / WRAP > shown);
}
