// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A running counter never goes back: not from one instruction to another, not across PMIs, not
//! when the host moves the vCPU's thread to another CPU, which it does all the time meanwhile.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rt::apic::{LVTPC, PmiDelivery};
use rt::counter::{self, Counter};
use rt::model;
use rt::msr::{rdpmc, write};
use rt::probe::{self, Cpl};
use rt::tap::Outcome;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{check, check_eq, diag, session, time};

rt::kernel!(main);

fn main() {
    model::find();
    rt::cpu::allow_user_rdpmc(true);
    trap::hook(vector::PMI, on_pmi);
    trap::hook(vector::NMI, on_pmi);
    rt::tap::run(&[
        ("20,000 RDPMCs at CPL 0 never go back", || {
            all_kinds_of_pmis(|how| in_sessions(how, Cpl::Zero))
        }),
        ("20,000 RDPMCs at CPL 3 never go back", || {
            all_kinds_of_pmis(|how| in_sessions(how, Cpl::Three))
        }),
        ("20,000 RDMSRs never go back", || {
            all_kinds_of_pmis(|how| one_by_one(how, READS, Counter::get))
        }),
        ("4,000 RDMSRs and RDPMCs in turn never go back", || {
            all_kinds_of_pmis(in_turn)
        }),
        ("the counter of the PMIs goes back at PMIs only", sampled),
    ]);
}

/// Reads among PMIs of one kind; there are two kinds.
const READS: u64 = 10_000;
/// The same by RDMSR and RDPMC in turn.
const READS_IN_TURN: u64 = 2_000;
/// PMIs there must have been among them.
const PMIS: u64 = 50;
/// Reads that nothing but an interrupt parts.
const IN_A_ROW: u64 = 100;

/// Overflows all the time.
const SAMPLED: Counter = Counter::Gp(0);
/// Is read: runs on and on, and asks for no PMIs.
const READ: Counter = Counter::Gp(1);

static CAME: AtomicU64 = AtomicU64::new(0);
static LVT: AtomicU64 = AtomicU64::new(0);

/// Of guest time, which a read takes some tenth of a millisecond of where exits are slow.
fn period() -> u64 {
    time::ticks_ms(8)
}

fn on_pmi(_: &mut TrapFrame) -> Verdict {
    CAME.fetch_add(1, Relaxed);
    counter::acknowledge(SAMPLED.bit());
    // In this order: an overflow while LVTPC is masked has no PMI.
    write(LVTPC, LVT.load(Relaxed));
    SAMPLED.set_period(period());
    Verdict::Resume
}

/// Both counters run.
fn start(how: PmiDelivery) {
    counter::reset();
    CAME.store(0, Relaxed);
    LVT.store(how.lvtpc(), Relaxed);
    write(LVTPC, how.lvtpc());
    READ.start(false);
    SAMPLED.set_period(period());
    SAMPLED.start(true);
}

fn all_kinds_of_pmis(reads: impl Fn(PmiDelivery) -> Outcome) -> Outcome {
    for how in [PmiDelivery::Vector, PmiDelivery::Nmi] {
        start(how);
        let outcome = reads(how);
        counter::reset();
        outcome?;
        diag!("{how:?}: {} PMIs", CAME.load(Relaxed));
    }
    Ok(())
}

/// Whether there have been enough reads and PMIs.
fn enough(reads: u64, wanted: u64) -> bool {
    reads >= wanted && CAME.load(Relaxed) >= PMIS
}

/// [`IN_A_ROW`] reads of `counter` after one of `last`: the value of the last one, and how often it
/// went back.
fn in_a_row(counter: Counter, cpl: Cpl, last: u64) -> (TrapFrame, u64, u64) {
    let mut start = probe::RDPMC_LOOP.start(cpl);
    start.rcx = u64::from(counter.index());
    start.r8 = IN_A_ROW;
    start.r9 = last;
    let end = session::run(&start);
    (end, end.r9, end.r10)
}

fn in_sessions(how: PmiDelivery, cpl: Cpl) -> Outcome {
    let mut last = 0;
    let mut reads = 0;
    while !enough(reads, READS) {
        let (end, value, back) = in_a_row(READ, cpl, last);
        check_eq!(end.vector(), vector::RETURN, "vector at the end");
        check_eq!(end.r8, 0, "reads left");
        check_eq!(
            back,
            0,
            "{how:?}, reads that went back, of {IN_A_ROW} after {reads}"
        );
        last = value;
        reads += IN_A_ROW;
    }
    let at_last = READ.get();
    check!(last <= at_last, "RDPMC {last}, then RDMSR {at_last}");
    Ok(())
}

fn one_by_one(how: PmiDelivery, wanted: u64, read: impl Fn(Counter) -> u64) -> Outcome {
    let mut last = 0;
    let mut reads = 0;
    while !enough(reads, wanted) {
        let value = read(READ);
        check!(value >= last, "{how:?}, read {reads}: {value} after {last}");
        last = value;
        reads += 1;
    }
    Ok(())
}

fn in_turn(how: PmiDelivery) -> Outcome {
    let turn = AtomicU64::new(0);
    one_by_one(how, READS_IN_TURN, |counter| {
        match turn.fetch_add(1, Relaxed) % 2 {
            0 => counter.get(),
            _ => rdpmc(counter.index()),
        }
    })
}

/// The handler of a PMI gives it a lower value; in between it wraps, before anybody can read it.
fn sampled() -> Outcome {
    for cpl in probe::BOTH {
        start(PmiDelivery::Vector);
        let mut back = 0;
        let mut last = 0;
        while CAME.load(Relaxed) < PMIS {
            let (end, value, went_back) = in_a_row(SAMPLED, cpl, last);
            check_eq!(end.vector(), vector::RETURN, "vector at the end");
            back += went_back;
            last = value;
        }
        SAMPLED.stop();
        let pmis = CAME.load(Relaxed);
        diag!("{cpl:?}: back {back} times at {pmis} PMIs");
        check!(back <= pmis, "back {back} times at {pmis} PMIs");
    }
    counter::reset();
    Ok(())
}
