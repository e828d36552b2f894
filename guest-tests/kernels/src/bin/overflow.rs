// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Overflows and their interrupt: none lost, none doubled, none late.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use rt::apic::{LVT_MASKED, LVTPC, PmiDelivery};
use rt::msr::{read, write};
use rt::pmu::{self, ALL, COUNTER_MASK, COUNTERS, counter, select, set_counter, set_select};
use rt::random::Random;
use rt::sync::PerCpu;
use rt::tap::Outcome;
use rt::text::Text;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{MAX_CPUS, apic, check, check_eq, diag, probe, session, smp, time};

rt::kernel!(main);

fn main() {
    trap::hook(vector::PMI, on_pmi);
    trap::hook(vector::NMI, on_pmi);
    rt::tap::run(&[
        ("a PMI as a vector on each CPU", || {
            smp::on_each(one_pmi::<VECTOR>)
        }),
        ("a PMI as an NMI on each CPU", || {
            smp::on_each(one_pmi::<NMI>)
        }),
        ("a PMI from each counter", each_counter),
        ("a PMI interrupts user code", user_code),
        (
            "delivery sets the LVTPC mask: no second PMI",
            mask_on_delivery,
        ),
        ("an overflow while LVTPC is masked sets STATUS only", masked),
        ("an overflow without INT sets STATUS only", || {
            without_int::<VECTOR>()
        }),
        ("four counters overflow at once", several),
        (
            "a counter enabled again with an overflow pending",
            enabled_again,
        ),
        ("a halted guest's overflow comes", part_time),
        (
            "no vector after the counter was disabled",
            late::<DISABLE, VECTOR>,
        ),
        (
            "no NMI after the counter was disabled",
            late::<DISABLE, NMI>,
        ),
        (
            "no vector after GLOBAL_CTRL was cleared",
            late::<GLOBAL, VECTOR>,
        ),
        ("no NMI after GLOBAL_CTRL was cleared", late::<GLOBAL, NMI>),
        ("no vector after LVTPC was masked", late::<MASK, VECTOR>),
        ("no NMI after LVTPC was masked", late::<MASK, NMI>),
        (
            "no vector after the counter was rewritten",
            late::<REWRITE, VECTOR>,
        ),
        (
            "no NMI after the counter was rewritten",
            late::<REWRITE, NMI>,
        ),
        (
            "no vector without a status bit when it is cleared",
            late::<CLEAR, VECTOR>,
        ),
        (
            "no NMI without a status bit when it is cleared",
            late::<CLEAR, NMI>,
        ),
        ("1,000 overflows in a row, as vectors", || {
            smp::run_on(0, in_a_row::<VECTOR>)
        }),
        ("1,000 overflows in a row, as NMIs, on CPU 1", || {
            smp::run_on(1, in_a_row::<NMI>)
        }),
    ]);
}

const VECTOR: bool = false;
const NMI: bool = true;

const fn delivery<const HOW: bool>() -> PmiDelivery {
    if HOW == NMI {
        PmiDelivery::Nmi
    } else {
        PmiDelivery::Vector
    }
}

/// What a CPU's PMI handler saw and is to do.
struct Log {
    /// PMIs.
    count: AtomicU64,
    /// All status bits the PMIs found.
    status: AtomicU64,
    /// PMIs that found no status bit.
    empty: AtomicU64,
    /// PMIs that found a bit which an earlier PMI had acknowledged, with no overflow since.
    repeated: AtomicU64,
    /// PMIs by another vector than asked for, or with LVTPC not masked.
    wrong: AtomicU64,
    /// PMIs after the write that forbade them.
    late: AtomicU64,
    /// PMIs at CPL 3.
    in_user_code: AtomicU64,
    /// The value of counter 0 at the last PMI.
    counter: AtomicU64,
    /// The vector to expect.
    vector: AtomicU64,
    /// PMIs still to come: the handler re-arms counter 0 for each.
    again: AtomicU64,
    period: AtomicU64,
    /// Where the main code is: see `forbid`.
    phase: AtomicU32,
}

