// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The other CPUs: starting them, and giving them work. A CPU without work is halted.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use crate::boot::TRAMPOLINE;
use crate::sync::PerCpu;
use crate::tap::Outcome;
use crate::text::Text;
use crate::trap::{self, TrapFrame, Verdict, vector};
use crate::{MAX_CPUS, apic, cpu, fail, time};

/// Work for a CPU.
pub type Work = fn() -> Outcome;

const IDLE: u32 = 0;
const POSTED: u32 = 1;
const DONE: u32 = 2;

struct Desk {
    online: AtomicBool,
    state: AtomicU32,
    work: AtomicPtr<()>,
    /// Written by the CPU between POSTED and DONE, read by whoever turns DONE into IDLE.
    outcome: UnsafeCell<Outcome>,
}

// SAFETY: `outcome` has one owner at a time, decided by `state`.
unsafe impl Sync for Desk {}

static DESKS: PerCpu<Desk> = PerCpu(
    [const {
        Desk {
            online: AtomicBool::new(false),
            state: AtomicU32::new(IDLE),
            work: AtomicPtr::new(core::ptr::null_mut()),
            outcome: UnsafeCell::new(Ok(())),
        }
    }; MAX_CPUS],
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
}

fn on_wake(_: &mut TrapFrame) -> Verdict {
    Verdict::Resume
}

/// Starts all other CPUs by INIT and start-up IPIs; returns how many CPUs the machine has.
///
/// # Errors
/// Which CPU did not come up.
pub fn start_all() -> Result<usize, Text> {
    trap::hook(vector::WAKE, on_wake);
    let count = cpu::count();
    if count > MAX_CPUS {
        fail!("{count} CPUs are more than this runtime has room for");
    }
    let start = &raw const trampoline_start;
    let length = (&raw const trampoline_end as usize) - start as usize;
    // SAFETY: low memory that nothing else uses; mapped one to one.
    unsafe { core::ptr::copy_nonoverlapping(start, TRAMPOLINE as *mut u8, length) };
    for cpu in 1..count {
        start_one(cpu)?;
    }
    Ok(count)
}

fn start_one(cpu: usize) -> Outcome {
    let is_online = || DESKS[cpu].online.load(Ordering::Acquire);
    if is_online() {
        return Ok(());
    }
    apic::send_init(cpu);
    time::spin(10_000_000);
    // The manual asks for two start-up IPIs, in case the first was missed.
    for wait in [200, 10_000] {
        apic::send_startup(cpu, TRAMPOLINE);
        if time::wait_ms(wait, is_online) {
            return Ok(());
        }
    }
    fail!("CPU {cpu} did not start within 10 s of INIT and start-up IPIs")
}

/// The life of every CPU but the first.
pub(crate) fn serve(cpu: usize) -> ! {
    let desk = &DESKS[cpu];
    desk.online.store(true, Ordering::Release);
    loop {
        if desk.state.load(Ordering::Acquire) == POSTED {
            // SAFETY: only `start` stores here, and stores a `Work`.
            let work =
                unsafe { core::mem::transmute::<*mut (), Work>(desk.work.load(Ordering::Relaxed)) };
            cpu::enable_interrupts();
            let outcome = work();
            cpu::disable_interrupts();
            // SAFETY: this CPU's until DONE is stored.
            unsafe { *desk.outcome.get() = outcome };
            desk.state.store(DONE, Ordering::Release);
        } else {
            cpu::halt_once();
        }
    }
}

/// Gives another CPU work.
///
/// # Panics
/// If it still has some.
pub fn start(cpu: usize, work: Work) {
    let desk = &DESKS[cpu];
    assert!(
        desk.state.load(Ordering::Acquire) == IDLE,
        "CPU {cpu} still has work"
    );
    desk.work.store(work as *mut (), Ordering::Relaxed);
    desk.state.store(POSTED, Ordering::Release);
    apic::send_ipi(cpu, vector::WAKE);
}

/// Waits for another CPU's work to be done.
///
/// # Errors
/// Its own, or that it did not finish within 30 s.
pub fn finish(cpu: usize) -> Outcome {
    let desk = &DESKS[cpu];
    if !time::wait_ms(30_000, || desk.state.load(Ordering::Acquire) == DONE) {
        fail!("CPU {cpu} did not finish its work within 30 s");
    }
    // SAFETY: DONE makes it ours until IDLE is stored.
    let outcome = unsafe { *desk.outcome.get() };
    desk.state.store(IDLE, Ordering::Release);
    outcome.map_err(|why| Text::format(format_args!("on CPU {cpu}: {why}")))
}

/// Runs work on a CPU and waits for it.
///
/// # Errors
/// As [`finish`].
pub fn run_on(cpu: usize, work: Work) -> Outcome {
    if cpu == cpu::current() {
        return work().map_err(|why| Text::format(format_args!("on CPU {cpu}: {why}")));
    }
    start(cpu, work);
    finish(cpu)
}

/// Runs the same work on every CPU in turn.
///
/// # Errors
/// The first CPU's that fails.
pub fn on_each(work: Work) -> Outcome {
    (0..start_all()?).try_for_each(|cpu| run_on(cpu, work))
}

/// Runs the same work on all CPUs at once. Called on CPU 0.
///
/// # Errors
/// The first CPU's that failed.
pub fn together(work: Work) -> Outcome {
    let count = start_all()?;
    (1..count).for_each(|cpu| start(cpu, work));
    let mut outcome = run_on(0, work);
    for cpu in 1..count {
        let other = finish(cpu);
        outcome = outcome.and(other);
    }
    outcome
}

/// A place where CPUs wait for each other.
pub struct Meeting {
    arrived: AtomicUsize,
}

impl Meeting {
    /// Nobody there yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            arrived: AtomicUsize::new(0),
        }
    }

    /// Waits until all `count` CPUs are there; can be used again and again.
    ///
    /// # Errors
    /// If one stays away for 20 s.
    pub fn wait(&self, count: usize) -> Outcome {
        let ticket = self.arrived.fetch_add(1, Ordering::AcqRel);
        let complete = (ticket / count + 1) * count;
        if !time::wait_ms(20_000, || self.arrived.load(Ordering::Acquire) >= complete) {
            fail!("the other CPU did not come to the meeting within 20 s");
        }
        Ok(())
    }
}

impl Default for Meeting {
    fn default() -> Self {
        Self::new()
    }
}
