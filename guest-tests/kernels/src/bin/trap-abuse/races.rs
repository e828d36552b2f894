// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tables, pages and code that change at the wrong moment.

use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};

use rt::cpu::{ist, rflags};
use rt::mem::{self, Access};
use rt::pmu::{select, set_select};
use rt::probe::{self, Cpl};
use rt::random::Random;
use rt::tap::Outcome;
use rt::trap::vector;
use rt::{check, check_eq, diag, fail, idt, session, smp, time};

use crate::common::*;

pub(crate) static STOP: AtomicBool = AtomicBool::new(false);

pub(crate) static SEED: AtomicU64 = AtomicU64::new(0);

pub(crate) static READS: AtomicU64 = AtomicU64::new(0);

/// Lets CPU 1 do `mischief` while user code on CPU 0 executes RDPMC and faults. An RDPMC may end in
/// the guest's handler then, but as itself; nothing else may come of it.
pub(crate) fn race(mischief: smp::Work) -> Outcome {
    const ROUNDS: u64 = 150;
    check!(smp::start_all()? >= 2, "this needs two CPUs");
    let seed = time::tsc();
    SEED.store(seed, Relaxed);
    STOP.store(false, Relaxed);
    READS.store(0, Relaxed);
    prepare();
    smp::start(1, mischief);
    let outcome = (0..ROUNDS).try_for_each(|round| {
        one_racing_round(round)
            .map_err(|why| at(format_args!("seed {seed:#x}, round {round}"), why))
    });
    STOP.store(true, Relaxed);
    let other = smp::finish(1);
    let gates = idt::main();
    gates.set_ist(vector::GENERAL_PROTECTION, ist::NONE);
    gates.set_entry(vector::GENERAL_PROTECTION, idt::general_protection_entry());
    diag!("{} of {ROUNDS} reads were done", READS.load(Relaxed));
    outcome?;
    other?;
    smp::on_each(still_works)
}

pub(crate) fn one_racing_round(round: u64) -> Outcome {
    // Now and then, let the host look at the table again.
    if round.is_multiple_of(8) {
        set_select(1, select::CYCLES);
        set_select(1, 0);
    }
    let mut start = probe::RDPMC.start(Cpl::Three);
    start.set_patterns();
    start.rcx = 0;
    let mut end = session::run(&start);
    unprivileged(&end)?;
    match end.vector() {
        vector::RETURN => {
            READS.fetch_add(1, Relaxed);
            check_eq!(end.rax | end.rdx << 32, VALUE, "value");
            check_eq!(end.rip, start.rip + 4, "RIP");
            (end.rax, end.rdx, end.rip) = (start.rax, start.rdx, start.rip);
        }
        vector::GENERAL_PROTECTION => check_eq!(end.error, 0, "error code"),
        other => fail!("vector {other}"),
    }
    (end.vector, end.rflags) = (0, end.rflags & !rflags::RF);
    check_eq!(end, start, "registers");
    let start = probe::HLT.start(Cpl::Three);
    let end = session::run(&start);
    unprivileged(&end)?;
    check_eq!((end.vector(), end.error), (13, 0), "HLT: vector and error");
    check_eq!(
        (end.rip, end.rsp),
        (start.rip, start.rsp),
        "HLT: RIP and RSP"
    );
    Ok(())
}

/// Does something over and over, at varying distances, until the race is over.
pub(crate) fn until_stopped(mut mischief: impl FnMut(u64)) -> Outcome {
    let mut random = Random::new(SEED.load(Relaxed));
    let mut turn = 0;
    while !STOP.load(Relaxed) {
        mischief(turn);
        turn += 1;
        time::spin(random.below(time::ticks_ms(1) / 4));
    }
    mischief(0);
    Ok(())
}

pub(crate) fn rewrite_gate() -> Outcome {
    let entries = [
        idt::general_protection_entry(),
        idt::other_general_protection_entry(),
    ];
    until_stopped(|turn| {
        let entry = entries[usize::from(turn % 2 == 1)];
        idt::main().set_entry(vector::GENERAL_PROTECTION, entry);
    })
}

pub(crate) fn move_stack() -> Outcome {
    until_stopped(|turn| {
        let entry = if turn % 2 == 1 { ist::SPARE } else { ist::NONE };
        idt::main().set_ist(vector::GENERAL_PROTECTION, entry);
    })
}

pub(crate) fn unmap_stack() -> Outcome {
    // CPU 0's, as seen by the host's walk of the page tables.
    let page = (session::user_stack_of(0) - 1) & !(mem::PAGE - 1);
    until_stopped(|turn| {
        mem::set_access(
            page,
            if turn % 2 == 1 {
                Access::None
            } else {
                Access::User
            },
        );
    })
}

pub(crate) fn swap_tables() -> Outcome {
    let (main, spare) = (idt::main(), idt::spare());
    spare.set_entry(
        vector::GENERAL_PROTECTION,
        idt::other_general_protection_entry(),
    );
    prepare();
    let mut outcome = Ok(());
    for round in 0..60 {
        // The host saw another table than the one in use, except on every third round.
        idt::load(if round % 2 == 0 { spare } else { main });
        if round % 3 == 0 {
            prepare();
        }
        outcome = one_racing_round(1).map_err(|why| at(format_args!("round {round}"), why));
        if outcome.is_err() {
            break;
        }
    }
    idt::load(main);
    outcome?;
    still_works()
}

pub(crate) fn rewrite_code() -> Outcome {
    const ROUNDS: u64 = 60;
    check!(smp::start_all()? >= 2, "this needs two CPUs");
    prepare();
    probe::place(CODE, &[0x0f, 0x33]);
    SEED.store(time::tsc(), Relaxed);
    STOP.store(false, Relaxed);
    smp::start(1, || {
        // RDPMC, or HLT and NOP.
        // SAFETY: an aligned word of the playground, which only tests use.
        let code = unsafe { AtomicU16::from_ptr(CODE as *mut u16) };
        until_stopped(|turn| {
            let word = if turn % 2 == 1 {
                [0xf4, 0x90]
            } else {
                [0x0f, 0x33]
            };
            code.store(u16::from_le_bytes(word), Relaxed);
        })
    });
    let outcome = (0..ROUNDS).try_for_each(|round| {
        let mut start = probe::RDPMC.start(Cpl::Three);
        start.set_patterns();
        (start.rip, start.rcx) = (CODE, 0);
        let mut end = session::run(&start);
        unprivileged(&end)?;
        match end.vector() {
            vector::RETURN => {
                check_eq!(end.rax | end.rdx << 32, VALUE, "round {round}: value");
                (end.rax, end.rdx, end.rip) = (start.rax, start.rdx, CODE);
            }
            vector::GENERAL_PROTECTION => check_eq!(end.error, 0, "round {round}: error code"),
            other => fail!("round {round}: vector {other}"),
        }
        (end.vector, end.rflags) = (0, end.rflags & !rflags::RF);
        check_eq!(end, start, "round {round}: registers");
        Ok(())
    });
    STOP.store(true, Relaxed);
    let other = smp::finish(1);
    outcome?;
    other?;
    still_works()
}
