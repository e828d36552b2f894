// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Counters that are always about to overflow: the guest still gets on with its work, because the
//! host keeps PMIs at least 100 µs apart.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use rt::apic::{LVTPC, PmiDelivery};
use rt::msr::write;
use rt::pmu::{self, COUNTERS, select, set_counter, set_select};
use rt::smp;
use rt::sync::PerCpu;
use rt::tap::Outcome;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{MAX_CPUS, check, cpu, diag, time};

rt::kernel!(main);

fn main() {
    trap::hook(vector::PMI, on_pmi);
    trap::hook(vector::NMI, on_pmi);
    rt::tap::run(&[
        ("a handler that re-arms at -1, as a vector", || {
            storm(PmiDelivery::Vector, 1)
        }),
        ("a handler that re-arms at -1, as an NMI", || {
            storm(PmiDelivery::Nmi, 1)
        }),
        ("a handler that re-arms four counters in turn", || {
            storm(PmiDelivery::Nmi, COUNTERS)
        }),
        ("main code that writes -1 in a loop", writer),
        ("the storm on all CPUs at once", || {
            smp::together(|| storm(PmiDelivery::Nmi, 1))
        }),
        ("after the storm there is none", calm),
    ]);
}

/// The shortest time between two PMIs, in microseconds of host time.
const MIN_REARM_US: u64 = 100;

struct State {
    pmis: AtomicU64,
    lvtpc: AtomicU64,
    /// Counters that the handler re-arms in turn, one at each PMI.
    counters: AtomicU32,
    stop: AtomicBool,
    /// When the handler ends a storm that lets nothing else run, in TSC ticks.
    give_up: AtomicU64,
}

static STATE: PerCpu<State> = PerCpu(
    [const {
        State {
            pmis: AtomicU64::new(0),
            lvtpc: AtomicU64::new(0),
            counters: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            give_up: AtomicU64::new(0),
        }
    }; MAX_CPUS],
);

fn on_pmi(_: &mut TrapFrame) -> Verdict {
    let state: &State = &STATE;
    let number = state.pmis.fetch_add(1, Relaxed);
    if state.stop.load(Relaxed) || time::tsc() > state.give_up.load(Relaxed) {
        pmu::set_global(0);
        return Verdict::Resume;
    }
    pmu::acknowledge(pmu::ALL);
    // In this order: an overflow while LVTPC is masked has no PMI.
    write(LVTPC, state.lvtpc.load(Relaxed));
    let counters = u64::from(state.counters.load(Relaxed));
    if let Some(n) = (0..COUNTERS).find(|&n| counters > 0 && u64::from(n) == number % counters) {
        set_counter(n, u64::MAX);
    }
    Verdict::Resume
}

/// The longest a point may take.
fn limit() -> u64 {
    time::ticks_ms(15_000)
}

fn prepare(how: PmiDelivery, counters: u32) -> &'static State {
    pmu::reset();
    let state: &State = &STATE;
    state.pmis.store(0, Relaxed);
    state.stop.store(false, Relaxed);
    state.lvtpc.store(how.lvtpc(), Relaxed);
    state.counters.store(counters, Relaxed);
    state.give_up.store(time::tsc() + limit(), Relaxed);
    write(LVTPC, how.lvtpc());
    state
}

/// No more PMIs than the interval allows, where the TSC's rate is known. A tenth more, for clocks
/// that differ, and some that the start and the end may add.
fn bounded(pmis: u64, passed: u64) -> Outcome {
    check!(pmis > 0, "no PMI in {passed} TSC ticks");
    if let Some(hz) = time::tsc_hz() {
        let intervals = passed / (hz / 1_000_000 * MIN_REARM_US);
        check!(
            pmis <= intervals * 11 / 10 + 10,
            "{pmis} PMIs in {intervals} intervals of {MIN_REARM_US} µs"
        );
    }
    Ok(())
}

fn storm(how: PmiDelivery, counters: u32) -> Outcome {
    let state = prepare(how, counters);
    for n in 0..counters {
        set_counter(n, 0);
        set_select(n, select::CYCLES_INT);
    }
    let start = time::tsc();
    set_counter(0, u64::MAX);
    let mut rounds = 0;
    // Where the handler alone takes longer than the interval, as it does with slow exits, little is
    // left for the main loop; but something is.
    while rounds < 50 || time::tsc() - start < time::ticks_ms(500) {
        let passed = time::tsc() - start;
        check!(
            passed < limit(),
            "only {rounds} rounds of work in {passed} TSC ticks"
        );
        time::compute(5_000);
        rounds += 1;
    }
    state.stop.store(true, Relaxed);
    let passed = time::tsc() - start;
    let pmis = state.pmis.load(Relaxed);
    pmu::reset();
    diag!(
        "CPU {}: {pmis} PMIs, {rounds} rounds of work, {passed} TSC ticks",
        cpu::current()
    );
    bounded(pmis, passed)
}

fn writer() -> Outcome {
    let state = prepare(PmiDelivery::Nmi, 0);
    set_select(0, select::CYCLES_INT);
    let start = time::tsc();
    for round in 0..200 {
        let passed = time::tsc() - start;
        check!(
            passed < limit(),
            "only {round} writes in {passed} TSC ticks"
        );
        set_counter(0, u64::MAX);
    }
    // The last write has its overflow.
    let came = time::wait_ms(5_000, || state.pmis.load(Relaxed) > 0);
    state.stop.store(true, Relaxed);
    let passed = time::tsc() - start;
    let pmis = state.pmis.load(Relaxed);
    pmu::reset();
    check!(came, "no PMI within 5 s of the last write");
    diag!("{pmis} PMIs, 200 writes, {passed} TSC ticks");
    bounded(pmis, passed)
}

fn calm() -> Outcome {
    smp::on_each(|| {
        let state = prepare(PmiDelivery::Nmi, 0);
        time::busy(time::ticks_ms(10));
        check!(
            state.pmis.load(Relaxed) == 0,
            "{} PMIs",
            state.pmis.load(Relaxed)
        );
        Ok(())
    })
}
