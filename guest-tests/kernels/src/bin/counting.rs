// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What counts, and when: the registers and the meaning of their values.

#![no_std]
#![no_main]

use rt::msr::{Gp, rdpmc, read, try_read, try_write};
use rt::pmu::{self, ALL, COUNTER_MASK, COUNTERS, counter, select, set_counter, set_select};
use rt::tap::Outcome;
use rt::{apic, check, check_eq, diag, probe, session, time};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("registers after reset", after_reset),
        ("counters move only while enabled", only_while_enabled),
        ("a counter takes 32 bits, sign extended", counter_writes),
        ("an event select reads back as written", select_reads_back),
        ("reserved bits are a #GP and change nothing", reserved_bits),
        ("GLOBAL_STATUS is read-only", status_read_only),
        ("absent PMU MSRs are a #GP", absent_msrs),
        (
            "an overflow without INT shows in GLOBAL_STATUS",
            silent_overflow,
        ),
        ("OVF_CTRL clears what is written as one", clear_status),
        ("a counter goes on from its value", stop_and_go),
        ("a write moves a running counter", write_while_running),
        ("reads of a running counter never go back", never_back),
        (
            "what cannot be counted is accepted and counts nothing",
            not_counted,
        ),
        ("core and reference cycles agree", both_events),
        ("user code counts too", user_code_counts),
        ("a busy guest counts over 90 % of the TSC", busy_guest),
        (
            "a guest halted 80 % of the time counts under 30 %",
            halted_guest,
        ),
    ]);
}

const GP: Gp = Gp { error: 0 };

fn selects(n: u32) -> u32 {
    pmu::PERFEVTSEL0 + n
}

fn after_reset() -> Outcome {
    for n in 0..COUNTERS {
        check_eq!(counter(n), 0, "counter {n}");
        check_eq!(read(selects(n)), 0, "event select {n}");
    }
    check_eq!(read(pmu::GLOBAL_CTRL), ALL, "GLOBAL_CTRL");
    check_eq!(pmu::status(), 0, "GLOBAL_STATUS");
    check_eq!(read(pmu::GLOBAL_OVF_CTRL), 0, "OVF_CTRL");
    Ok(())
}

fn only_while_enabled() -> Outcome {
    // (EN bits, GLOBAL_CTRL): a counter moves where both have its bit.
    let cases = [
        (0, ALL),
        (ALL, 0),
        (ALL, ALL),
        (0b0101, ALL),
        (ALL, 0b0011),
        (0b1001, 0b1100),
    ];
    for (enabled, global) in cases {
        pmu::reset();
        pmu::set_global(global);
        for n in 0..COUNTERS {
            let en = if enabled & 1 << n == 0 { 0 } else { select::EN };
            set_select(n, select::CYCLES & !select::EN | en);
        }
        time::busy(time::ticks_ms(2));
        for n in 0..COUNTERS {
            let moved = counter(n) != 0;
            let should = enabled & global & 1 << n != 0;
            check_eq!(
                moved,
                should,
                "EN {enabled:#b}, GLOBAL_CTRL {global:#b}: counter {n} moved"
            );
        }
    }
    // Enabled by the other of the two switches.
    pmu::reset();
    pmu::set_global(0);
    set_select(0, select::CYCLES);
    time::busy(time::ticks_ms(1));
    check_eq!(counter(0), 0, "before GLOBAL_CTRL");
    pmu::set_global(1);
    time::busy(time::ticks_ms(1));
    check!(
        counter(0) != 0,
        "after GLOBAL_CTRL the counter does not move"
    );
    pmu::set_global(0);
    let stopped = counter(0);
    time::busy(time::ticks_ms(1));
    check_eq!(counter(0), stopped, "after GLOBAL_CTRL was cleared");
    pmu::reset();
    Ok(())
}

fn counter_writes() -> Outcome {
    pmu::reset();
    let cases = [
        (0, 0),
        (1, 1),
        (0x7fff_ffff, 0x7fff_ffff),
        (0x8000_0000, 0xffff_8000_0000),
        (0xffff_ffff, COUNTER_MASK),
        (0x1234_5678_0000_0001, 1),
        (0xffff_ffff_0000_0001, 1),
        (0x0000_0001_8000_0001, 0xffff_8000_0001),
    ];
    for n in 0..COUNTERS {
        for (written, want) in cases {
            set_counter(n, written);
            check_eq!(
                counter(n),
                want,
                "counter {n} after a write of {written:#x}"
            );
        }
    }
    // Each has its own value.
    (0..COUNTERS).for_each(|n| set_counter(n, u64::from(n) + 100));
    for n in 0..COUNTERS {
        check_eq!(counter(n), u64::from(n) + 100, "counter {n} of four");
    }
    pmu::reset();
    Ok(())
}

fn select_reads_back() -> Outcome {
    pmu::reset();
    for n in 0..COUNTERS {
        // Every bit there is in version 2, without EN.
        for value in [select::CYCLES & !select::EN, 0xff9f_ffff, 0x0008_a5c3, 0] {
            set_select(n, value);
            check_eq!(read(selects(n)), value, "event select {n}");
        }
    }
    Ok(())
}

