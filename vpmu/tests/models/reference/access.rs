// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What RDMSR, WRMSR and RDPMC answer.

use vpmu::{CounterId, PMU_MSR_RANGES, PmuKind, Vendor};

use super::Reference;
use crate::rig::{CTR_FRZ, INT};
use crate::shapes::{bit, has_status_set, version};

/// What an instruction gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Value(u64),
    Done,
    Fault,
    NotMine,
}

/// What an MSR number means to a model.
#[derive(Clone, Copy)]
enum Meaning {
    /// A counter, by its place, and which rule its writes follow.
    Counter(usize, Write),
    Select(usize),
    FixedControl,
    Status,
    Control,
    Clear,
    Set,
    InUse,
    Capabilities,
    Debug,
    Absent,
    NotMine,
}

#[derive(Clone, Copy)]
enum Write {
    Legacy,
    Full,
    Amd,
}

const FREEZE: u64 = 1 << 12;
/// OvfBuf and CondChgd.
const BOTH: u64 = 1 << 62 | 1 << 63;
const LBR_FRZ: u64 = 1 << 58;
const ASCI: u64 = 1 << 61;

impl Reference {
    fn meaning(&self, msr: u32) -> Meaning {
        let found = match self.model.vendor() {
            Vendor::Intel => self.intel(msr),
            Vendor::Amd => self.amd(msr),
        };
        found.unwrap_or_else(|| {
            let pmu = PMU_MSR_RANGES.iter().any(|range| {
                msr >= range.first.0
                    && u64::from(msr) < u64::from(range.first.0) + u64::from(range.count)
            });
            if pmu {
                Meaning::Absent
            } else {
                Meaning::NotMine
            }
        })
    }

    fn general(&self, n: u32) -> Option<usize> {
        self.place(CounterId::Gp(u8::try_from(n).ok()?))
    }

    fn intel(&self, msr: u32) -> Option<Meaning> {
        let version = version(&self.model);
        let full_width = self.model.full_width_writes();
        match msr {
            0xC1..=0xC8 => Some(Meaning::Counter(self.general(msr - 0xC1)?, Write::Legacy)),
            0x186..=0x18D => Some(Meaning::Select(self.general(msr - 0x186)?)),
            0x309..=0x318 => {
                let i = u8::try_from(msr - 0x309).ok()?;
                let at = self.place(CounterId::Fixed(i))?;
                Some(Meaning::Counter(at, Write::Full))
            }
            0x345 if full_width => Some(Meaning::Capabilities),
            0x4C1..=0x4C8 if full_width => {
                Some(Meaning::Counter(self.general(msr - 0x4C1)?, Write::Full))
            }
            0x1D9 if version >= 2 => Some(Meaning::Debug),
            0x38D if version >= 2 => Some(Meaning::FixedControl),
            0x38E if version >= 2 => Some(Meaning::Status),
            0x38F if version >= 2 => Some(Meaning::Control),
            0x390 if version >= 2 => Some(Meaning::Clear),
            0x391 if version >= 4 => Some(Meaning::Set),
            0x392 if version >= 4 => Some(Meaning::InUse),
            _ => None,
        }
    }

    fn amd(&self, msr: u32) -> Option<Meaning> {
        let core = self.model.kind() != PmuKind::AmdK7;
        let globals = self.model.kind() == PmuKind::AmdV2;
        match msr {
            0xC001_0000..=0xC001_0003 => Some(Meaning::Select(self.general(msr - 0xC001_0000)?)),
            0xC001_0004..=0xC001_0007 => {
                let at = self.general(msr - 0xC001_0004)?;
                Some(Meaning::Counter(at, Write::Amd))
            }
            0xC001_0200..=0xC001_020B if core => {
                let at = self.general((msr - 0xC001_0200) / 2)?;
                Some(if msr & 1 == 0 {
                    Meaning::Select(at)
                } else {
                    Meaning::Counter(at, Write::Amd)
                })
            }
            0xC000_0300 if globals => Some(Meaning::Status),
            0xC000_0301 if globals => Some(Meaning::Control),
            0xC000_0302 if globals => Some(Meaning::Clear),
            0xC000_0303 if globals => Some(Meaning::Set),
            _ => None,
        }
    }

