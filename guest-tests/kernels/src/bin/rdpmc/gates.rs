// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Other gates, another table.

use rt::cpu::{self, ist, rflags};
use rt::idt;
use rt::probe::{self, BOTH, Cpl};
use rt::tap::Outcome;
use rt::trap::vector;

use crate::common::*;
use crate::steps::*;

/// A sample of everything above, after the host was given a chance to look at the IDT.
pub(crate) fn all_is_well() -> Outcome {
    prepare();
    for cpl in BOTH {
        read_all(cpl)?;
        faults_at(&start_read(cpl, 4), 0)?;
        let mut start = patterned(probe::LOAD, cpl);
        start.r9 = 1 << 63;
        faults_at(&start, 0)?;
        let mut start = patterned(probe::STEPS, cpl);
        start.rcx = 0;
        start.rflags |= rflags::TF;
        let rips = probe::STEP_ENDS.map(|end| start.rip + end);
        if cpu::current() == 0 {
            debug_traps(&start, &rips, cpu::DR6_SINGLE_STEP)?;
        }
    }
    faults_at(&patterned(probe::HLT, Cpl::Three), 0)?;
    cpu::allow_user_rdpmc(false);
    let refused = faults_at(&start_read(Cpl::Three, 0), 0);
    cpu::allow_user_rdpmc(true);
    refused
}

pub(crate) fn gate_on_ist() -> Outcome {
    let gates = idt::main();
    gates.set_ist(vector::GENERAL_PROTECTION, ist::SPARE);
    let on_ist = all_is_well();
    gates.set_ist(vector::GENERAL_PROTECTION, ist::NONE);
    on_ist?;
    all_is_well()
}

pub(crate) fn gate_rewritten() -> Outcome {
    let gates = idt::main();
    for round in 0..3 {
        let entry = if round % 2 == 0 {
            idt::other_general_protection_entry()
        } else {
            idt::general_protection_entry()
        };
        gates.set_entry(vector::GENERAL_PROTECTION, entry);
        all_is_well()?;
    }
    gates.set_entry(vector::GENERAL_PROTECTION, idt::general_protection_entry());
    all_is_well()
}

pub(crate) fn idt_moved() -> Outcome {
    // First with the same handler behind the gate, then with another.
    let spare = idt::spare();
    for entry in [
        idt::general_protection_entry(),
        idt::other_general_protection_entry(),
    ] {
        spare.set_entry(vector::GENERAL_PROTECTION, entry);
        idt::load(spare);
        let moved = all_is_well();
        idt::load(idt::main());
        moved?;
        all_is_well()?;
    }
    Ok(())
}