fn reserved_bits() -> Outcome {
    pmu::reset();
    for bit in [21, 32, 47, 63] {
        check_eq!(
            try_write(selects(0), 1 << bit),
            Err(GP),
            "event select, bit {bit}"
        );
        check_eq!(read(selects(0)), 0, "event select after a refused write");
    }
    for bit in [4, 31, 32, 34, 63] {
        check_eq!(
            try_write(pmu::GLOBAL_CTRL, ALL | 1 << bit),
            Err(GP),
            "GLOBAL_CTRL, bit {bit}"
        );
        check_eq!(
            read(pmu::GLOBAL_CTRL),
            ALL,
            "GLOBAL_CTRL after a refused write"
        );
    }
    for bit in [4, 31, 32, 61] {
        check_eq!(
            try_write(pmu::GLOBAL_OVF_CTRL, 1 << bit),
            Err(GP),
            "OVF_CTRL, bit {bit}"
        );
    }
    // ClrOvfBuffer and ClrCondChgd are there in every version.
    for bit in [62, 63] {
        check_eq!(
            try_write(pmu::GLOBAL_OVF_CTRL, 1 << bit),
            Ok(()),
            "OVF_CTRL, bit {bit}"
        );
    }
    Ok(())
}

fn status_read_only() -> Outcome {
    for value in [0, 1, ALL] {
        check_eq!(
            try_write(pmu::GLOBAL_STATUS, value),
            Err(GP),
            "write of {value:#x}"
        );
    }
    Ok(())
}

fn absent_msrs() -> Outcome {
    let absent = [
        (0xc5, 4),         // IA32_PMC4-7
        (0x18a, 4),        // IA32_PERFEVTSEL4-7
        (0x309, 4),        // IA32_FIXED_CTR0-3
        (0x345, 1),        // IA32_PERF_CAPABILITIES
        (0x391, 2),        // IA32_PERF_GLOBAL_STATUS_SET, _INUSE
        (0x3f1, 1),        // IA32_PEBS_ENABLE
        (0x4c1, 8),        // IA32_A_PMC0-7
        (0xc000_0300, 3),  // AMD PerfMonV2
        (0xc001_0000, 8),  // AMD K7 counters
        (0xc001_0200, 12), // AMD core counters
    ];
    for (first, count) in absent {
        for msr in first..first + count {
            check_eq!(try_read(msr), Err(GP), "RDMSR {msr:#x}");
            check_eq!(try_write(msr, 0), Err(GP), "WRMSR {msr:#x}");
        }
    }
    Ok(())
}

/// Runs all counters of `bits` over their top.
fn overflow(bits: u64) -> Outcome {
    for n in (0..COUNTERS).filter(|n| bits & 1 << n != 0) {
        pmu::set_period(n, 1000);
        set_select(n, select::CYCLES);
    }
    let done = time::wait_ms(5_000, || pmu::status() & bits == bits);
    check!(
        done,
        "GLOBAL_STATUS is {:#x} after 5 s, not {bits:#x}",
        pmu::status()
    );
    Ok(())
}

fn silent_overflow() -> Outcome {
    pmu::reset();
    for n in 0..COUNTERS {
        overflow(1 << n)?;
        check_eq!(pmu::status(), 1 << n, "GLOBAL_STATUS");
        check!(
            counter(n) < 1 << 47,
            "counter {n} did not wrap: {:#x}",
            counter(n)
        );
        set_select(n, 0);
        check_eq!(
            pmu::status(),
            1 << n,
            "GLOBAL_STATUS of a counter that was disabled"
        );
        pmu::acknowledge(1 << n);
        check_eq!(pmu::status(), 0, "GLOBAL_STATUS after OVF_CTRL");
    }
    Ok(())
}

fn clear_status() -> Outcome {
    pmu::reset();
    overflow(ALL)?;
    let mut left = ALL;
    for bit in [2, 0, 3, 1] {
        pmu::acknowledge(0);
        check_eq!(pmu::status(), left, "GLOBAL_STATUS after a write of 0");
        pmu::acknowledge(1 << bit);
        left &= !(1 << bit);
        check_eq!(pmu::status(), left, "GLOBAL_STATUS");
        check_eq!(read(pmu::GLOBAL_OVF_CTRL), 0, "OVF_CTRL reads");
    }
    pmu::reset();
    Ok(())
}

fn stop_and_go() -> Outcome {
    pmu::reset();
    set_counter(0, 5_000);
    let mut last = 5_000;
    for round in 0..5 {
        set_select(0, select::CYCLES);
        time::busy(time::ticks_ms(1));
        set_select(0, 0);
        let now = counter(0);
        check!(now > last, "round {round}: {now} after {last}");
        time::busy(time::ticks_ms(1));
        check_eq!(counter(0), now, "round {round}: a stopped counter");
        last = now;
    }
    Ok(())
}