    pub(crate) fn read(&self, msr: u32) -> Answered {
        let state = &self.state;
        Answered::Value(match self.meaning(msr) {
            Meaning::Counter(at, _) => self.value(at),
            Meaning::Select(at) => state.counters[at].select,
            Meaning::FixedControl => state.fixed_control,
            Meaning::Status => state.status,
            Meaning::Control => state.control,
            Meaning::Clear | Meaning::Set => 0,
            Meaning::InUse => self.in_use(),
            Meaning::Capabilities => 1 << 13,
            Meaning::Debug => state.debugctl,
            Meaning::Absent => return Answered::Fault,
            Meaning::NotMine => return Answered::NotMine,
        })
    }

    pub(crate) fn rdpmc(&self, index: u32) -> Option<u64> {
        let low = u8::try_from(index & 0xFFFF).ok()?;
        let counter = match index >> 16 {
            0 => CounterId::Gp(low),
            0x4000 if self.model.vendor() == Vendor::Intel => CounterId::Fixed(low),
            _ => return None,
        };
        Some(self.value(self.place(counter)?))
    }

    fn in_use(&self) -> u64 {
        let mut bits = 0;
        for at in self.all() {
            let select = self.select(at);
            let used = match self.state.counters[at].id {
                CounterId::Gp(_) => select & 0xFF != 0,
                CounterId::Fixed(_) => select & (3 << 16) != 0,
            };
            if used {
                bits |= bit(self.state.counters[at].id);
            }
            if select & INT != 0 {
                bits |= 1 << 63;
            }
        }
        bits
    }

    fn counter_bits(&self) -> u64 {
        self.all()
            .map(|at| bit(self.state.counters[at].id))
            .fold(0, |bits, bit| bits | bit)
    }

    pub(crate) fn write(&mut self, msr: u32, value: u64) -> Answered {
        let amd = self.model.vendor() == Vendor::Amd;
        let streamlined = version(&self.model) >= 4;
        let counters = self.counter_bits();
        let within = |accepted: u64| value & !accepted == 0;
        match self.meaning(msr) {
            Meaning::Counter(at, write) => return self.write_counter(at, write, value),
            Meaning::Select(at) => {
                let kept = if amd {
                    // Without 19, 21, 39:36 and 63:42.
                    value & 0x0000_030F_FFD7_FFFF
                } else {
                    value
                };
                let reserved = value >> 32 != 0 || value >> 21 & 1 == 1 && !self.has_any_thread();
                if reserved && !amd {
                    return Answered::Fault;
                }
                self.state.counters[at].select = kept;
            }
            Meaning::FixedControl => {
                let mut accepted = 0;
                for at in self.all() {
                    if let CounterId::Fixed(i) = self.state.counters[at].id {
                        let field = if self.has_any_thread() { 15 } else { 11 };
                        accepted |= field << (4 * i);
                    }
                }
                if !within(accepted) {
                    return Answered::Fault;
                }
                self.state.fixed_control = value;
            }
            Meaning::Control if amd => self.state.control = value & counters,
            Meaning::Control if within(counters) => self.state.control = value,
            Meaning::Clear => {
                let more = if streamlined {
                    CTR_FRZ | LBR_FRZ | ASCI
                } else {
                    0
                };
                if !amd && !within(counters | BOTH | more) {
                    return Answered::Fault;
                }
                self.state.status &= !value;
                self.state.asked &= !value;
            }
            Meaning::Set => {
                assert!(has_status_set(&self.model));
                if !amd && !within(counters | BOTH | CTR_FRZ) {
                    return Answered::Fault;
                }
                self.set_status(if amd { value & counters } else { value });
            }
            Meaning::Debug if within(FREEZE | 0b11) => self.state.debugctl = value & FREEZE,
            Meaning::NotMine => return Answered::NotMine,
            _ => return Answered::Fault,
        }
        Answered::Done
    }

    fn set_status(&mut self, bits: u64) {
        let new = bits & !self.state.status;
        for at in self.all() {
            let bit = bit(self.state.counters[at].id);
            if new & bit != 0 && self.interrupts(at) {
                self.state.asked |= bit;
            }
        }
        self.state.status |= bits;
    }

    fn write_counter(&mut self, at: usize, write: Write, value: u64) -> Answered {
        let wrap = self.wrap();
        let position = match write {
            Write::Amd => u128::from(value) % wrap,
            Write::Full if u128::from(value) >= wrap => return Answered::Fault,
            Write::Full => u128::from(value),
            Write::Legacy => {
                let low = u128::from(value) % (1 << 32);
                if low < 1 << 31 {
                    low
                } else {
                    wrap - (1 << 32) + low
                }
            }
        };
        let counter = &mut self.state.counters[at];
        counter.position = position;
        counter.shown = 0;
        let id = counter.id;
        self.state.noticed.retain(|(noticed, _)| *noticed != id);
        Answered::Done
    }
}