static LOG: PerCpu<Log> = PerCpu(
    [const {
        Log {
            count: AtomicU64::new(0),
            status: AtomicU64::new(0),
            empty: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            late: AtomicU64::new(0),
            in_user_code: AtomicU64::new(0),
            counter: AtomicU64::new(0),
            vector: AtomicU64::new(0),
            again: AtomicU64::new(0),
            period: AtomicU64::new(0),
            phase: AtomicU32::new(0),
        }
    }; MAX_CPUS],
);

fn on_pmi(frame: &mut TrapFrame) -> Verdict {
    let log: &Log = &LOG;
    log.count.fetch_add(1, Relaxed);
    if log.phase.load(Relaxed) == FORBIDDEN || frame.rip == forbid_end as *const () as u64 {
        log.late.fetch_add(1, Relaxed);
    }
    let masked = read(LVTPC) & LVT_MASKED != 0;
    if !masked || frame.vector != log.vector.load(Relaxed) {
        log.wrong.fetch_add(1, Relaxed);
    }
    if frame.is_user() {
        log.in_user_code.fetch_add(1, Relaxed);
    }
    log.counter.store(counter(0), Relaxed);
    let status = pmu::status();
    if status == 0 {
        log.empty.fetch_add(1, Relaxed);
    }
    pmu::acknowledge(status);
    let seen = log.status.fetch_or(status, Relaxed);
    if log.again.load(Relaxed) > 0 {
        log.again.fetch_sub(1, Relaxed);
        let lvtpc = if log.vector.load(Relaxed) == u64::from(vector::NMI) {
            PmiDelivery::Nmi.lvtpc()
        } else {
            PmiDelivery::Vector.lvtpc()
        };
        // In this order: an overflow while LVTPC is masked has no PMI.
        write(LVTPC, lvtpc);
        pmu::set_period(0, log.period.load(Relaxed));
    } else if seen & status != 0 && log.period.load(Relaxed) == 0 {
        log.repeated.fetch_add(1, Relaxed);
    }
    Verdict::Resume
}

/// A clean PMU, log and LVTPC.
fn prepare(how: PmiDelivery) -> &'static Log {
    pmu::reset();
    let log: &Log = &LOG;
    for value in [
        &log.count,
        &log.status,
        &log.empty,
        &log.repeated,
        &log.wrong,
        &log.late,
        &log.in_user_code,
        &log.counter,
        &log.again,
        &log.period,
    ] {
        value.store(0, Relaxed);
    }
    log.phase.store(0, Relaxed);
    log.vector.store(u64::from(how.vector()), Relaxed);
    write(LVTPC, how.lvtpc());
    log
}

/// A period long enough to be seen running, short enough to wait for often.
fn short() -> u64 {
    time::ticks_ms(1)
}

/// Waits for the first PMI.
fn wait_for_pmi(log: &Log) -> Outcome {
    let came = time::wait_ms(5_000, || log.count.load(Relaxed) != 0);
    check!(
        came,
        "no PMI within 5 s: GLOBAL_STATUS {:#x}, LVTPC {:#x}, counter 0 {:#x}",
        pmu::status(),
        read(LVTPC),
        counter(0)
    );
    Ok(())
}

/// Nothing but what every PMI must be.
fn no_oddities(log: &Log) -> Outcome {
    check_eq!(
        log.wrong.load(Relaxed),
        0,
        "PMIs by another vector or with LVTPC not masked"
    );
    check_eq!(log.empty.load(Relaxed), 0, "PMIs without a status bit");
    check_eq!(
        log.repeated.load(Relaxed),
        0,
        "PMIs for an overflow that had its PMI"
    );
    Ok(())
}

fn one_pmi<const HOW: bool>() -> Outcome {
    let log = prepare(delivery::<HOW>());
    pmu::set_period(0, 5 * short());
    set_select(0, select::CYCLES_INT);
    check_eq!(
        log.count.load(Relaxed),
        0,
        "PMIs before the period was over"
    );
    wait_for_pmi(log)?;
    time::busy(3 * short());
    check_eq!(log.count.load(Relaxed), 1, "PMIs");
    check_eq!(log.status.load(Relaxed), 1, "GLOBAL_STATUS");
    check!(
        log.counter.load(Relaxed) < 1 << 47,
        "counter {:#x}",
        log.counter.load(Relaxed)
    );
    check_eq!(pmu::status(), 0, "GLOBAL_STATUS afterwards");
    check_eq!(
        read(LVTPC),
        delivery::<HOW>().lvtpc() | LVT_MASKED,
        "LVTPC afterwards"
    );
    no_oddities(log)?;
    pmu::reset();
    Ok(())
}

