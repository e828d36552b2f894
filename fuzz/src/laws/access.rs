// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the guest's accesses give, and what they leave.

use vpmu::{CounterId, MsrId, MsrRead, MsrWrite};

use super::{Book, Laws};
use crate::expected::{self, Register};
use crate::guest::{Pmu, Seen};

impl Laws {
    /// WRMSR gave `answer`.
    pub(super) fn wrote(&mut self, pmu: &Pmu, msr: MsrId, value: u64, answer: MsrWrite) {
        let register = expected::register(self.model, msr);
        let kept = register.and_then(|register| expected::written(self.model, register, value));
        let wanted = match kept {
            Some(_) => MsrWrite::Done,
            None if self.routed(msr) => MsrWrite::GeneralProtection,
            None => MsrWrite::NotHandled,
        };
        assert_eq!(answer, wanted, "WRMSR {:#x} to {:#x}", value, msr.0);
        let (Some(register), Some(kept)) = (register, kept) else {
            let seen = Seen::of(pmu);
            assert_eq!(
                seen, self.seen,
                "a WRMSR that was refused changed something"
            );
            return;
        };
        let read = pmu.clone().read_msr(msr);
        assert_eq!(
            read,
            MsrRead::Value(kept),
            "{value:#x} written to {register:?}"
        );
        let seen = Seen::of(pmu);
        match register {
            Register::Counter(id) | Register::FullWidth(id) => {
                let shown = seen.counter(id).shown;
                self.books[id.slot()] = Book {
                    truth: shown,
                    shown,
                };
            }
            Register::StatusClear => {
                assert_eq!(seen.status & value, 0, "P06: a bit is still set");
                self.by_hand &= !value;
            }
            Register::StatusSet => {
                let bits = value & (expected::counter_bits(self.model) | self.freeze_bit());
                assert_eq!(bits & !seen.status, 0, "P24: a bit is not set");
                for id in expected::counters(self.model) {
                    let new = bits & expected::bit(id) & !self.seen.status;
                    if seen.asked(id).interrupts() {
                        self.by_hand |= new;
                    }
                }
            }
            _ => {}
        }
        self.look(pmu, seen);
    }

    /// RDMSR gave `answer`.
    pub(super) fn read(&mut self, pmu: &Pmu, msr: MsrId, answer: MsrRead) {
        let register = expected::register(self.model, msr);
        match (register, answer) {
            (Some(register), MsrRead::Value(value)) => self.value(register, value),
            (None, MsrRead::GeneralProtection) => assert!(self.routed(msr), "P01: {:#x}", msr.0),
            (None, MsrRead::NotHandled) => assert!(!self.routed(msr), "P01: {:#x}", msr.0),
            _ => panic!("P01: RDMSR of {:#x}, {register:?}, gives {answer:?}", msr.0),
        }
        self.idle(pmu);
    }

    fn routed(&self, msr: MsrId) -> bool {
        self.model.msr_ranges().any(|range| range.contains(msr))
    }

    fn value(&self, register: Register, value: u64) {
        let seen = &self.seen;
        let defined = expected::readable(self.model, register);
        assert_eq!(
            value & !defined,
            0,
            "{register:?} has a bit that it has not"
        );
        let wanted = match register {
            Register::Counter(id) | Register::FullWidth(id) => seen.counter(id).value,
            Register::Select(n) => seen.counter(CounterId::Gp(n)).select.0,
            Register::FixedControl => seen.fixed_control,
            Register::Status => seen.status,
            Register::Control => seen.control,
            Register::StatusClear | Register::StatusSet => 0,
            Register::InUse => self.in_use(),
            Register::Capabilities => 1 << 13,
            Register::DebugControl => seen.debug_control,
        };
        assert_eq!(value, wanted, "{register:?}");
    }

    /// P25.
    fn in_use(&self) -> u64 {
        let mut bits = 0;
        for id in expected::counters(self.model) {
            let select = self.seen.asked(id);
            let used = match id {
                CounterId::Gp(_) => select.0 & 0xFF != 0,
                CounterId::Fixed(_) => select.enabled(),
            };
            bits |= if used { expected::bit(id) } else { 0 };
            bits |= if select.interrupts() { 1 << 63 } else { 0 };
        }
        bits
    }

    /// RDPMC gave `answer`.
    pub(super) fn read_pmc(&mut self, pmu: &Pmu, index: u32, answer: Option<u64>) {
        let counter = expected::rdpmc(self.model, index);
        let wanted = counter.map(|id| self.seen.counter(id).value);
        assert_eq!(answer, wanted, "P07: RDPMC {index:#x}");
        self.idle(pmu);
    }
}
