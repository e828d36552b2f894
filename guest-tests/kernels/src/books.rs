// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Books of one CPU's counters, which have to balance to the unit whatever goes on around it.
//!
//! Counter 0 overflows again and again, each time with a PMI; counter 1 counts the same event and is
//! left alone. Both start and stop together, by the global control. So at each PMI, and whenever
//! else one looks, the periods that are over and what counter 0 has of the next are what counter 1
//! has: a count that is lost or comes twice shows, and so does a PMI.
//!
//! The first thing that does not balance stays on record, and stops the counters. What may be: an
//! overflow that is due when the counters are stopped does not happen, and counter 0 stays at its top.

use core::iter;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::apic::{LVT_MASKED, LVTPC, PmiDelivery};
use crate::cpu::rflags;
use crate::msr::write;
use crate::pmu::{self, COUNTER_MASK, counter, select};
use crate::sync::PerCpu;
use crate::tap::Outcome;
use crate::trap::{self, TrapFrame, Verdict, vector};
use crate::{MAX_CPUS, check, cpu, diag, fail, msr, time};

/// The overflowing counter's bit in the global registers.
const FIRST: u64 = 1 << 0;
/// Both counters' bits.
const BOTH: u64 = 0b11;

struct Books {
    period: AtomicU64,
    lvtpc: AtomicU64,
    opened_at: AtomicU64,
    /// PMIs since the books were opened.
    pmis: AtomicU64,
    /// PMIs since the CPU first did anything.
    ever: AtomicU64,
    /// What counter 0 counted up to its last re-arming.
    counted: AtomicU64,
    /// What counter 1 was seen at.
    seen: AtomicU64,
    /// The handler lets the counters go on.
    open: AtomicBool,
    /// When the last PMI was over, in TSC ticks, and what it interrupted.
    over_at: AtomicU64,
    rip: AtomicU64,
    /// PMIs that came twice, and whether the rest of one is still to come: see [`Books::is_echo`].
    twice: AtomicU64,
    echo: AtomicBool,
    /// 0, or what does not balance, with figures about it.
    fault: AtomicU64,
    figures: [AtomicU64; FIGURES],
}

static BOOKS: PerCpu<Books> = PerCpu(
    [const {
        Books {
            period: AtomicU64::new(0),
            lvtpc: AtomicU64::new(0),
            opened_at: AtomicU64::new(0),
            pmis: AtomicU64::new(0),
            ever: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            open: AtomicBool::new(false),
            over_at: AtomicU64::new(0),
            rip: AtomicU64::new(0),
            twice: AtomicU64::new(0),
            echo: AtomicBool::new(false),
            fault: AtomicU64::new(0),
            figures: [const { AtomicU64::new(0) }; FIGURES],
        }
    }; MAX_CPUS],
);

/// How many figures there are about a fault, at most.
const FIGURES: usize = 7;

/// What can be wrong, and what the figures about it are.
const FAULTS: [&str; 8] = [
    "a PMI on a CPU that asked for none (LVTPC, vector)",
    "a PMI without an overflow (status, counter 0, LVTPC, vector, TSC ticks since the last, RIP, \
     RIP at the last)",
    "at a PMI, periods and counter 0 make something else than counter 1",
    "a counter went back (now, before)",
    "RDPMC is below RDMSR before it (now, before)",
    "more cycles than TSC ticks",
    "counter 0 overflowed without a PMI (counter 0, status)",
    "at the end, periods and counter 0 make something else than counter 1",
];
const UNASKED: u64 = 1;
const NO_OVERFLOW: u64 = 2;
const UNBALANCED_AT_PMI: u64 = 3;
const WENT_BACK: u64 = 4;
const RDPMC: u64 = 5;
const TOO_MANY: u64 = 6;
const LOST_PMI: u64 = 7;
const UNBALANCED_AT_END: u64 = 8;

