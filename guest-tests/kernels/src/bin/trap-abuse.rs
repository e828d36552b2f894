// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The host emulates RDPMC by looking at what the guest's #GP handler is about to see. Nobody may
//! gain anything by pretending: user code that jumps to the handler with a frame of its own
//! making, a table that changes at the wrong moment, a stack that is not there.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};

use rt::cpu::{self, ist, rflags, selector};
use rt::mem::{self, Access};
use rt::pmu::{self, COUNTERS, select, set_counter, set_select};
use rt::probe::{self, BOTH, Cpl};
use rt::random::Random;
use rt::tap::Outcome;
use rt::text::Text;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{check, check_eq, diag, fail, idt, session, smp, time};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("user code jumps to the handler with a forged frame", || {
            jumps(true)
        }),
        ("the same without CR4.PCE", || jumps(false)),
        (
            "a forged frame where the kernel's stack would be",
            kernel_stack_as_user,
        ),
        (
            "the same with the gate on an interrupt stack",
            interrupt_stack_as_user,
        ),
        ("a jump from 32-bit user code", jump_from_32_bits),
        (
            "a single-stepped jump: one #DB, then the page fault",
            stepped_jump,
        ),
        ("RDPMC by user code without a stack", no_stack),
        ("RDPMC by user code whose page is gone", no_page),
        (
            "kernel code jumps there with a frame that does not fit",
            mismatched_kernel_frames,
        ),
        (
            "kernel code jumps there with a frame that fits",
            fitting_kernel_frames,
        ),
        ("the gate is rewritten while user code faults", || {
            race(rewrite_gate)
        }),
        (
            "the gate moves between stacks while user code faults",
            || race(move_stack),
        ),
        (
            "the table is swapped under the feet of its CPU",
            swap_tables,
        ),
        ("the instruction is rewritten while it faults", rewrite_code),
        ("user pages come and go while user code faults", || {
            race(unmap_stack)
        }),
        ("RDPMC works as before", still_works),
    ]);
}

const VALUE: u64 = 0x1234_5678;

fn prepare() {
    cpu::allow_user_rdpmc(true);
    pmu::reset();
    set_select(0, select::CYCLES);
    set_select(0, 0);
    (0..COUNTERS).for_each(|n| set_counter(n, VALUE));
}

fn at(place: core::fmt::Arguments<'_>, why: Text) -> Text {
    Text::format(format_args!("{place}: {why}"))
}

/// The code at `frame` is at CPL 3 as user code should be, and no more.
fn unprivileged(frame: &TrapFrame) -> Outcome {
    check_eq!(
        (frame.cs, frame.ss),
        (selector::USER_CODE, selector::USER_DATA),
        "CS and SS"
    );
    check_eq!(frame.rflags & rflags::IOPL, 0, "IOPL");
    Ok(())
}

/// User code runs, is at CPL 3, may not do what the kernel may, and RDPMC works.
fn still_works() -> Outcome {
    prepare();
    let end = session::run(&probe::RETURN.start(Cpl::Three));
    check_eq!(end.vector(), vector::RETURN, "vector of INT 0x80");
    unprivileged(&end)?;
    let end = session::run(&probe::HLT.start(Cpl::Three));
    check_eq!(end.vector(), vector::GENERAL_PROTECTION, "vector of HLT");
    unprivileged(&end)?;
    for cpl in BOTH {
        let end = session::run(&probe::RDPMC.start(cpl));
        check_eq!(
            end.vector(),
            vector::RETURN,
            "vector of RDPMC at CPL {cpl:?}"
        );
        check_eq!(end.rax | end.rdx << 32, VALUE, "RDPMC at CPL {cpl:?}");
    }
    Ok(())
}

/// A #GP frame as the CPU would push it, from low to high addresses.
#[derive(Clone, Copy)]
struct Forged {
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Bytes of a frame.
const FRAME: u64 = 48;

impl Forged {
    /// A frame of user code at its RDPMC.
    fn user() -> Self {
        Self {
            error: 0,
            rip: probe::RDPMC.address(Cpl::Three),
            cs: selector::USER_CODE,
            rflags: rflags::FIXED | rflags::IF,
            rsp: session::user_stack(),
            ss: selector::USER_DATA,
        }
    }

    /// A frame of kernel code at its RDPMC, for a place on a stack.
    fn kernel(place: u64) -> Self {
        Self {
            error: 0,
            rip: probe::RDPMC.address(Cpl::Zero),
            cs: selector::KERNEL_CODE,
            rflags: rflags::FIXED,
            rsp: place + FRAME,
            ss: selector::KERNEL_DATA,
        }
    }

