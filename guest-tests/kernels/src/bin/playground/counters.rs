// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What each CPU counts: cycles, once for their number and once for a PMI every so many.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rt::apic::{LVTPC, PmiDelivery};
use rt::counter::{self, Counter};
use rt::model::{self, model};
use rt::msr::{try_write, write};
use rt::sync::PerCpu;
use rt::tap::Outcome;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{MAX_CPUS, cmdline, cpu, println};

/// Cycles between two PMIs, unless the command line says how many.
const PERIOD: u64 = 20_000_000;
/// Fewer, and a CPU would do little else.
const SHORTEST: u64 = 100_000;
/// What a counter can be set below its top.
const LONGEST: u64 = 1 << 31;

/// Overflows again and again.
const SAMPLES: Counter = Counter::Gp(0);
/// Counts on.
const COUNTS: Counter = Counter::Gp(1);

/// What a CPU counted.
struct Log {
    cycles: AtomicU64,
    pmis: AtomicU64,
}

static LOG: PerCpu<Log> = PerCpu(
    [const {
        Log {
            cycles: AtomicU64::new(0),
            pmis: AtomicU64::new(0),
        }
    }; MAX_CPUS],
);

static HAS_PMU: AtomicBool = AtomicBool::new(false);
/// Cycles between two PMIs.
static EVERY: AtomicU64 = AtomicU64::new(PERIOD);

/// Finds the PMU, if there is one; who has none can play as well.
pub(crate) fn find() {
    let period = cmdline::number("period").unwrap_or(PERIOD);
    EVERY.store(period.clamp(SHORTEST, LONGEST), Relaxed);
    let Ok(found) = model::Model::from_cpuid() else {
        return;
    };
    // On AMD's CPUs only the registers tell.
    if try_write(found.select(0), 0).is_err() {
        return;
    }
    model::find();
    trap::hook(vector::PMI, on_pmi);
    trap::hook(vector::NMI, on_pmi);
    HAS_PMU.store(true, Relaxed);
}

/// Says what a CPU counted until [`come_in`].
pub(crate) fn tell(cpu: usize, what: &str) {
    let log = &LOG[cpu];
    println!(
        "CPU {cpu} {what}: {} cycles, {} PMIs",
        log.cycles.load(Relaxed),
        log.pmis.load(Relaxed)
    );
}

/// Lets this CPU count, from 0.
///
/// # Errors
/// None: it is a CPU's work.
pub(crate) fn set_out() -> Outcome {
    let log: &Log = &LOG;
    log.cycles.store(0, Relaxed);
    log.pmis.store(0, Relaxed);
    if HAS_PMU.load(Relaxed) {
        counter::reset();
        write(LVTPC, delivery().lvtpc());
        SAMPLES.set_period(EVERY.load(Relaxed));
        COUNTS.start(false);
        SAMPLES.start(true);
    }
    Ok(())
}

/// Stops this CPU's counters and notes what they counted.
///
/// # Errors
/// None: it is a CPU's work.
pub(crate) fn come_in() -> Outcome {
    if HAS_PMU.load(Relaxed) {
        SAMPLES.stop();
        COUNTS.stop();
        LOG.cycles.store(COUNTS.get(), Relaxed);
        counter::reset();
    }
    Ok(())
}

/// How this CPU takes its PMIs: every other one as NMIs.
fn delivery() -> PmiDelivery {
    if cpu::current().is_multiple_of(2) {
        PmiDelivery::Nmi
    } else {
        PmiDelivery::Vector
    }
}

fn on_pmi(_: &mut TrapFrame) -> Verdict {
    // An overflow while LVTPC is masked would be the last one: its PMI would be lost.
    SAMPLES.stop();
    if SAMPLES.has_wrapped() {
        LOG.pmis.fetch_add(1, Relaxed);
        SAMPLES.set_period(EVERY.load(Relaxed));
    }
    counter::acknowledge(model().all_bits());
    write(LVTPC, delivery().lvtpc());
    SAMPLES.start(true);
    Verdict::Resume
}
