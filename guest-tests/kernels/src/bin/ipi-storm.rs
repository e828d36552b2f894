// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupts between the CPUs while PMIs are delivered on both: every one arrives.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rt::apic::{self, LVTPC, PmiDelivery};
use rt::msr::write;
use rt::pmu::{self, select, set_select};
use rt::smp::{self, Meeting};
use rt::sync::PerCpu;
use rt::tap::Outcome;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{MAX_CPUS, check, check_eq, cpu, diag, time};

rt::kernel!(main);

fn main() {
    for vector in IPI_VECTORS {
        trap::hook(vector, on_ipi);
    }
    trap::hook(vector::PMI, on_pmi);
    trap::hook(vector::NMI, on_pmi);
    rt::tap::run(&[
        ("there are two CPUs", two_cpus),
        ("IPIs without a PMU at work", || {
            smp::together(one_by_one::<0>)
        }),
        ("IPIs one by one, PMIs as vectors", || {
            with_pmis(PmiDelivery::Vector, one_by_one::<1>)
        }),
        ("IPIs one by one, PMIs as NMIs", || {
            with_pmis(PmiDelivery::Nmi, one_by_one::<1>)
        }),
        ("IPIs in bursts, PMIs as vectors", || {
            with_pmis(PmiDelivery::Vector, bursts)
        }),
        ("IPIs in bursts, PMIs as NMIs", || {
            with_pmis(PmiDelivery::Nmi, bursts)
        }),
        ("a halted CPU is woken by every IPI", || {
            with_pmis(PmiDelivery::Nmi, ping_pong)
        }),
    ]);
}

/// Vectors of different priority classes, below and above the PMI's; each has its own bit in the
/// receiving APIC, so one of each can be under way at once.
const IPI_VECTORS: [u8; 12] = [
    0x31, 0x32, 0x47, 0x55, 0x68, 0x90, 0x91, 0xa3, 0xb0, 0xc8, 0xe5, 0xec,
];

/// IPIs by vector that arrived on a CPU.
static ARRIVED: PerCpu<[AtomicU64; 256]> =
    PerCpu([const { [const { AtomicU64::new(0) }; 256] }; MAX_CPUS]);
static PMIS: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; MAX_CPUS]);
static PERIOD: AtomicU64 = AtomicU64::new(0);
static DELIVERY: AtomicU64 = AtomicU64::new(0);
static MEETING: Meeting = Meeting::new();

fn on_ipi(frame: &mut TrapFrame) -> Verdict {
    ARRIVED[cpu::current()][usize::from(frame.vector())].fetch_add(1, Relaxed);
    Verdict::Resume
}

fn on_pmi(_: &mut TrapFrame) -> Verdict {
    PMIS.fetch_add(1, Relaxed);
    pmu::acknowledge(pmu::ALL);
    // In this order: an overflow while LVTPC is masked has no PMI.
    write(LVTPC, DELIVERY.load(Relaxed));
    pmu::set_period(0, PERIOD.load(Relaxed));
    Verdict::Resume
}

fn arrived(cpu: usize, vector: u8) -> u64 {
    ARRIVED[cpu][usize::from(vector)].load(Relaxed)
}

fn partner() -> usize {
    1 - cpu::current()
}

fn two_cpus() -> Outcome {
    check_eq!(smp::start_all()?, 2, "CPUs");
    Ok(())
}

/// Runs `work` on both CPUs while both take PMIs.
fn with_pmis(how: PmiDelivery, work: smp::Work) -> Outcome {
    DELIVERY.store(how.lvtpc(), Relaxed);
    PERIOD.store(time::ticks_ms(2), Relaxed);
    PMIS.0.iter().for_each(|pmis| pmis.store(0, Relaxed));
    let outcome = smp::together(work);
    let pmis = [0, 1].map(|cpu| PMIS[cpu].load(Relaxed));
    diag!("{} PMIs on CPU 0, {} on CPU 1", pmis[0], pmis[1]);
    outcome?;
    check!(
        pmis.iter().all(|&pmis| pmis > 0),
        "{pmis:?} PMIs: one CPU had none"
    );
    Ok(())
}

fn start_sampling() -> Outcome {
    pmu::reset();
    write(LVTPC, DELIVERY.load(Relaxed));
    pmu::set_period(0, PERIOD.load(Relaxed));
    set_select(0, select::CYCLES_INT);
    MEETING.wait(2)
}

/// Samples on until this CPU had a PMI, however fast the IPIs were.
fn stop_sampling() -> Outcome {
    let came = time::wait_ms(5_000, || PMIS.load(Relaxed) > 0);
    check!(came, "no PMI within 5 s");
    set_select(0, 0);
    MEETING.wait(2)
}

/// Waits until an IPI sent to the partner has arrived.
fn wait_for(vector: u8, want: u64, what: &str) -> Outcome {
    let cpu = partner();
    let came = time::wait_ms(5_000, || arrived(cpu, vector) >= want);
    check!(
        came,
        "{what}: vector {vector:#x} did not arrive on CPU {cpu} within 5 s"
    );
    check_eq!(
        arrived(cpu, vector),
        want,
        "{what}: vector {vector:#x} on CPU {cpu}"
    );
    Ok(())
}

const ONE_BY_ONE: usize = 200;

fn one_by_one<const PMU: u8>() -> Outcome {
    if PMU == 1 {
        start_sampling()?;
    } else {
        MEETING.wait(2)?;
    }
    let mut outcome = Ok(());
    for (round, &vector) in (0..ONE_BY_ONE).zip(IPI_VECTORS.iter().cycle()) {
        let before = arrived(partner(), vector);
        apic::send_ipi(partner(), vector);
        outcome = wait_for(vector, before + 1, "one by one");
        if outcome.is_err() {
            diag!("CPU {}: IPI {round} of {ONE_BY_ONE}", cpu::current());
            break;
        }
    }
    if PMU == 1 {
        outcome.and(stop_sampling())
    } else {
        outcome.and(MEETING.wait(2))
    }
}

const BURSTS: u64 = 25;

fn bursts() -> Outcome {
    start_sampling()?;
    let mut outcome = Ok(());
    for _ in 0..BURSTS {
        let before = IPI_VECTORS.map(|vector| arrived(partner(), vector));
        for vector in IPI_VECTORS {
            apic::send_ipi(partner(), vector);
        }
        for (vector, before) in IPI_VECTORS.into_iter().zip(before) {
            outcome = outcome.and_then(|()| wait_for(vector, before + 1, "burst"));
        }
        if outcome.is_err() {
            break;
        }
    }
    outcome.and(stop_sampling())
}

const VOLLEYS: u64 = 100;
const BALL: u8 = 0xa3;

/// Each CPU halts until the other's IPI wakes it, and answers.
fn ping_pong() -> Outcome {
    start_sampling()?;
    let own = arrived(cpu::current(), BALL);
    MEETING.wait(2)?;
    for volley in 1..=VOLLEYS {
        if cpu::current() == 0 {
            apic::send_ipi(1, BALL);
        }
        cpu::without_interrupts(|| {
            while arrived(cpu::current(), BALL) < own + volley {
                cpu::halt_once();
            }
        });
        if cpu::current() == 1 {
            apic::send_ipi(0, BALL);
        }
    }
    check_eq!(arrived(cpu::current(), BALL), own + VOLLEYS, "IPIs");
    stop_sampling()
}