    fn put(self, place: u64) {
        let words = [
            self.error,
            self.rip,
            self.cs,
            self.rflags,
            self.rsp,
            self.ss,
        ];
        // SAFETY: the callers name places on stacks that nothing uses at the moment.
        unsafe { (place as *mut [u64; 6]).write(words) };
    }
}

/// The frames user code would like the host to believe.
fn tempting() -> [(&'static str, Forged); 7] {
    let user = Forged::user();
    let all_io = user.rflags | rflags::IOPL;
    let (kernel_code, kernel_data) = (selector::KERNEL_CODE, selector::KERNEL_DATA);
    let kernel_rip = probe::RDPMC.address(Cpl::Zero);
    [
        ("a plausible frame", user),
        (
            "IOPL 3",
            Forged {
                rflags: all_io,
                ..user
            },
        ),
        (
            "kernel CS and SS",
            Forged {
                cs: kernel_code,
                ss: kernel_data,
                ..user
            },
        ),
        (
            "kernel CS, user SS",
            Forged {
                cs: kernel_code,
                ..user
            },
        ),
        (
            "kernel code",
            Forged {
                rip: kernel_rip,
                cs: kernel_code,
                ss: kernel_data,
                ..user
            },
        ),
        (
            "a kernel stack",
            Forged {
                rsp: session::trap_stack(),
                ..user
            },
        ),
        (
            "another error code",
            Forged {
                error: 8,
                rflags: all_io,
                ..user
            },
        ),
    ]
}

/// User code with its stack at `stack` jumps to the #GP handler: the page fault that it deserves
/// arrives in the guest, at that address, with nothing changed.
fn jump_faults(stack: u64) -> Outcome {
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

fn jumps(pce: bool) -> Outcome {
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

fn kernel_stack_as_user() -> Outcome {
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

fn interrupt_stack_as_user() -> Outcome {
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

fn jump_from_32_bits() -> Outcome {
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

static STEPS: AtomicU64 = AtomicU64::new(0);
static LAST_STEP: AtomicU64 = AtomicU64::new(0);

fn stepped_jump() -> Outcome {
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

/// One RDPMC at CPL 3: done, or refused by a #GP that the guest sees.
fn user_rdpmc(start: &TrapFrame, allowed: bool) -> Outcome {
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

fn no_stack() -> Outcome {
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

/// Where this kernel puts code of its own.
const CODE: u64 = mem::PLAYGROUND;

fn no_page() -> Outcome {
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

/// Kernel code at CPL 0 jumps to the #GP handler with a forged frame at `place`; how it ends.
fn kernel_jump(place: u64, forged: Forged) -> TrapFrame {
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
fn handler_saw(end: &TrapFrame, forged: Forged) -> Outcome {
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

fn mismatched_kernel_frames() -> Outcome {
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

fn fitting_kernel_frames() -> Outcome {
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

static STOP: AtomicBool = AtomicBool::new(false);
static SEED: AtomicU64 = AtomicU64::new(0);
static READS: AtomicU64 = AtomicU64::new(0);

/// Lets CPU 1 do `mischief` while user code on CPU 0 executes RDPMC and faults. An RDPMC may end in
/// the guest's handler then, but as itself; nothing else may come of it.
fn race(mischief: smp::Work) -> Outcome {
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

fn one_racing_round(round: u64) -> Outcome {
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
fn until_stopped(mut mischief: impl FnMut(u64)) -> Outcome {
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

fn rewrite_gate() -> Outcome {
    let entries = [
        idt::general_protection_entry(),
        idt::other_general_protection_entry(),
    ];
    until_stopped(|turn| {
        let entry = entries[usize::from(turn % 2 == 1)];
        idt::main().set_entry(vector::GENERAL_PROTECTION, entry);
    })
}

fn move_stack() -> Outcome {
    until_stopped(|turn| {
        let entry = if turn % 2 == 1 { ist::SPARE } else { ist::NONE };
        idt::main().set_ist(vector::GENERAL_PROTECTION, entry);
    })
}

fn unmap_stack() -> Outcome {
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

fn swap_tables() -> Outcome {
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

fn rewrite_code() -> Outcome {
    const ROUNDS: u64 = 60;
    check!(smp::start_all()? >= 2, "this needs two CPUs");
    prepare();
    probe::place(CODE, &[0x0f, 0x33]);
    SEED.store(time::tsc(), Relaxed);
    STOP.store(false, Relaxed);
    smp::start(1, || {
        // RDPMC, or HLT and NOP. The same page is written through an alias, away from the code
        // that CPU 0 executes.
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
