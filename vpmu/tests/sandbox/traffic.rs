// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that does anything to the registers of every model, the same at each run.

use vpmu::source::MAX_SLOTS;
use vpmu::source::script::ScriptSource;
use vpmu::{MsrId, MsrRead, MsrWrite, Nanos, PmiOutcome, PmiSink, PmuModel, VcpuPmu};

/// How many steps there are for each model.
const STEPS: u32 = 20_000;

/// What the guest and its local APIC saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How many reads gave a value.
    pub(crate) values: u64,
    /// How many writes were taken.
    pub(crate) accepted: u64,
    /// How many accesses were answered with #GP.
    pub(crate) faults: u64,
    /// How many PMIs there were.
    pub(crate) pmis: u64,
    /// All values that were read, mixed in order.
    digest: u64,
}

impl Seen {
    const fn value(&mut self, value: u64) {
        self.values += 1;
        self.digest = mix(self.digest ^ value);
    }
}

impl PmiSink for Seen {
    type Error = core::convert::Infallible;

    fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, Self::Error> {
        self.pmis += 1;
        Ok(PmiOutcome::Nmi)
    }
}

/// Scatters the bits of a number over all of it.
const fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let number = (number ^ number >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    number ^ number >> 32
}

/// Numbers without much order.
struct Numbers(u64);

impl Numbers {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("small");
        usize::try_from(self.next() % bound).expect("less than it")
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

pub(crate) fn run() -> Seen {
    let mut seen = Seen::default();
    for (seed, model) in (1..).zip(PmuModel::ALL) {
        guest(*model, &mut Numbers(seed), &mut seen);
    }
    seen
}

fn guest(model: PmuModel, numbers: &mut Numbers, seen: &mut Seen) {
    let mut pmu = VcpuPmu::new(model, ScriptSource::new());
    let msrs: Vec<MsrId> = model
        .msr_ranges()
        .flat_map(|range| (0..range.count.min(16)).map(move |n| range.first.nth(n)))
        .collect();
    // Mostly what is there: of the rest, one fault is like another.
    let there: Vec<MsrId> = msrs
        .iter()
        .filter(|&&msr| matches!(pmu.read_msr(msr), MsrRead::Value(_)))
        .copied()
        .collect();
    for step in 0..STEPS {
        let now = Nanos::from_micros(u64::from(step) * 50);
        if step % 1_000 == 0 {
            let snapshot = pmu.snapshot(now);
            let taken = pmu.restore(&snapshot, now);
            taken.expect("a snapshot of this very PMU");
        }
        let any = numbers.below(8) == 0;
        let msr = numbers.pick(if any { &msrs } else { &there });
        match numbers.below(8) {
            0..3 => match pmu.write_msr(msr, value(numbers)) {
                MsrWrite::Done => seen.accepted += 1,
                MsrWrite::GeneralProtection => seen.faults += 1,
                MsrWrite::NotHandled => panic!("{model}: one of its own MSRs is not handled"),
            },
            3..5 => match pmu.read_msr(msr) {
                MsrRead::Value(value) => seen.value(value),
                MsrRead::GeneralProtection => seen.faults += 1,
                MsrRead::NotHandled => panic!("{model}: one of its own MSRs is not handled"),
            },
            5 => {
                let index = numbers.below(10) | numbers.below(2) << 30;
                match pmu.read_pmc(u32::try_from(index).expect("31 bits")) {
                    Some(value) => seen.value(value),
                    None => seen.faults += 1,
                }
            }
            6 => {
                let slot = numbers.below(MAX_SLOTS);
                pmu.source_mut().count_slot(slot, numbers.next() % 1_000);
            }
            _ => {
                let Ok(_) = pmu.enter_guest(now, seen);
            }
        }
    }
}

/// What a guest may write: selects, counters about to overflow, bits here and there.
fn value(numbers: &mut Numbers) -> u64 {
    match numbers.below(6) {
        0 => 0,
        1 => 0xFF,
        2 => 0x53_0000 | numbers.pick(&[0x3C, 0x76, 0xC0, 0x13C]),
        3 => 0xFFFF_FFFF & !(numbers.next() % 1_000),
        4 => 0xFFFF_FFFF_FFFF & !(numbers.next() % 1_000),
        _ => 1 << (numbers.next() % 64),
    }
}