fn each_counter() -> Outcome {
    for n in 0..COUNTERS {
        let log = prepare(PmiDelivery::Nmi);
        pmu::set_period(n, short());
        set_select(n, select::CYCLES_INT);
        wait_for_pmi(log)?;
        time::busy(short());
        check_eq!(log.count.load(Relaxed), 1, "PMIs of counter {n}");
        check_eq!(
            log.status.load(Relaxed),
            1 << n,
            "GLOBAL_STATUS of counter {n}"
        );
        no_oddities(log)?;
    }
    pmu::reset();
    Ok(())
}

fn user_code() -> Outcome {
    const TRIES: u32 = 10;
    for how in [PmiDelivery::Vector, PmiDelivery::Nmi] {
        let mut tries = 0;
        // It may come just before the user code or just after.
        while !interrupted_in_user_code(how)? {
            tries += 1;
            check!(tries < TRIES, "{how:?}: none of {TRIES} PMIs came at CPL 3");
        }
    }
    pmu::reset();
    Ok(())
}

fn interrupted_in_user_code(how: PmiDelivery) -> Result<bool, Text> {
    let log = prepare(how);
    pmu::set_period(0, 5 * short());
    set_select(0, select::CYCLES_INT);
    let mut start = probe::SPIN.start(probe::Cpl::Three);
    start.set_patterns();
    let deadline = time::Deadline::after_ms(5_000);
    while log.count.load(Relaxed) == 0 {
        check!(!deadline.is_over(), "no PMI within 5 s, {how:?}");
        start.r8 = 1_000_000;
        let mut end = session::run(&start);
        check_eq!(
            end.vector(),
            vector::RETURN,
            "vector at the end of the user code"
        );
        check_eq!((end.r8, end.rsp), (0, start.rsp), "R8 and RSP, {how:?}");
        (end.r8, end.rip, end.vector, end.rflags) = (start.r8, start.rip, 0, start.rflags);
        check_eq!(end, start, "the other registers, {how:?}");
    }
    check_eq!(log.count.load(Relaxed), 1, "PMIs, {how:?}");
    no_oddities(log)?;
    Ok(log.in_user_code.load(Relaxed) == 1)
}

fn mask_on_delivery() -> Outcome {
    let log = prepare(PmiDelivery::Vector);
    pmu::set_period(0, short());
    set_select(0, select::CYCLES_INT);
    wait_for_pmi(log)?;
    // The handler left LVTPC masked.
    pmu::set_period(0, short());
    let came = time::wait_ms(5_000, || pmu::status() == 1);
    check!(came, "no second overflow within 5 s");
    time::busy(short());
    check_eq!(log.count.load(Relaxed), 1, "PMIs while masked");
    write(LVTPC, PmiDelivery::Vector.lvtpc());
    time::busy(3 * short());
    check_eq!(
        log.count.load(Relaxed),
        1,
        "PMIs after unmasking: the overflow was before"
    );
    pmu::set_period(0, short());
    let came = time::wait_ms(5_000, || log.count.load(Relaxed) == 2);
    check!(came, "no PMI after unmasking within 5 s");
    pmu::reset();
    Ok(())
}

fn masked() -> Outcome {
    for how in [PmiDelivery::Vector, PmiDelivery::Nmi] {
        let log = prepare(how);
        write(LVTPC, how.lvtpc() | LVT_MASKED);
        pmu::set_period(1, short());
        set_select(1, select::CYCLES_INT);
        let came = time::wait_ms(5_000, || pmu::status() != 0);
        check!(came, "no overflow within 5 s");
        check_eq!(pmu::status(), 1 << 1, "GLOBAL_STATUS");
        write(LVTPC, how.lvtpc());
        time::busy(3 * short());
        check_eq!(log.count.load(Relaxed), 0, "PMIs, {how:?}");
        check_eq!(pmu::status(), 1 << 1, "GLOBAL_STATUS afterwards");
        check_eq!(read(LVTPC), how.lvtpc(), "LVTPC: no delivery, no mask");
    }
    pmu::reset();
    Ok(())
}