fn write_while_running() -> Outcome {
    pmu::reset();
    set_select(0, select::CYCLES);
    time::busy(time::ticks_ms(20));
    let before = counter(0);
    let start = time::tsc();
    set_counter(0, 1_000);
    let now = counter(0);
    let passed = time::tsc() - start;
    pmu::reset();
    check!(now >= 1_000, "{now} after a write of 1,000");
    check!(
        now <= 1_000 + passed,
        "{now}, {passed} ticks after a write of 1,000 (was {before})"
    );
    Ok(())
}

fn never_back() -> Outcome {
    pmu::reset();
    set_select(0, select::CYCLES);
    let mut last = 0;
    for round in 0..1_000 {
        for (how, value) in [("RDMSR", counter(0)), ("RDPMC", rdpmc(0))] {
            check!(value >= last, "{how} {round}: {value} after {last}");
            last = value;
        }
    }
    pmu::reset();
    Ok(())
}

fn not_counted() -> Outcome {
    use select::{CMASK_1, CORE_CYCLES, CYCLES, EDGE, EN, INSTRUCTIONS, INT, INV, OS, USR};
    let cases = [
        ("instructions", INSTRUCTIONS | USR | OS | EN),
        ("an unknown event", 0xfffe | USR | OS | EN),
        ("edges", CYCLES | EDGE),
        ("a counter mask", CYCLES | CMASK_1),
        ("an inverted counter mask", CYCLES | CMASK_1 | INV),
        ("user code only", CORE_CYCLES | USR | EN),
        ("kernel code only", CORE_CYCLES | OS | EN),
        ("no privilege level", CORE_CYCLES | EN),
        ("instructions, with INT", INSTRUCTIONS | USR | OS | EN | INT),
    ];
    for (what, value) in cases {
        pmu::reset();
        pmu::set_period(1, 1);
        set_select(1, value);
        time::busy(time::ticks_ms(2));
        check_eq!(read(selects(1)), value, "event select for {what}");
        check_eq!(counter(1), COUNTER_MASK, "counter for {what}");
        check_eq!(pmu::status(), 0, "GLOBAL_STATUS for {what}");
        // The same counter still counts what it can.
        set_select(1, CYCLES);
        set_counter(1, 0);
        time::busy(time::ticks_ms(1));
        check!(
            counter(1) != 0,
            "after {what} the counter does not count cycles"
        );
    }
    pmu::reset();
    Ok(())
}

fn both_events() -> Outcome {
    pmu::reset();
    let reference = select::REF_CYCLES | select::USR | select::OS | select::EN;
    pmu::set_global(0);
    set_select(0, select::CYCLES);
    set_select(3, reference);
    pmu::set_global(ALL);
    time::busy(time::ticks_ms(100));
    pmu::set_global(0);
    let (core, reference) = (counter(0), counter(3));
    pmu::reset();
    diag!("{core} core cycles, {reference} reference cycles");
    check!(
        core.abs_diff(reference) * 20 <= core,
        "{core} and {reference}: over 5 % apart"
    );
    Ok(())
}

fn user_code_counts() -> Outcome {
    pmu::reset();
    set_select(0, select::CYCLES);
    let mut start = probe::SPIN.start(probe::Cpl::Three);
    start.r8 = 20_000_000;
    let before = (counter(0), time::tsc());
    let end = session::run(&start);
    let after = (time::tsc(), counter(0));
    pmu::reset();
    check_eq!(
        end.vector(),
        rt::trap::vector::RETURN,
        "vector at the end of the user code"
    );
    let (counted, passed) = (after.1 - before.0, after.0 - before.1);
    // A tenth: the host may have other work.
    check!(
        counted * 10 > passed,
        "{counted} cycles in {passed} ticks of user code"
    );
    Ok(())
}

/// How long to look for the best of some tries: the host may well have something else to do.
const PATIENCE_MS: u64 = 30_000;

fn busy_guest() -> Outcome {
    let deadline = time::Deadline::after_ms(PATIENCE_MS);
    let mut best = 0;
    while !deadline.is_over() {
        let measured = pmu::measure(|| {
            time::busy(time::ticks_ms(300));
        });
        diag!("{measured:?}");
        measured.plausible()?;
        best = best.max(measured.cycles * 100 / measured.inside);
        if best > 90 {
            return Ok(());
        }
    }
    rt::fail!("{best} % of the TSC at best")
}

fn halted_guest() -> Outcome {
    let mut best = 100;
    // The first call measures the timer.
    apic::halt_for(1);
    let deadline = time::Deadline::after_ms(PATIENCE_MS);
    while !deadline.is_over() {
        let measured = pmu::measure(|| {
            for _ in 0..6 {
                time::busy(time::ticks_ms(20));
                apic::halt_for(time::ticks_ms(80));
            }
        });
        diag!("{measured:?}");
        let share = measured.cycles * 100 / measured.inside;
        check!(share >= 5, "{share} % of the TSC");
        best = best.min(share);
        if best < 30 {
            return Ok(());
        }
    }
    rt::fail!("{best} % of the TSC at best")
}
