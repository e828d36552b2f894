// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the kernel does on behalf of this kernel's tasks: overflows at CPL 0, with the task switched
//! out before it could get their trap, or its event closed.

use core::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

use rt::index;
use rt::sched::port::{self, Id};
use rt::sched::{self, Step, Then};

const TICKS: u64 = 0;
const TICK_LOOK: u64 = 1;
const TICK_YIELD: u64 = 2;
const TICK_BLOCK: u64 = 3;
const TICK_MIGRATE: u64 = 4;
const REST: u64 = 5;
const TICK_CLOSE: u64 = 6;

/// How far apart the stores of [`ticks`] are.
pub(crate) const APART: u64 = 8;

static RESTS: AtomicBool = AtomicBool::new(false);
static UNTOLD: AtomicU64 = AtomicU64::new(0);
static MET: AtomicUsize = AtomicUsize::new(0);
static TO_CLOSE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static NOT_CLOSED: AtomicU64 = AtomicU64::new(0);

/// `n` stores in one go, the first one [`APART`] bytes from the page's start, and so on.
pub(crate) const fn ticks(n: u64) -> Step {
    step(TICKS, n)
}

/// One store, after which the page has to say at once that a trap waits.
pub(crate) const fn tick_and_look() -> Step {
    step(TICK_LOOK, 0)
}

/// One store, and the task yields before its return to user mode.
pub(crate) const fn tick_and_yield() -> Step {
    step(TICK_YIELD, 0)
}

/// One store, and the task blocks before its return to user mode.
pub(crate) const fn tick_and_block() -> Step {
    step(TICK_BLOCK, 0)
}

/// One store, and the task returns to user mode on another vCPU.
pub(crate) const fn tick_and_migrate(cpu: usize) -> Step {
    step(TICK_MIGRATE, cpu as u64)
}

/// Blocks if that is [wanted](let_rest).
pub(crate) const fn rests() -> Step {
    step(REST, 0)
}

/// One store; then, when `parties` tasks have come so far, the event of this number is closed: see
/// [`will_close`].
pub(crate) const fn tick_and_close(event: usize, parties: u64) -> Step {
    step(TICK_CLOSE, parties << 1 | event as u64)
}

const fn step(what: u64, value: u64) -> Step {
    Step::serves(value << 8 | what)
}

/// Whether tasks are to block at [`rests`].
pub(crate) fn let_rest(rest: bool) {
    RESTS.store(rest, Release);
}

/// Says which events [`tick_and_close`] closes.
pub(crate) fn will_close(events: [Id; 2]) {
    MET.store(0, Relaxed);
    for (place, event) in TO_CLOSE.iter().zip(events) {
        place.store(event.get(), Release);
    }
}

/// Closes that failed.
pub(crate) fn not_closed() -> u64 {
    NOT_CLOSED.load(Relaxed)
}

/// Traps that did not wait right after their overflow, as far as the page said.
pub(crate) fn untold() -> u64 {
    UNTOLD.load(Relaxed)
}

pub(crate) fn serve(number: u64) -> Then {
    let value = number >> 8;
    match number & 0xff {
        TICKS => {
            (1..=value).for_each(|nth| sched::tick_at(nth * APART));
            Then::Returns
        }
        TICK_LOOK => {
            sched::tick();
            if port::ask(|port| Ok(port.trap_waits())) != Ok(true) {
                UNTOLD.fetch_add(1, Relaxed);
            }
            Then::Returns
        }
        TICK_YIELD => {
            sched::tick();
            Then::Yields
        }
        TICK_BLOCK => {
            sched::tick();
            Then::Blocks
        }
        TICK_MIGRATE => {
            sched::tick();
            Then::Migrates(index(value))
        }
        REST if RESTS.load(Acquire) => Then::Blocks,
        REST => Then::Returns,
        TICK_CLOSE => {
            sched::tick();
            MET.fetch_add(1, SeqCst);
            while (MET.load(SeqCst) as u64) < value >> 1 {
                core::hint::spin_loop();
            }
            let event = Id::new(TO_CLOSE[index(value & 1)].load(Acquire));
            let closed = event.is_some_and(|event| port::ask(|port| port.close(event)).is_ok());
            NOT_CLOSED.fetch_add(u64::from(!closed), Relaxed);
            Then::Returns
        }
        unknown => panic!("no such service: {unknown}"),
    }
}
