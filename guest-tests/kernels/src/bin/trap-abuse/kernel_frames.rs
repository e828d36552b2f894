// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kernel code that jumps to its own #GP handler.

use rt::cpu::{rflags, selector};
use rt::probe::{self, Cpl};
use rt::tap::Outcome;
use rt::trap::{TrapFrame, vector};
use rt::{check_eq, idt, session};

use crate::common::*;
use crate::forged::*;

/// Kernel code at CPL 0 jumps to the #GP handler with a forged frame at `place`; how it ends.
pub(crate) fn kernel_jump(place: u64, forged: Forged) -> TrapFrame {
    forged.put(place);
    let mut start = probe::JUMP.start(Cpl::Zero);
    start.set_patterns();
    start.rcx = 0;
    // An interrupt would overwrite what lies at RSP.
    start.rflags = rflags::FIXED;
    start.r14 = place;
    start.r15 = idt::general_protection_entry();
    session::run(&start)
}

/// The handler ran, and saw the forged frame.
pub(crate) fn handler_saw(end: &TrapFrame, forged: Forged) -> Outcome {
    check_eq!(end.vector(), vector::GENERAL_PROTECTION, "vector");
    check_eq!(
        (end.error, end.rip),
        (forged.error, forged.rip),
        "error code and RIP"
    );
    check_eq!((end.cs, end.ss), (forged.cs, forged.ss), "CS and SS");
    check_eq!(
        (end.rsp, end.rflags),
        (forged.rsp, forged.rflags),
        "RSP and RFLAGS"
    );
    Ok(())
}

pub(crate) fn mismatched_kernel_frames() -> Outcome {
    prepare();
    let own = session::kernel_stack() - 256;
    let trap_top = session::trap_stack() - FRAME;
    let (kernel, user) = (Forged::kernel(own), Forged::user());
    let cases = [
        ("a user frame on the kernel's own stack", own, user),
        ("a user frame below where it would be", trap_top - 16, user),
        (
            "RSP not above the frame",
            own,
            Forged {
                rsp: own + FRAME + 16,
                ..kernel
            },
        ),
        (
            "RSP of another stack",
            own,
            Forged {
                rsp: trap_top,
                ..kernel
            },
        ),
        ("another CS", own, Forged { cs: 0x30, ..kernel }),
        (
            "another SS",
            own,
            Forged {
                ss: selector::USER_DATA,
                ..kernel
            },
        ),
        (
            "CS of RPL 1",
            own,
            Forged {
                cs: selector::KERNEL_CODE | 1,
                ..kernel
            },
        ),
        ("no CS", own, Forged { cs: 0, ..kernel }),
        (
            "an error code",
            own,
            Forged {
                error: 0x18,
                ..kernel
            },
        ),
        (
            "not an RDPMC",
            own,
            Forged {
                rip: probe::HLT.address(Cpl::Zero),
                ..kernel
            },
        ),
        (
            "RIP that is not mapped",
            own,
            Forged {
                rip: 1 << 40,
                ..kernel
            },
        ),
        (
            "RIP that is not canonical",
            own,
            Forged {
                rip: 1 << 63,
                ..kernel
            },
        ),
        (
            "kernel SS with a user CS",
            trap_top,
            Forged {
                ss: selector::KERNEL_DATA,
                ..user
            },
        ),
        (
            "user CS of RPL 0",
            trap_top,
            Forged {
                cs: selector::USER_CODE & !3,
                ..user
            },
        ),
        ("a TSS as CS", trap_top, Forged { cs: 0x43, ..user }),
        ("CS beyond the GDT", trap_top, Forged { cs: 0xfffb, ..user }),
        (
            "a code segment as SS",
            trap_top,
            Forged {
                ss: selector::USER_CODE,
                ..user
            },
        ),
        (
            "kernel code as user CS",
            trap_top,
            Forged {
                cs: selector::KERNEL_CODE | 3,
                ..user
            },
        ),
    ];
    for (what, place, forged) in cases {
        let end = kernel_jump(place, forged);
        handler_saw(&end, forged).map_err(|why| at(format_args!("{what}"), why))?;
    }
    still_works()
}

pub(crate) fn fitting_kernel_frames() -> Outcome {
    // Such a frame cannot be told from a real one. The kernel harms nobody but itself: the handler
    // runs, or the read is done as if IRET had gone back; but the flags that no trap changes stay.
    prepare();
    let own = session::kernel_stack() - 256;
    let trap_top = session::trap_stack() - FRAME;
    let hostile = rflags::FIXED | rflags::IOPL | 1 << 17 | rflags::AC | 3 << 19;
    let cases = [
        (
            own,
            Forged {
                rflags: hostile,
                ..Forged::kernel(own)
            },
        ),
        (
            trap_top,
            Forged {
                rflags: hostile,
                ..Forged::user()
            },
        ),
    ];
    for (place, forged) in cases {
        let end = kernel_jump(place, forged);
        if end.vector() != vector::RETURN {
            handler_saw(&end, forged)?;
            continue;
        }
        check_eq!(end.rax | end.rdx << 32, VALUE, "value");
        check_eq!((end.cs, end.ss), (forged.cs, forged.ss), "CS and SS");
        check_eq!(
            end.rflags & hostile,
            rflags::FIXED,
            "flags that no trap changes"
        );
    }
    still_works()
}
