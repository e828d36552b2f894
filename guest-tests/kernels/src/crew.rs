// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! CPUs that do nothing but count, with their [`books`] open, until they are told to stop.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::apic::PmiDelivery;
use crate::books;
use crate::sync::PerCpu;
use crate::tap::Outcome;
use crate::{MAX_CPUS, cpu, smp, time};

const STAY: u32 = 0;
const CLOSE: u32 = 1;
const WALK_OUT: u32 = 2;

static ORDERS: PerCpu<AtomicU32> = PerCpu([const { AtomicU32::new(STAY) }; MAX_CPUS]);
static ROUNDS: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; MAX_CPUS]);

/// The time between two PMIs, in guest time, if the TSC ran at 1 GHz: long enough that the handlers
/// leave most of it.
const PERIOD_MS: u64 = 10;

/// How a CPU takes its PMIs: every other one as NMIs.
#[must_use]
pub fn delivery(cpu: usize) -> PmiDelivery {
    if cpu.is_multiple_of(2) {
        PmiDelivery::Nmi
    } else {
        PmiDelivery::Vector
    }
}

/// Opens the books of this CPU.
pub fn open_books() {
    books::open(time::ticks_ms(PERIOD_MS), delivery(cpu::current()));
}

/// The work itself, for kernels that let a CPU do more before.
///
/// # Errors
/// What does not balance in its books.
pub fn count() -> Outcome {
    open_books();
    while ORDERS.load(Relaxed) == STAY && books::work() {
        ROUNDS.fetch_add(1, Relaxed);
    }
    if ORDERS.load(Relaxed) == WALK_OUT {
        return Ok(());
    }
    books::close()
}

/// Lets a CPU that is online count from now on, or do `work`, which ends with [`count`].
pub fn hire(cpu: usize, work: smp::Work) {
    ORDERS[cpu].store(STAY, Relaxed);
    smp::start(cpu, work);
}

/// Lets a CPU stop counting, and close its books.
///
/// # Errors
/// What does not balance.
pub fn dismiss(cpu: usize) -> Outcome {
    ORDERS[cpu].store(CLOSE, Relaxed);
    smp::finish(cpu)
}

/// Lets a CPU stop working with its counters on, and its PMIs coming.
///
/// # Errors
/// What does not balance so far.
pub fn walk_out(cpu: usize) -> Outcome {
    ORDERS[cpu].store(WALK_OUT, Relaxed);
    smp::finish(cpu)
}

/// For a CPU that was taken away: whatever it was doing, it does no more.
pub fn forget(cpu: usize) {
    books::abandon(cpu);
    smp::forget(cpu);
}

/// How often a CPU has looked at its counters so far.
#[must_use]
pub fn rounds(cpu: usize) -> u64 {
    ROUNDS[cpu].load(Relaxed)
}
