// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reads that fault, and other faults.

use rt::cpu::{self};
use rt::msr::{Gp, try_rdpmc};
use rt::pmu::{self};
use rt::probe::{self, BOTH, Cpl};
use rt::tap::Outcome;
use rt::trap::vector;
use rt::{check_eq, idt, session};

use crate::common::*;

pub(crate) fn user_refused() -> Outcome {
    prepare();
    cpu::allow_user_rdpmc(false);
    let refused = faults_at(&start_read(Cpl::Three, 0), 0);
    let kernel = read_all(Cpl::Zero);
    cpu::allow_user_rdpmc(true);
    refused?;
    kernel?;
    read_all(Cpl::Three)
}

pub(crate) const BAD_INDICES: [u32; 8] = [
    4,
    5,
    7,
    1 << 30,
    1 << 30 | 1,
    1 << 31,
    0xc000_0000,
    0xffff_ffff,
];

pub(crate) fn bad_index() -> Outcome {
    prepare();
    for index in BAD_INDICES {
        check_eq!(try_rdpmc(index), Err(Gp { error: 0 }), "index {index:#x}");
        for cpl in BOTH {
            faults_at(&start_read(cpl, index), 0)?;
        }
    }
    read_all(Cpl::Three)
}

pub(crate) fn other_faults() -> Outcome {
    prepare();
    for _ in 0..20 {
        faults_at(&patterned(probe::HLT, Cpl::Three), 0)?;
        let mut start = patterned(probe::RDMSR, Cpl::Three);
        start.rcx = u64::from(pmu::PMC0);
        faults_at(&start, 0)?;
        for cpl in BOTH {
            let mut start = patterned(probe::LOAD, cpl);
            start.r9 = 1 << 63;
            faults_at(&start, 0)?;
            let mut start = patterned(probe::LOAD_SEGMENT, cpl);
            start.r9 = 0xfff0;
            faults_at(&start, 0xfff0)?;
        }
        // A PMU MSR that is absent, and one of the APIC's that is.
        for absent in [0xc5, 0x80c] {
            let mut start = patterned(probe::RDMSR, Cpl::Zero);
            start.rcx = absent;
            faults_at(&start, 0)?;
        }
        // INT 13 from CPL 3: the gate is not open to it.
        faults_at(&patterned(probe::INT_13, Cpl::Three), 13 << 3 | 2)?;
    }
    read_all(Cpl::Three)
}

pub(crate) fn software_interrupt() -> Outcome {
    prepare();
    let arrives = |cpl: Cpl| {
        let start = patterned(probe::INT_13, cpl);
        let end = session::run(&start);
        check_eq!(
            end.vector(),
            vector::GENERAL_PROTECTION,
            "vector at CPL {cpl:?}"
        );
        check_eq!(end.rip, start.rip + 2, "RIP at CPL {cpl:?}");
        check_eq!(
            (end.cs, end.ss, end.rsp),
            (start.cs, start.ss, start.rsp),
            "CS, SS, RSP"
        );
        check_eq!(
            (end.rax, end.rcx, end.rdx),
            (start.rax, start.rcx, start.rdx),
            "RAX, RCX, RDX"
        );
        Ok(())
    };
    arrives(Cpl::Zero)?;
    let gates = idt::main();
    gates.allow_user(vector::GENERAL_PROTECTION, true);
    let user = arrives(Cpl::Three);
    gates.allow_user(vector::GENERAL_PROTECTION, false);
    user?;
    read_all(Cpl::Three)
}