fn without_int<const HOW: bool>() -> Outcome {
    let log = prepare(delivery::<HOW>());
    pmu::set_period(3, short());
    set_select(3, select::CYCLES);
    let came = time::wait_ms(5_000, || pmu::status() != 0);
    check!(came, "no overflow within 5 s");
    check_eq!(pmu::status(), 1 << 3, "GLOBAL_STATUS");
    time::busy(2 * short());
    check_eq!(log.count.load(Relaxed), 0, "PMIs");
    check_eq!(read(LVTPC), delivery::<HOW>().lvtpc(), "LVTPC");
    pmu::reset();
    Ok(())
}

fn several() -> Outcome {
    for round in 0..10 {
        let log = prepare(PmiDelivery::Nmi);
        pmu::set_global(0);
        for n in 0..COUNTERS {
            pmu::set_period(n, short() + u64::from(n) * round * 1_000);
            set_select(n, select::CYCLES_INT);
        }
        pmu::set_global(ALL);
        // A PMI masks LVTPC. What overflows until it is unmasked sets its status bit alone, so
        // look there too, as a driver does.
        let all_came = time::wait_ms(5_000, || {
            if read(LVTPC) & LVT_MASKED != 0 {
                write(LVTPC, PmiDelivery::Nmi.lvtpc());
                let status = pmu::status();
                pmu::acknowledge(status);
                if log.status.fetch_or(status, Relaxed) & status != 0 {
                    log.repeated.fetch_add(1, Relaxed);
                }
            }
            log.status.load(Relaxed) == ALL
        });
        let status = log.status.load(Relaxed);
        check!(all_came, "round {round}: bits {status:#x} after 5 s");
        let pmis = log.count.load(Relaxed);
        check!(
            (1..=4).contains(&pmis),
            "round {round}: {pmis} PMIs for four overflows"
        );
        no_oddities(log)?;
        for n in 0..COUNTERS {
            check!(
                counter(n) < 1 << 47,
                "counter {n} did not wrap: {:#x}",
                counter(n)
            );
        }
    }
    pmu::reset();
    Ok(())
}

fn enabled_again() -> Outcome {
    let mut random = Random::new(time::tsc());
    let mut pending = 0;
    for round in 0..60 {
        let log = prepare(PmiDelivery::Nmi);
        pmu::set_period(0, short());
        set_select(0, select::CYCLES_INT);
        time::spin(short() / 2 + random.below(short()));
        set_select(0, 0);
        let before = log.count.load(Relaxed);
        let at_top = counter(0) == COUNTER_MASK;
        pending += u64::from(at_top);
        check!(
            before == 1 || pmu::status() == 0,
            "round {round}: STATUS set without a PMI"
        );
        time::busy(short() / 4);
        check_eq!(
            log.count.load(Relaxed),
            before,
            "round {round}: PMIs while disabled"
        );
        set_select(0, select::CYCLES_INT);
        wait_for_pmi(log)?;
        time::busy(short() / 2);
        check_eq!(log.count.load(Relaxed), 1, "round {round}: PMIs");
        no_oddities(log)?;
    }
    diag!("{pending} of 60 rounds stopped with the overflow pending");
    pmu::reset();
    Ok(())
}

fn part_time() -> Outcome {
    for how in [PmiDelivery::Vector, PmiDelivery::Nmi] {
        let log = prepare(how);
        pmu::set_period(0, 10 * short());
        set_select(0, select::CYCLES_INT);
        let deadline = time::Deadline::after_ms(10_000);
        while log.count.load(Relaxed) == 0 {
            check!(
                !deadline.is_over(),
                "no PMI within 10 s, counter {:#x}",
                counter(0)
            );
            apic::halt_for(2 * short());
            time::busy(short() / 2);
        }
        time::busy(2 * short());
        check_eq!(log.count.load(Relaxed), 1, "PMIs");
        no_oddities(log)?;
    }
    pmu::reset();
    Ok(())
}

