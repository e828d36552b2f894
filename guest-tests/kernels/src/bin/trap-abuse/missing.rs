// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! User code without a stack, or without its page.

use rt::cpu::{self};
use rt::mem::{self, Access};
use rt::probe::{self, Cpl};
use rt::tap::Outcome;
use rt::trap::{TrapFrame, vector};
use rt::{check_eq, session};

use crate::common::*;

/// One RDPMC at CPL 3: done, or refused by a #GP that the guest sees.
pub(crate) fn user_rdpmc(start: &TrapFrame, allowed: bool) -> Outcome {
    let end = session::run(start);
    if allowed {
        check_eq!(
            end.vector(),
            vector::RETURN,
            "vector (error {:#x})",
            end.error
        );
        check_eq!(end.rax | end.rdx << 32, VALUE, "value");
    } else {
        check_eq!((end.vector(), end.error), (13, 0), "vector and error");
        check_eq!(end.rip, start.rip, "RIP");
    }
    check_eq!(end.rsp, start.rsp, "RSP");
    unprivileged(&end)
}

pub(crate) fn no_stack() -> Outcome {
    prepare();
    let page = (session::user_stack() - 1) & !(mem::PAGE - 1);
    mem::set_access(page, Access::None);
    let outcome = [true, false].iter().try_for_each(|&allowed| {
        cpu::allow_user_rdpmc(allowed);
        for rsp in [
            session::user_stack() - 64,
            0,
            8,
            1 << 47,
            1 << 63,
            u64::MAX - 7,
        ] {
            let mut start = probe::RDPMC.start(Cpl::Three);
            start.rsp = rsp;
            user_rdpmc(&start, allowed).map_err(|why| at(format_args!("RSP {rsp:#x}"), why))?;
        }
        Ok(())
    });
    mem::set_access(page, Access::User);
    outcome?;
    still_works()
}

pub(crate) fn no_page() -> Outcome {
    prepare();
    probe::place(CODE, &[0x0f, 0x33]);
    let mut start = probe::RDPMC.start(Cpl::Three);
    start.rip = CODE;
    user_rdpmc(&start, true)?;
    // The same instruction where user code may not go, and where nothing is.
    for (access, error) in [(Access::Kernel, 5), (Access::None, 4)] {
        mem::set_access(CODE, access);
        let end = session::run(&start);
        check_eq!(
            (end.vector(), end.error & !0x10),
            (vector::PAGE_FAULT, error),
            "{access:?}"
        );
        unprivileged(&end)?;
    }
    // RDPMC whose second byte lies on such a page.
    let edge = CODE + 2 * mem::PAGE - 1;
    mem::set_access(edge, Access::User);
    mem::fill(edge, &[0x0f, 0x33]);
    for access in [Access::Kernel, Access::None] {
        mem::set_access(edge + 1, access);
        start.rip = edge;
        let end = session::run(&start);
        check_eq!(
            (end.vector(), cpu::cr2()),
            (vector::PAGE_FAULT, edge + 1),
            "second byte"
        );
        unprivileged(&end)?;
    }
    still_works()
}
