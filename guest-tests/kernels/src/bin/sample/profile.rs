// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A profile of the guest by itself: every vCPU does some work and samples it with overflow
//! interrupts, as `perf record` does.
//!
//! Each function's share is shown twice: of the samples, and of the cycles counted by reading a
//! second counter around each call. The two ways have little in common, so where they agree the
//! PMU may be believed.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rt::apic::{LVTPC, PmiDelivery};
use rt::msr::{rdpmc, write};
use rt::pmu::{self, select, set_select};
use rt::sync::PerCpu;
use rt::tap::Outcome;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{MAX_CPUS, check, cpu, println, smp, time};

use crate::numbers::{Percent, Thousands};
use crate::work::{collatz, crc32, heap_sort, mandelbrot, matrix_multiply, sieve};

/// Cycles between two samples.
const PERIOD: u64 = 10_000_000;
/// Cycles of work on each vCPU, at least.
const WORK: u64 = 2_500_000_000;

/// Profiles, or says why there is nothing to show.
///
/// # Errors
/// What did not work.
pub(crate) fn show() -> Outcome {
    println!("A guest samples itself\n");
    let pmu = cpu::cpuid(0xa, 0).eax;
    if pmu & 0xff == 0 {
        println!(
            "CPUID leaf 0xA is empty: no PMU of Intel's is here, so there is nothing to show."
        );
        return Ok(());
    }
    println!(
        "PMU version {}, {} counters of {} bits. Counter 0 interrupts every {} cycles,",
        pmu & 0xff,
        pmu >> 8 & 0xff,
        pmu >> 16 & 0xff,
        Thousands(PERIOD)
    );
    println!(
        "as an NMI on even vCPUs and as vector {:#x} on odd ones.",
        vector::PMI
    );
    trap::hook(vector::PMI, on_pmi);
    trap::hook(vector::NMI, on_pmi);
    let outcome = smp::together(profile);
    for cpu in 0..cpu::count() {
        report(cpu);
    }
    println!("\nshare: of the samples. counted: of the cycles, by reading counter 1 around calls.");
    outcome
}

/// A piece of work with a name.
struct Function {
    name: &'static str,
    run: fn(u64) -> u64,
    /// Which vCPUs do it: those with this number modulo 2.
    parity: usize,
    /// Its argument, which decides about its share.
    amount: u64,
}

static FUNCTIONS: [Function; 6] = [
    Function {
        name: "mandelbrot",
        run: mandelbrot,
        parity: 0,
        amount: 160,
    },
    Function {
        name: "sieve",
        run: sieve,
        parity: 0,
        amount: 6,
    },
    Function {
        name: "crc32",
        run: crc32,
        parity: 0,
        amount: 16,
    },
    Function {
        name: "matrix_multiply",
        run: matrix_multiply,
        parity: 1,
        amount: 28,
    },
    Function {
        name: "heap_sort",
        run: heap_sort,
        parity: 1,
        amount: 16,
    },
    Function {
        name: "collatz",
        run: collatz,
        parity: 1,
        amount: 60_000,
    },
];

/// What a vCPU found out about itself.
struct Log {
    /// By function, and at last whatever else was interrupted.
    samples: [AtomicU64; FUNCTIONS.len() + 1],
    counted: [AtomicU64; FUNCTIONS.len()],
    cycles: AtomicU64,
    lvtpc: AtomicU64,
}

static LOG: PerCpu<Log> = PerCpu(
    [const {
        Log {
            samples: [const { AtomicU64::new(0) }; FUNCTIONS.len() + 1],
            counted: [const { AtomicU64::new(0) }; FUNCTIONS.len()],
            cycles: AtomicU64::new(0),
            lvtpc: AtomicU64::new(0),
        }
    }; MAX_CPUS],
);

unsafe extern "C" {
    static __profiled_start: u8;
    static __profiled_end: u8;
}