impl Books {
    fn fail<const N: usize>(&self, fault: u64, figures: [u64; N]) {
        self.open.store(false, Relaxed);
        if self.fault.load(Relaxed) == 0 {
            let padded = figures.into_iter().chain(iter::repeat(0));
            for (to, from) in self.figures.iter().zip(padded) {
                to.store(from, Relaxed);
            }
            self.fault.store(fault, Relaxed);
        }
    }

    /// Whether this is the rest of an interrupt that came twice.
    ///
    /// No interrupt is taken while interrupts are off; only a hypervisor can put one there. What runs
    /// below the VMM was seen to, at the first instruction of the interrupt's own handler: it injects
    /// the same one again. The second is taken first and has the overflow, the first finds nothing
    /// more. What the VMM asks for goes through the local APIC, which waits for RFLAGS.IF.
    fn is_echo(&self, frame: &TrapFrame) -> bool {
        if frame.vector == u64::from(vector::NMI) {
            return false;
        }
        if frame.rflags & rflags::IF == 0 {
            self.twice.fetch_add(1, Relaxed);
            self.echo.store(true, Relaxed);
            return false;
        }
        self.echo.swap(false, Relaxed)
    }

    /// While both counters stand still: `since` is what counter 0 counted since its last re-arming.
    fn balance(&self, since: u64, fault: u64) {
        let periods = self.counted.load(Relaxed).wrapping_add(since);
        let other = counter(1);
        if periods != other {
            self.fail(fault, [periods, other]);
        }
        let before = self.seen.swap(other, Relaxed);
        if other < before {
            self.fail(WENT_BACK, [other, before]);
        }
        // Two per cent: see [`pmu::Measured::plausible`].
        let passed = time::tsc() - self.opened_at.load(Relaxed);
        if other > passed + passed / 50 {
            self.fail(TOO_MANY, [other, passed]);
        }
    }
}

fn on_pmi(frame: &mut TrapFrame) -> Verdict {
    let books: &Books = &BOOKS;
    if books.is_echo(frame) {
        return Verdict::Resume;
    }
    pmu::set_global(0);
    books.ever.fetch_add(1, Relaxed);
    let (period, lvtpc) = (books.period.load(Relaxed), books.lvtpc.load(Relaxed));
    let (is, vector) = (msr::read(LVTPC), frame.vector);
    if period == 0 {
        books.fail(UNASKED, [is, vector]);
        return Verdict::Resume;
    }
    books.pmis.fetch_add(1, Relaxed);
    let (status, since) = (pmu::status(), counter(0));
    let has_overflowed = since < period.wrapping_neg() & COUNTER_MASK;
    // Its delivery masked LVTPC.
    if status != FIRST || !has_overflowed || is != lvtpc | LVT_MASKED {
        let passed = time::tsc() - books.over_at.load(Relaxed);
        let rips = [frame.rip, books.rip.load(Relaxed)];
        let figures = [status, since, is, vector, passed, rips[0], rips[1]];
        books.fail(NO_OVERFLOW, figures);
    } else {
        books.balance(period + since, UNBALANCED_AT_PMI);
    }
    books.counted.fetch_add(period + since, Relaxed);
    pmu::acknowledge(FIRST);
    pmu::set_period(0, period);
    write(LVTPC, lvtpc);
    books.over_at.store(time::tsc(), Relaxed);
    books.rip.store(frame.rip, Relaxed);
    if books.open.load(Relaxed) {
        pmu::set_global(BOTH);
    }
    Verdict::Resume
}

/// Hooks the vectors of PMIs; to be called before any books are opened.
pub fn set_up() {
    trap::hook(vector::PMI, on_pmi);
    trap::hook(vector::NMI, on_pmi);
}

