// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RDPMC everywhere it may be, and everything near it that must go on as if it were not emulated.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use rt::apic::{LVTPC, PmiDelivery};
use rt::cpu::{self, ist, rflags, selector};
use rt::msr::{self, Gp, rdpmc, try_rdpmc};
use rt::pmu::{self, COUNTERS, counter, select, set_counter, set_select};
use rt::probe::{self, BOTH, Cpl};
use rt::tap::Outcome;
use rt::text::Text;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{check, check_eq, idt, mem, session, time};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("CPL 0 reads every counter", kernel_reads),
        ("CPL 3 reads with CR4.PCE", user_reads),
        ("CPL 3 takes a #GP without CR4.PCE", user_refused),
        ("a bad index is a #GP at either level", bad_index),
        (
            "a counter disabled before the read still reads",
            read_after_disable,
        ),
        ("a running counter reads like RDMSR", running),
        ("only ECX names the counter", only_ecx),
        ("prefixes change nothing", prefixes),
        ("32-bit user code reads", compatibility_mode),
        ("an instruction across two pages", across_pages),
        ("registers and flags stay as they are", preserved),
        ("a stack pointer that is not aligned stays so", odd_stacks),
        ("other #GPs reach the guest's handler", other_faults),
        ("INT 13 reaches the guest's handler", software_interrupt),
        ("single steps over RDPMC: one #DB each", single_steps),
        ("ICEBP arrives", icebp),
        ("2,000 reads at CPL 0 never go back", || many(Cpl::Zero)),
        ("2,000 reads at CPL 3 never go back", || many(Cpl::Three)),
        ("reads at CPL 0 while NMIs arrive", || {
            under_pmis(PmiDelivery::Nmi, Cpl::Zero)
        }),
        ("reads at CPL 3 while NMIs arrive", || {
            under_pmis(PmiDelivery::Nmi, Cpl::Three)
        }),
        ("reads at CPL 0 while vectors arrive", || {
            under_pmis(PmiDelivery::Vector, Cpl::Zero)
        }),
        ("reads at CPL 3 while vectors arrive", || {
            under_pmis(PmiDelivery::Vector, Cpl::Three)
        }),
        ("RDPMC inside an NMI handler", inside_nmi),
        ("RDPMC inside a #GP handler", inside_gp),
        ("the #GP gate on an interrupt stack", gate_on_ist),
        ("the #GP gate rewritten", gate_rewritten),
        ("the IDT moved", idt_moved),
        ("on every CPU", || rt::smp::on_each(all_is_well)),
    ]);
}

/// Values that show a wrong half, a lost sign or a wrong counter.
const VALUES: [u64; 4] = [0x7654_3210, 0xffff_89ab_cdef, 0, 0xffff_ffff_fffe];

/// Stopped counters with these values. They ran before, so that the host knows that the guest
/// uses its PMU.
fn prepare() {
    cpu::allow_user_rdpmc(true);
    pmu::reset();
    set_select(0, select::CYCLES);
    set_select(0, 0);
    for (n, value) in (0..COUNTERS).zip(VALUES) {
        set_counter(n, value);
    }
}

fn value_of(frame: &TrapFrame) -> u64 {
    frame.rax | frame.rdx << 32
}

/// Runs one RDPMC and checks everything there is to see of it.
fn read_one(start: &TrapFrame, length: u64, want: u64) -> Outcome {
    let mut start = *start;
    start.vector = u64::from(vector::RETURN);
    let end = session::run(&start);
    check_eq!(
        end.vector(),
        vector::RETURN,
        "vector at the end (error {:#x})",
        end.error
    );
    check_eq!(value_of(&end), want, "value");
    check!(
        end.rax >> 32 == 0 && end.rdx >> 32 == 0,
        "RAX {:#x}, RDX {:#x}",
        end.rax,
        end.rdx
    );
    start.rip += length + 2;
    (start.rax, start.rdx) = (end.rax, end.rdx);
    check_eq!(end, start, "all other registers");
    Ok(())
}

fn start_read(cpl: Cpl, n: u32) -> TrapFrame {
    let mut start = probe::RDPMC.start(cpl);
    start.set_patterns();
    start.rcx = u64::from(n);
    start
}

fn read_all(cpl: Cpl) -> Outcome {
    for (n, want) in (0..COUNTERS).zip(VALUES) {
        check_eq!(counter(n), want, "RDMSR of counter {n}");
        read_one(&start_read(cpl, n), 2, want)
            .map_err(|why| at(format_args!("counter {n} at CPL {cpl:?}"), why))?;
    }
    Ok(())
}

/// A reason, with the place in front.
fn at(place: core::fmt::Arguments<'_>, why: Text) -> Text {
    Text::format(format_args!("{place}: {why}"))
}

/// A #GP(0) at the probe's first instruction, with nothing else changed.
fn faults_at(start: &TrapFrame, error: u64) -> Outcome {
    let mut start = *start;
    let end = session::run(&start);
    check_eq!(end.vector(), vector::GENERAL_PROTECTION, "vector");
    check_eq!(end.error, error, "error code");
    check_eq!(end.rip, start.rip, "RIP");
    start.vector = u64::from(vector::GENERAL_PROTECTION);
    start.error = error;
    // The CPU may push RF set for a fault.
    start.rflags = start.rflags & !rflags::RF | end.rflags & rflags::RF;
    check_eq!(end, start, "registers");
    Ok(())
}