/// The function that an address lies in; the linker puts them side by side.
fn function_at(rip: u64) -> Option<usize> {
    let range = &raw const __profiled_start as u64..&raw const __profiled_end as u64;
    let address = |function: &Function| function.run as *const () as u64;
    let below = FUNCTIONS
        .iter()
        .enumerate()
        .filter(|(_, f)| address(f) <= rip);
    let (index, _) = below.max_by_key(|(_, f)| address(f))?;
    range.contains(&rip).then_some(index)
}

fn on_pmi(frame: &mut TrapFrame) -> Verdict {
    let log: &Log = &LOG;
    pmu::acknowledge(pmu::status());
    let function = function_at(frame.rip).unwrap_or(FUNCTIONS.len());
    log.samples[function].fetch_add(1, Relaxed);
    write(LVTPC, log.lvtpc.load(Relaxed));
    pmu::set_period(0, PERIOD);
    Verdict::Resume
}

/// Keeps results, so that the work is not left out.
static RESULT: AtomicU64 = AtomicU64::new(0);

fn profile() -> Outcome {
    let log: &Log = &LOG;
    let even = cpu::current().is_multiple_of(2);
    let how = if even {
        PmiDelivery::Nmi
    } else {
        PmiDelivery::Vector
    };
    log.lvtpc.store(how.lvtpc(), Relaxed);
    pmu::reset();
    write(LVTPC, how.lvtpc());
    pmu::set_global(0);
    pmu::set_period(0, PERIOD);
    set_select(0, select::CYCLES_INT);
    set_select(1, select::CYCLES);
    pmu::set_global(0b11);
    let deadline = time::Deadline::after_ms(20_000);
    while rdpmc(1) < WORK {
        check!(
            !deadline.is_over(),
            "only {} cycles in 20 s",
            Thousands(rdpmc(1))
        );
        for (function, counted) in FUNCTIONS.iter().zip(&log.counted) {
            if function.parity == cpu::current() % 2 {
                let before = rdpmc(1);
                RESULT.fetch_add((function.run)(function.amount), Relaxed);
                counted.fetch_add(rdpmc(1) - before, Relaxed);
            }
        }
    }
    pmu::set_global(0);
    log.cycles.store(rdpmc(1), Relaxed);
    pmu::reset();
    let samples: u64 = log
        .samples
        .iter()
        .map(|samples| samples.load(Relaxed))
        .sum();
    check!(samples > 0, "no overflow interrupt");
    Ok(())
}

fn report(cpu: usize) {
    let log = &LOG[cpu];
    let cycles = log.cycles.load(Relaxed);
    let samples: u64 = log
        .samples
        .iter()
        .map(|samples| samples.load(Relaxed))
        .sum();
    println!(
        "\nvCPU {cpu}: {} cycles, {samples} samples",
        Thousands(cycles)
    );
    if samples == 0 || cycles == 0 {
        return;
    }
    let (each, period) = (Thousands(cycles / samples), Thousands(PERIOD));
    println!("        {each} cycles a sample; {period} asked for, the rest is delay\n");
    println!("  samples    share  counted  function");
    let mut order = [0, 1, 2, 3, 4, 5, 6];
    order.sort_unstable_by_key(|&i| core::cmp::Reverse(log.samples[i].load(Relaxed)));
    for i in order {
        let own = log.samples[i].load(Relaxed);
        let (name, counted) = match FUNCTIONS.get(i) {
            Some(function) => (function.name, Some(log.counted[i].load(Relaxed))),
            None => ("(everything else)", None),
        };
        let is_own = FUNCTIONS
            .get(i)
            .is_none_or(|function| function.parity == cpu % 2);
        if own == 0 && !is_own {
            continue;
        }
        let share = Percent(own, samples);
        let others: u64 = log
            .counted
            .iter()
            .map(|counted| counted.load(Relaxed))
            .sum();
        let counted = Percent(counted.unwrap_or(cycles.saturating_sub(others)), cycles);
        println!("  {own:>7}  {share:>7}  {counted:>7}  {name}");
    }
}
