// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reads that succeed, and what they leave alone.

use rt::cpu::{rflags, selector};
use rt::msr::rdpmc;
use rt::pmu::{self, COUNTERS, counter, select, set_counter, set_select};
use rt::probe::{self, BOTH, Cpl};
use rt::tap::Outcome;
use rt::trap::{TrapFrame, vector};
use rt::{check, check_eq, mem, session, time};

use crate::common::*;

pub(crate) fn kernel_reads() -> Outcome {
    prepare();
    for (n, want) in (0..COUNTERS).zip(VALUES) {
        check_eq!(rdpmc(n), want, "counter {n}");
    }
    read_all(Cpl::Zero)
}

pub(crate) fn user_reads() -> Outcome {
    prepare();
    read_all(Cpl::Three)
}

pub(crate) fn read_after_disable() -> Outcome {
    prepare();
    for way in 0..2 {
        pmu::set_global(pmu::ALL);
        set_counter(2, 0);
        set_select(2, select::CYCLES);
        time::busy(time::ticks_ms(1));
        if way == 0 {
            set_select(2, 0);
        } else {
            pmu::set_global(0);
        }
        let value = counter(2);
        check!(value > 0, "the counter did not count");
        for cpl in BOTH {
            read_one(&start_read(cpl, 2), 2, value)?;
        }
    }
    pmu::reset();
    Ok(())
}

pub(crate) fn running() -> Outcome {
    prepare();
    set_counter(0, 0);
    set_select(0, select::CYCLES);
    for round in 0..50 {
        let first = counter(0);
        let second = rdpmc(0);
        let third = value_of(&session::run(&start_read(Cpl::Three, 0)));
        let fourth = counter(0);
        check!(
            first <= second && second <= third && third <= fourth,
            "round {round}: RDMSR {first}, RDPMC {second}, at CPL 3 {third}, RDMSR {fourth}"
        );
    }
    pmu::reset();
    Ok(())
}

pub(crate) fn only_ecx() -> Outcome {
    prepare();
    for cpl in BOTH {
        let mut start = start_read(cpl, 1);
        start.rcx |= 0xdead_beef << 32;
        read_one(&start, 2, VALUES[1])?;
    }
    Ok(())
}

/// Where this kernel puts code of its own.
pub(crate) const CODE: u64 = mem::PLAYGROUND;

pub(crate) fn prefixes() -> Outcome {
    prepare();
    let cases: [&[u8]; 14] = [
        &[0x66],
        &[0x67],
        &[0x26],
        &[0x2e],
        &[0x36],
        &[0x3e],
        &[0x64],
        &[0x65],
        &[0x48],
        &[0x40],
        &[0x4f],
        &[0x66, 0x2e, 0x67, 0x48],
        &[0x66, 0x66, 0x66, 0x66, 0x66],
        // 15 bytes, the longest instruction there is.
        &[0x2e; 13],
    ];
    for prefix in cases {
        let mut code = [0; 15];
        let length = prefix.len() + 2;
        code[..prefix.len()].copy_from_slice(prefix);
        code[prefix.len()..length].copy_from_slice(&[0x0f, 0x33]);
        probe::place(CODE, &code[..length]);
        for cpl in BOTH {
            let mut start = start_read(cpl, 3);
            start.rip = CODE;
            read_one(&start, length as u64, VALUES[3])
                .map_err(|why| at(format_args!("{prefix:x?} at CPL {cpl:?}"), why))?;
        }
    }
    Ok(())
}

pub(crate) fn compatibility_mode() -> Outcome {
    prepare();
    for (rip, length) in [
        (probe::user_rdpmc_32_address(), 2),
        (probe::user_rdpmc_32_prefixed_address(), 3),
    ] {
        for (n, want) in (0..COUNTERS).zip(VALUES) {
            let mut start = TrapFrame::user(rip, session::user_stack());
            start.cs = selector::USER_CODE32;
            start.rcx = u64::from(n);
            let end = session::run(&start);
            check_eq!(
                end.vector(),
                vector::RETURN,
                "vector (error {:#x})",
                end.error
            );
            check_eq!(value_of(&end), want, "counter {n}");
            check_eq!((end.cs, end.ss), (start.cs, start.ss), "CS and SS");
            check_eq!(
                (end.rip, end.rsp),
                (rip + length + 2, start.rsp),
                "RIP and RSP"
            );
            check_eq!(end.rflags, start.rflags, "RFLAGS");
        }
        let mut start = TrapFrame::user(rip, session::user_stack());
        start.cs = selector::USER_CODE32;
        start.rcx = 4;
        faults_at(&start, 0)?;
    }
    Ok(())
}