// edi: MSR; rsi: value; rdx: where to tell how far this got
global_asm!(
    r#"
    .section .text, "ax", @progbits
    .global forbid
forbid:
    mov ecx, edi
    mov eax, esi
    mov r8, rdx
    mov rdx, rsi
    shr rdx, 32
    wrmsr
    .global forbid_end
forbid_end:
    mov dword ptr [r8], {forbidden}
    ret
    "#,
    forbidden = const FORBIDDEN,
);

unsafe extern "C" {
    fn forbid(msr: u32, value: u64, phase: *mut u32);
    fn forbid_end();
}

/// The write that forbids PMIs is complete.
const FORBIDDEN: u32 = 1;

/// Ways to forbid the PMI of a running counter.
const DISABLE: u8 = 0;
const GLOBAL: u8 = 1;
const MASK: u8 = 2;
const REWRITE: u8 = 3;
/// Not one: the counter runs on, and an overflow after the write has its PMI. But that PMI finds
/// its status bit.
const CLEAR: u8 = 4;

const LATE_ROUNDS: u64 = 60;

fn late<const WAY: u8, const HOW: bool>() -> Outcome {
    let how = delivery::<HOW>();
    let (msr, value) = match WAY {
        DISABLE => (pmu::PERFEVTSEL0, 0),
        GLOBAL => (pmu::GLOBAL_CTRL, 0),
        MASK => (LVTPC, how.lvtpc() | LVT_MASKED),
        REWRITE => (pmu::PMC0, 0),
        _ => (pmu::GLOBAL_OVF_CTRL, 1),
    };
    let seed = time::tsc();
    let mut random = Random::new(seed);
    let mut before = 0;
    for round in 0..LATE_ROUNDS {
        let log = prepare(how);
        let period = short() / 2;
        pmu::set_period(0, period);
        set_select(0, select::CYCLES_INT);
        // Around the moment of the overflow, the exits of the set-up being no guest time.
        time::spin(period / 2 + random.below(period));
        // SAFETY: writes a PMU MSR and the phase.
        unsafe { forbid(msr, value, log.phase.as_ptr()) };
        let count = log.count.load(Relaxed);
        before += count;
        time::busy(period);
        let after = log.count.load(Relaxed);
        let status = pmu::status();
        if WAY == CLEAR {
            let came = time::wait_ms(5_000, || log.count.load(Relaxed) == 1);
            check!(came, "seed {seed:#x}, round {round}: no PMI within 5 s");
        } else {
            check_eq!(
                log.late.load(Relaxed),
                0,
                "seed {seed:#x}, round {round}: late PMIs"
            );
            check_eq!(after, count, "seed {seed:#x}, round {round}: PMIs");
        }
        if WAY == DISABLE || WAY == GLOBAL || WAY == REWRITE {
            check_eq!(
                status,
                0,
                "seed {seed:#x}, round {round}: STATUS without a PMI"
            );
        }
        no_oddities(log)?;
    }
    diag!("{before} of {LATE_ROUNDS} overflows came before the write");
    pmu::reset();
    set_counter(0, 0);
    Ok(())
}

const IN_A_ROW: u64 = 1_000;

fn in_a_row<const HOW: bool>() -> Outcome {
    let log = prepare(delivery::<HOW>());
    let period = short() / 5;
    log.period.store(period, Relaxed);
    log.again.store(IN_A_ROW - 1, Relaxed);
    pmu::set_period(0, period);
    let start = time::tsc();
    set_select(0, select::CYCLES_INT);
    let all_came = time::wait_ms(25_000, || log.count.load(Relaxed) >= IN_A_ROW);
    let passed = time::tsc() - start;
    let count = log.count.load(Relaxed);
    check!(
        all_came,
        "{count} PMIs in 25 s: lost? STATUS {:#x}, LVTPC {:#x}, counter {:#x}",
        pmu::status(),
        read(LVTPC),
        counter(0)
    );
    time::busy(3 * short());
    check_eq!(log.count.load(Relaxed), IN_A_ROW, "PMIs");
    check_eq!(
        log.status.load(Relaxed),
        1,
        "all bits of GLOBAL_STATUS that were seen"
    );
    no_oddities(log)?;
    diag!(
        "{} TSC ticks a PMI, of a period of {period}",
        passed / IN_A_ROW
    );
    pmu::reset();
    Ok(())
}