fn kernel_reads() -> Outcome {
    prepare();
    for (n, want) in (0..COUNTERS).zip(VALUES) {
        check_eq!(rdpmc(n), want, "counter {n}");
    }
    read_all(Cpl::Zero)
}

fn user_reads() -> Outcome {
    prepare();
    read_all(Cpl::Three)
}

fn user_refused() -> Outcome {
    prepare();
    cpu::allow_user_rdpmc(false);
    let refused = faults_at(&start_read(Cpl::Three, 0), 0);
    let kernel = read_all(Cpl::Zero);
    cpu::allow_user_rdpmc(true);
    refused?;
    kernel?;
    read_all(Cpl::Three)
}

const BAD_INDICES: [u32; 8] = [
    4,
    5,
    7,
    1 << 30,
    1 << 30 | 1,
    1 << 31,
    0xc000_0000,
    0xffff_ffff,
];

fn bad_index() -> Outcome {
    prepare();
    for index in BAD_INDICES {
        check_eq!(try_rdpmc(index), Err(Gp { error: 0 }), "index {index:#x}");
        for cpl in BOTH {
            faults_at(&start_read(cpl, index), 0)?;
        }
    }
    read_all(Cpl::Three)
}

fn read_after_disable() -> Outcome {
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

fn running() -> Outcome {
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

fn only_ecx() -> Outcome {
    prepare();
    for cpl in BOTH {
        let mut start = start_read(cpl, 1);
        start.rcx |= 0xdead_beef << 32;
        read_one(&start, 2, VALUES[1])?;
    }
    Ok(())
}

/// Where this kernel puts code of its own.
const CODE: u64 = mem::PLAYGROUND;

fn prefixes() -> Outcome {
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

fn compatibility_mode() -> Outcome {
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

fn across_pages() -> Outcome {
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

fn preserved() -> Outcome {
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

fn odd_stacks() -> Outcome {
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

fn patterned(probe: probe::Probe, cpl: Cpl) -> TrapFrame {
    let mut start = probe.start(cpl);
    start.set_patterns();
    start
}

fn other_faults() -> Outcome {
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

fn software_interrupt() -> Outcome {
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

const MAX_STEPS: usize = 16;
static STEPS: [AtomicU64; MAX_STEPS] = [const { AtomicU64::new(0) }; MAX_STEPS];
static STEP_COUNT: AtomicUsize = AtomicUsize::new(0);
/// DR6 bits of all steps, or'ed and and'ed.
static DR6_ANY: AtomicU64 = AtomicU64::new(0);
static DR6_ALL: AtomicU64 = AtomicU64::new(0);

fn on_debug(frame: &mut TrapFrame) -> Verdict {
    let dr6 = cpu::take_dr6();
    DR6_ANY.fetch_or(dr6, Relaxed);
    DR6_ALL.fetch_and(dr6, Relaxed);
    let step = STEP_COUNT.fetch_add(1, Relaxed);
    if step < MAX_STEPS {
        STEPS[step].store(frame.rip, Relaxed);
        return Verdict::Resume;
    }
    // A step that repeats for ever ends here.
    Verdict::Pass
}

/// Runs until the end while #DBs are logged; checks that they came at `rips` and why.
fn debug_traps(start: &TrapFrame, rips: &[u64], bits: u64) -> Outcome {
    let _ = cpu::take_dr6();
    STEP_COUNT.store(0, Relaxed);
    DR6_ANY.store(0, Relaxed);
    DR6_ALL.store(u64::MAX, Relaxed);
    trap::hook(vector::DEBUG, on_debug);
    let end = session::run(start);
    trap::unhook(vector::DEBUG);
    let count = STEP_COUNT.load(Relaxed);
    for (step, want) in rips.iter().enumerate() {
        check!(step < count, "{count} #DBs, not {}", rips.len());
        let rip = STEPS[step].load(Relaxed);
        let (is, want) = (rip.wrapping_sub(start.rip), want.wrapping_sub(start.rip));
        check_eq!(is, want, "offset of RIP at #DB {step}");
    }
    check_eq!(count, rips.len(), "#DBs");
    check_eq!(end.vector(), vector::RETURN, "vector at the end");
    let causes = 0xf | cpu::DR6_SINGLE_STEP;
    check_eq!(
        DR6_ANY.load(Relaxed) & causes,
        bits,
        "causes in DR6 of any #DB"
    );
    check_eq!(
        DR6_ALL.load(Relaxed) & causes,
        bits,
        "causes in DR6 of every #DB"
    );
    check_eq!(
        (end.cs, end.ss, end.rsp),
        (start.cs, start.ss, start.rsp),
        "CS, SS, RSP"
    );
    Ok(())
}

fn single_steps() -> Outcome {
    prepare();
    for _ in 0..10 {
        for cpl in BOTH {
            let mut start = patterned(probe::STEPS, cpl);
            start.rcx = 0;
            start.rflags |= rflags::TF;
            let rips = probe::STEP_ENDS.map(|end| start.rip + end);
            debug_traps(&start, &rips, cpu::DR6_SINGLE_STEP)
                .map_err(|why| at(format_args!("at CPL {cpl:?}"), why))?;
        }
    }
    read_all(Cpl::Three)
}

fn icebp() -> Outcome {
    prepare();
    for _ in 0..10 {
        for cpl in BOTH {
            let start = patterned(probe::ICEBP, cpl);
            debug_traps(&start, &[start.rip + 1], 0)
                .map_err(|why| at(format_args!("at CPL {cpl:?}"), why))?;
        }
    }
    read_all(Cpl::Three)
}

fn many(cpl: Cpl) -> Outcome {
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

static PMIS: AtomicU64 = AtomicU64::new(0);
static PERIOD: AtomicU64 = AtomicU64::new(0);
static SAMPLING: AtomicU64 = AtomicU64::new(0);

fn on_sample(_: &mut TrapFrame) -> Verdict {
    PMIS.fetch_add(1, Relaxed);
    pmu::acknowledge(pmu::ALL);
    msr::write(LVTPC, SAMPLING.load(Relaxed));
    pmu::set_period(0, PERIOD.load(Relaxed));
    Verdict::Resume
}

fn under_pmis(how: PmiDelivery, cpl: Cpl) -> Outcome {
    const READS: u64 = 50;
    prepare();
    trap::hook(how.vector(), on_sample);
    PMIS.store(0, Relaxed);
    PERIOD.store(time::ticks_ms(1), Relaxed);
    SAMPLING.store(how.lvtpc(), Relaxed);
    msr::write(LVTPC, how.lvtpc());
    set_counter(3, 0);
    set_select(3, select::CYCLES);
    pmu::set_period(0, time::ticks_ms(1));
    set_select(0, select::CYCLES_INT);
    let deadline = time::Deadline::after_ms(10_000);
    let mut start = probe::RDPMC_LOOP.start(cpl);
    start.rcx = 3;
    while PMIS.load(Relaxed) < 100 {
        start.r8 = READS;
        let end = session::run(&start);
        check_eq!(
            end.vector(),
            vector::RETURN,
            "vector at the end (error {:#x})",
            end.error
        );
        check_eq!(
            (end.r8, end.r10),
            (0, 0),
            "reads left, and reads that went back"
        );
        start.r9 = end.r9;
        check!(
            !deadline.is_over(),
            "only {} PMIs within 10 s",
            PMIS.load(Relaxed)
        );
    }
    pmu::reset();
    Ok(())
}

static FROM_HANDLER: AtomicU64 = AtomicU64::new(0);
static HANDLED: AtomicU64 = AtomicU64::new(0);

fn inside_nmi() -> Outcome {
    prepare();
    FROM_HANDLER.store(0, Relaxed);
    HANDLED.store(0, Relaxed);
    trap::hook(vector::NMI, |_| {
        FROM_HANDLER.store(rdpmc(1), Relaxed);
        pmu::acknowledge(pmu::ALL);
        // A second one, to show that the first left NMIs as they must be.
        if HANDLED.fetch_add(1, Relaxed) == 0 {
            msr::write(LVTPC, PmiDelivery::Nmi.lvtpc());
            pmu::set_period(0, 10_000);
        }
        Verdict::Resume
    });
    msr::write(LVTPC, PmiDelivery::Nmi.lvtpc());
    pmu::set_period(0, 10_000);
    set_select(0, select::CYCLES_INT);
    let came = time::wait_ms(5_000, || HANDLED.load(Relaxed) == 2);
    set_select(0, 0);
    check!(came, "{} NMIs within 5 s, not 2", HANDLED.load(Relaxed));
    check_eq!(FROM_HANDLER.load(Relaxed), VALUES[1], "value");
    Ok(())
}

fn inside_gp() -> Outcome {
    prepare();
    FROM_HANDLER.store(0, Relaxed);
    trap::hook(vector::GENERAL_PROTECTION, |_| {
        FROM_HANDLER.store(rdpmc(1), Relaxed);
        Verdict::Pass
    });
    let outcome = BOTH.iter().try_for_each(|&cpl| {
        let mut start = patterned(probe::LOAD, cpl);
        start.r9 = 1 << 63;
        faults_at(&start, 0)?;
        check_eq!(FROM_HANDLER.swap(0, Relaxed), VALUES[1], "value");
        Ok(())
    });
    trap::unhook(vector::GENERAL_PROTECTION);
    outcome
}

/// A sample of everything above, after the host was given a chance to look at the IDT.
fn all_is_well() -> Outcome {
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

fn gate_on_ist() -> Outcome {
    let gates = idt::main();
    gates.set_ist(vector::GENERAL_PROTECTION, ist::SPARE);
    let on_ist = all_is_well();
    gates.set_ist(vector::GENERAL_PROTECTION, ist::NONE);
    on_ist?;
    all_is_well()
}

fn gate_rewritten() -> Outcome {
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

fn idt_moved() -> Outcome {
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