pub(crate) fn across_pages() -> Outcome {
    prepare();
    // Two pages side by side in the address space, but not in memory. Behind the first frame lies
    // what would make it another instruction.
    let (page, first, second) = (CODE + 0x10_000, CODE + 0x20_000, CODE + 0x30_000);
    for (before, after) in [
        (&[0x0f][..], &[0x33][..]),
        (&[0x66, 0x0f], &[0x33]),
        (&[0x48], &[0x0f, 0x33]),
    ] {
        let at = mem::PAGE - before.len() as u64;
        mem::fill(first + at, before);
        mem::fill(first + mem::PAGE, &[0x32, 0x32, 0xcd, 0x80]);
        mem::fill(second, after);
        mem::fill(second + after.len() as u64, &[0xcd, 0x80]);
        mem::map(page, first, mem::Access::User);
        mem::map(page + mem::PAGE, second, mem::Access::User);
        for cpl in BOTH {
            let mut start = start_read(cpl, 1);
            start.rip = page + at;
            read_one(&start, (before.len() + after.len()) as u64, VALUES[1])?;
            start.rcx = 9;
            faults_at(&start, 0)?;
        }
    }
    Ok(())
}

pub(crate) fn preserved() -> Outcome {
    prepare();
    let patterns = [
        0,
        rflags::ARITHMETIC,
        rflags::DF,
        rflags::AC,
        rflags::ID,
        rflags::IOPL,
        rflags::NT,
        0x895,
        rflags::ARITHMETIC | rflags::DF | rflags::AC | rflags::ID | rflags::IOPL,
    ];
    for cpl in BOTH {
        for (interrupts, pattern) in [rflags::IF, 0]
            .iter()
            .flat_map(|i| patterns.map(|p| (i, p)))
        {
            let mut start = start_read(cpl, 0);
            start.rflags = rflags::FIXED | interrupts | pattern;
            read_one(&start, 2, VALUES[0]).map_err(|why| {
                let flags = start.rflags;
                at(format_args!("RFLAGS {flags:#x} at CPL {cpl:?}"), why)
            })?;
        }
    }
    Ok(())
}

pub(crate) fn odd_stacks() -> Outcome {
    prepare();
    for cpl in BOTH {
        for offset in [1, 7, 8, 15, 16, 24] {
            let mut start = start_read(cpl, 1);
            start.rsp -= 256 + offset;
            read_one(&start, 2, VALUES[1])?;
        }
    }
    // User code may keep anything in RSP: RDPMC does not use it.
    for rsp in [
        0,
        1,
        u64::MAX,
        1 << 47,
        0x8000_0000_0000_0000,
        session::trap_stack() - 48,
    ] {
        let mut start = start_read(Cpl::Three, 1);
        start.rsp = rsp;
        read_one(&start, 2, VALUES[1])?;
    }
    Ok(())
}

pub(crate) fn many(cpl: Cpl) -> Outcome {
    const READS: u64 = 2_000;
    prepare();
    set_counter(3, 0);
    set_select(3, select::CYCLES);
    let mut start = probe::RDPMC_LOOP.start(cpl);
    start.rcx = 3;
    start.r8 = READS;
    let end = session::run(&start);
    let last = counter(3);
    pmu::reset();
    check_eq!(
        end.vector(),
        vector::RETURN,
        "vector at the end (error {:#x})",
        end.error
    );
    check_eq!(end.r8, 0, "reads left");
    check_eq!(end.r10, 0, "reads that went back");
    check!(
        end.r9 > 0 && end.r9 <= last,
        "the last value {} and RDMSR's {last}",
        end.r9
    );
    Ok(())
}