/// Starts this CPU's counters, with a PMI every `period` cycles, at most 2^31.
pub fn open(period: u64, how: PmiDelivery) {
    let books: &Books = &BOOKS;
    pmu::reset();
    pmu::set_global(0);
    books.period.store(period, Relaxed);
    books.lvtpc.store(how.lvtpc(), Relaxed);
    books.pmis.store(0, Relaxed);
    books.counted.store(0, Relaxed);
    books.seen.store(0, Relaxed);
    books.fault.store(0, Relaxed);
    write(LVTPC, how.lvtpc());
    pmu::set_period(0, period);
    pmu::set_select(0, select::CYCLES_INT);
    pmu::set_select(1, select::CYCLES);
    books.opened_at.store(time::tsc(), Relaxed);
    books.over_at.store(time::tsc(), Relaxed);
    books.open.store(true, Relaxed);
    pmu::set_global(BOTH);
}

/// Works a little and looks at the counters of this CPU; whether there is anything to go on with.
pub fn work() -> bool {
    let books: &Books = &BOOKS;
    time::compute(20_000);
    // Kept from moving on by a PMI between the two.
    let before = counter(1);
    match msr::try_rdpmc(1) {
        Ok(now) if now >= before => {}
        Ok(now) => books.fail(RDPMC, [now, before]),
        Err(gp) => books.fail(RDPMC, [u64::MAX - gp.error, before]),
    }
    books.fault.load(Relaxed) == 0
}

/// Stops this CPU's counters and draws the balance. They can be opened again.
///
/// # Errors
/// What does not balance.
pub fn close() -> Outcome {
    let books: &Books = &BOOKS;
    books.open.store(false, Relaxed);
    pmu::set_global(0);
    // An overflow just before the stop still has its PMI.
    let settled = time::wait_ms(10_000, || pmu::status() == 0);
    let at = counter(0);
    if !settled {
        books.fail(LOST_PMI, [at, pmu::status()]);
    }
    let period = books.period.load(Relaxed);
    if at != COUNTER_MASK {
        let since = at.wrapping_add(period) & COUNTER_MASK;
        books.balance(since, UNBALANCED_AT_END);
    }
    pmu::reset();
    books.period.store(0, Relaxed);
    let twice = books.twice.swap(0, Relaxed);
    if twice > 0 {
        diag!(
            "CPU {}: {twice} PMIs were injected twice, with interrupts off",
            cpu::current()
        );
    }
    verdict(cpu::current())
}

/// What became of the books of a CPU so far.
///
/// # Errors
/// What does not balance.
pub fn verdict(cpu: usize) -> Outcome {
    let books = &BOOKS[cpu];
    let fault = books.fault.load(Relaxed);
    if fault == 0 {
        return Ok(());
    }
    let what = FAULTS[crate::index(fault - 1)];
    let figures = books.figures.each_ref().map(|figure| figure.load(Relaxed));
    fail!(
        "CPU {cpu}, after {} PMIs and {:#x} cycles: {what}: {figures:x?}",
        books.pmis.load(Relaxed),
        books.counted.load(Relaxed)
    );
}

/// PMIs that a CPU took since its books were opened.
#[must_use]
pub fn pmis(cpu: usize) -> u64 {
    BOOKS[cpu].pmis.load(Relaxed)
}

/// PMIs that a CPU took in all its lives.
#[must_use]
pub fn pmis_ever(cpu: usize) -> u64 {
    BOOKS[cpu].ever.load(Relaxed)
}

/// For a CPU that is gone with its books open: nobody asks for PMIs any more.
pub fn abandon(cpu: usize) {
    let books = &BOOKS[cpu];
    books.open.store(false, Relaxed);
    books.period.store(0, Relaxed);
}

/// Waits until a CPU has taken `more` PMIs.
///
/// # Errors
/// That it took fewer within 30 s, or what does not balance.
pub fn await_pmis(cpu: usize, more: u64) -> Outcome {
    // Its books may only just be opened.
    let wanted = pmis_ever(cpu) + more;
    let came = time::wait_ms(30_000, || {
        pmis_ever(cpu) >= wanted || BOOKS[cpu].fault.load(Relaxed) != 0
    });
    verdict(cpu)?;
    check!(came, "CPU {cpu} took less than {more} PMIs within 30 s");
    Ok(())
}
