// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! User code that jumps to the #GP handler.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rt::cpu::{self, ist, rflags, selector};
use rt::probe::{self, Cpl};
use rt::tap::Outcome;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{check_eq, idt, session};

use crate::common::*;
use crate::forged::*;

/// User code with its stack at `stack` jumps to the #GP handler: the page fault that it deserves
/// arrives in the guest, at that address, with nothing changed.
pub(crate) fn jump_faults(stack: u64) -> Outcome {
    let mut start = probe::JUMP.start(Cpl::Three);
    start.set_patterns();
    start.rcx = 0;
    start.r14 = stack;
    start.r15 = idt::general_protection_entry();
    let end = session::run(&start);
    check_eq!(
        end.vector(),
        vector::PAGE_FAULT,
        "vector (error {:#x})",
        end.error
    );
    check_eq!(
        end.error & 0b1_0111 & !0x10,
        0b101,
        "error code: user, present"
    );
    check_eq!(cpu::cr2(), start.r15, "CR2");
    check_eq!(end.rip, start.r15, "RIP");
    unprivileged(&end)?;
    check_eq!(end.rflags & !rflags::RF, start.rflags, "RFLAGS");
    (start.rip, start.rsp, start.rflags) = (end.rip, stack, end.rflags);
    (start.vector, start.error) = (end.vector, end.error);
    check_eq!(end, start, "registers");
    Ok(())
}

pub(crate) fn jumps(pce: bool) -> Outcome {
    prepare();
    cpu::allow_user_rdpmc(pce);
    let outcome = tempting().iter().try_for_each(|(what, forged)| {
        // Where the frame lies as the CPU would have it, and a little off.
        for offset in [0, 8, 16] {
            let place = session::user_stack() - 256 - offset;
            forged.put(place);
            jump_faults(place).map_err(|why| at(format_args!("{what}"), why))?;
        }
        Ok(())
    });
    cpu::allow_user_rdpmc(true);
    outcome?;
    still_works()
}

pub(crate) fn kernel_stack_as_user() -> Outcome {
    prepare();
    let place = session::trap_stack() - FRAME;
    // What a real RDPMC leaves behind, then what user code could not write there but wishes for.
    let end = session::run(&probe::RDPMC.start(Cpl::Three));
    check_eq!(end.vector(), vector::RETURN, "vector of RDPMC");
    jump_faults(place)?;
    for (what, forged) in tempting() {
        forged.put(place);
        jump_faults(place).map_err(|why| at(format_args!("{what}"), why))?;
    }
    still_works()
}

pub(crate) fn interrupt_stack_as_user() -> Outcome {
    let gates = idt::main();
    gates.set_ist(vector::GENERAL_PROTECTION, ist::SPARE);
    prepare();
    let place = session::ist_stack(ist::SPARE) - FRAME;
    let outcome = tempting().iter().try_for_each(|(what, forged)| {
        forged.put(place);
        jump_faults(place).map_err(|why| at(format_args!("{what}"), why))?;
        Forged {
            rsp: place,
            ..*forged
        }
        .put(session::user_stack() - FRAME);
        jump_faults(session::user_stack() - FRAME)
            .map_err(|why| at(format_args!("{what}, user stack"), why))
    });
    gates.set_ist(vector::GENERAL_PROTECTION, ist::NONE);
    outcome?;
    still_works()
}

pub(crate) fn jump_from_32_bits() -> Outcome {
    prepare();
    for (what, forged) in tempting() {
        let place = session::user_stack() - 256;
        forged.put(place);
        let mut start = TrapFrame::user(idt::general_protection_entry(), place);
        start.cs = selector::USER_CODE32;
        let end = session::run(&start);
        check_eq!(end.vector(), vector::PAGE_FAULT, "{what}: vector");
        check_eq!((end.cs, end.ss), (start.cs, start.ss), "{what}: CS and SS");
        check_eq!(
            (end.rip, end.rsp),
            (start.rip, start.rsp),
            "{what}: RIP and RSP"
        );
        check_eq!(end.rflags & rflags::IOPL, 0, "{what}: IOPL");
    }
    still_works()
}

pub(crate) static STEPS: AtomicU64 = AtomicU64::new(0);

pub(crate) static LAST_STEP: AtomicU64 = AtomicU64::new(0);

pub(crate) fn stepped_jump() -> Outcome {
    prepare();
    let place = session::user_stack() - 256;
    Forged {
        rflags: rflags::FIXED | rflags::IOPL,
        ..Forged::user()
    }
    .put(place);
    STEPS.store(0, Relaxed);
    let _ = cpu::take_dr6();
    trap::hook(vector::DEBUG, |frame| {
        if STEPS.fetch_add(1, Relaxed) > 8 || cpu::take_dr6() & cpu::DR6_SINGLE_STEP == 0 {
            return Verdict::Pass;
        }
        LAST_STEP.store(frame.rip, Relaxed);
        Verdict::Resume
    });
    let mut start = probe::JUMP.start(Cpl::Three);
    start.r14 = place;
    start.r15 = idt::general_protection_entry();
    start.rflags |= rflags::TF;
    let end = session::run(&start);
    trap::unhook(vector::DEBUG);
    check_eq!(end.vector(), vector::PAGE_FAULT, "vector");
    check_eq!(end.rip, start.r15, "RIP");
    // The move to RSP, the jump.
    check_eq!(STEPS.load(Relaxed), 2, "single steps");
    check_eq!(
        LAST_STEP.load(Relaxed),
        start.r15,
        "RIP of the last single step"
    );
    unprivileged(&end)?;
    still_works()
}
