// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest to play with from the control socket: whatever CPU comes is started and counts cycles,
//! with PMIs, until the host wants it back; then it is given back. For people, not for the test
//! harness.
//!
//! `seconds=N` on the command line ends it after that long, else it runs until it is stopped;
//! `period=N` says how many cycles lie between two PMIs.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rt::apic::{LVTPC, PmiDelivery};
use rt::counter::{self, Counter};
use rt::hotplug::{self, Event};
use rt::model::{self, model};
use rt::msr::{try_write, write};
use rt::sync::PerCpu;
use rt::tap::Outcome;
use rt::text::Text;
use rt::time::{self, Deadline};
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{MAX_CPUS, cmdline, cpu, println, smp};

rt::kernel!(main);

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

/// What a CPU does and did.
struct Log {
    works: AtomicBool,
    cycles: AtomicU64,
    pmis: AtomicU64,
}

static LOG: PerCpu<Log> = PerCpu(
    [const {
        Log {
            works: AtomicBool::new(false),
            cycles: AtomicU64::new(0),
            pmis: AtomicU64::new(0),
        }
    }; MAX_CPUS],
);

static HAS_PMU: AtomicBool = AtomicBool::new(false);
/// Cycles between two PMIs.
static EVERY: AtomicU64 = AtomicU64::new(PERIOD);
/// The controller has something to tell.
static EVENTS: AtomicBool = AtomicBool::new(false);

fn main() {
    let end = cmdline::number("seconds").map(|seconds| Deadline::after_ms(1000 * seconds));
    let period = cmdline::number("period").unwrap_or(PERIOD);
    EVERY.store(period.clamp(SHORTEST, LONGEST), Relaxed);
    find_pmu();
    hotplug::connect(on_event);
    // What came before that made no interrupt.
    EVENTS.store(true, Relaxed);
    set_out();
    for cpu in hotplug::present().filter(|&cpu| cpu != 0) {
        receive(cpu);
    }
    println!(
        "{} of {} CPUs are here",
        smp::online().count(),
        hotplug::possible()
    );
    while !end.is_some_and(Deadline::is_over) {
        time::compute(20_000);
        if EVENTS.swap(false, Relaxed) {
            attend();
        }
    }
    for cpu in smp::online().filter(|&cpu| cpu != 0) {
        give_up(cpu);
    }
    come_in();
    tell(0, "stays");
}

/// Finds the PMU, if there is one; who has none can play as well.
fn find_pmu() {
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

fn on_event(_: &mut TrapFrame) -> Verdict {
    EVENTS.store(true, Relaxed);
    Verdict::Resume
}

/// Does what the controller tells of.
fn attend() {
    while let Some((cpu, event)) = hotplug::take_event() {
        match event {
            Event::Added => receive(cpu),
            Event::Removal => {
                if give_up(cpu) {
                    hotplug::eject(cpu);
                } else {
                    hotplug::refuse(cpu);
                }
            }
        }
    }
}

/// Starts a CPU that is here, and lets it count.
fn receive(cpu: usize) {
    if smp::is_online(cpu) {
        return;
    }
    match smp::start_cpu(cpu) {
        Ok(()) => {
            LOG[cpu].works.store(true, Relaxed);
            smp::start(cpu, work);
            println!("CPU {cpu} comes");
        }
        Err(why) => println!("CPU {cpu} does not come: {why}"),
    }
}

/// Stops a CPU; whether it could be.
fn give_up(cpu: usize) -> bool {
    match stop(cpu) {
        Ok(()) => {
            tell(cpu, "goes");
            true
        }
        Err(why) => {
            println!("CPU {cpu} does not go: {why}");
            false
        }
    }
}

fn stop(cpu: usize) -> Result<(), Text> {
    if !smp::is_online(cpu) {
        return Ok(());
    }
    LOG[cpu].works.store(false, Relaxed);
    smp::finish(cpu)?;
    smp::stop_cpu(cpu)
}

fn tell(cpu: usize, what: &str) {
    let log = &LOG[cpu];
    println!(
        "CPU {cpu} {what}: {} cycles, {} PMIs",
        log.cycles.load(Relaxed),
        log.pmis.load(Relaxed)
    );
}

/// What all CPUs but the first do.
fn work() -> Outcome {
    set_out();
    let log: &Log = &LOG;
    while log.works.load(Relaxed) {
        time::compute(20_000);
    }
    come_in();
    Ok(())
}

/// Lets this CPU count, from 0.
fn set_out() {
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
}

/// Stops this CPU's counters and notes what they counted.
fn come_in() {
    if HAS_PMU.load(Relaxed) {
        SAMPLES.stop();
        COUNTS.stop();
        LOG.cycles.store(COUNTS.get(), Relaxed);
        counter::reset();
    }
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
