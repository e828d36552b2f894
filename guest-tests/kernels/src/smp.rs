// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The other CPUs: starting them, giving them work, and stopping them. A CPU without work is halted.
//!
//! CPU 0 runs all the time. Any other can be started, stopped and started again, whether or not the
//! host took it away in between ([`crate::hotplug`]): each start is by INIT and start-up IPI, with
//! an empty stack and a new task state segment.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use crate::boot::TRAMPOLINE;
use crate::model::Model;
use crate::sync::{Lock, PerCpu};
use crate::tap::Outcome;
use crate::text::Text;
use crate::trap::{self, TrapFrame, Verdict, vector};
use crate::{MAX_CPUS, apic, cpu, fail, hotplug, msr, time};

/// Work for a CPU.
pub type Work = fn() -> Outcome;

const IDLE: u32 = 0;
const POSTED: u32 = 1;
const DONE: u32 = 2;

const STAY: u32 = 0;
/// Leave when the work is done, with all that counts and interrupts switched off.
const LEAVE: u32 = 1;
/// Leave when the work is done, and leave all that is programmed.
const LEAVE_ALL_ON: u32 = 2;

struct Desk {
    online: AtomicBool,
    /// STAY, or how to leave.
    wish: AtomicU32,
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
            wish: AtomicU32::new(STAY),
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

/// Whether the start-up code is where the start-up IPIs lead.
static READY: Lock<bool> = Lock::new(false);

fn prepare() {
    READY.with(|ready| {
        if *ready {
            return;
        }
        trap::hook(vector::WAKE, on_wake);
        let start = &raw const trampoline_start;
        let length = (&raw const trampoline_end as usize) - start as usize;
        // SAFETY: low memory that nothing else uses; mapped one to one.
        unsafe { core::ptr::copy_nonoverlapping(start, TRAMPOLINE as *mut u8, length) };
        *ready = true;
    });
}

/// Starts all other CPUs that are present; returns how many CPUs are. They are numbered without a
/// gap unless some have been removed: [`is_online`] tells.
///
/// # Errors
/// Which CPU did not come up.
pub fn start_all() -> Result<usize, Text> {
    let mut count = 0;
    for cpu in hotplug::present() {
        count += 1;
        start_cpu(cpu)?;
    }
    Ok(count)
}

/// Starts a CPU and waits until it is ready for work; nothing to do if it is online. If it has run
/// before, nothing is left of that but its memory: work that was not collected is dropped. One
/// caller at a time for each CPU.
///
/// # Errors
/// If it did not come up.
pub fn start_cpu(cpu: usize) -> Outcome {
    if is_online(cpu) {
        return Ok(());
    }
    if cpu >= MAX_CPUS {
        fail!("CPU {cpu} is more than this runtime has room for");
    }
    begin_start(cpu);
    // The manual asks for two start-up IPIs, in case the first was missed.
    if time::wait_ms(200, || is_online(cpu)) {
        return Ok(());
    }
    apic::send_startup(cpu, TRAMPOLINE);
    if time::wait_ms(10_000, || is_online(cpu)) {
        return Ok(());
    }
    fail!("CPU {cpu} did not start within 10 s of INIT and start-up IPIs")
}

/// Starts a CPU that is not online, and does not wait until it is.
pub fn begin_start(cpu: usize) {
    let desk = &DESKS[cpu];
    desk.wish.store(STAY, Ordering::Relaxed);
    desk.state.store(IDLE, Ordering::Release);
    // A virtual CPU needs no time between INIT and the start-up IPI.
    send_start(cpu);
}

/// Sends INIT and a start-up IPI to a CPU, whatever it is doing and whether or not it is there, and
/// waits for nothing: half of [`start_cpu`], and what a guest that means harm can do as well.
pub fn send_start(cpu: usize) {
    prepare();
    apic::send_init(cpu);
    apic::send_startup(cpu, TRAMPOLINE);
}

/// Whether a CPU runs and takes work. CPU 0 always does.
#[must_use]
pub fn is_online(cpu: usize) -> bool {
    cpu == 0 || cpu < MAX_CPUS && DESKS[cpu].online.load(Ordering::Acquire)
}

/// Lets a CPU finish its work, switch off its counters and whatever else could interrupt it, and
/// halt for ever with interrupts off: so it can be ejected. Its work's outcome can still be had by
/// [`finish`]. Nothing to do if it is not online. Not called on that CPU itself.
///
/// # Errors
/// If it has not stopped within 30 s.
///
/// # Panics
/// For CPU 0.
pub fn stop_cpu(cpu: usize) -> Outcome {
    ask_to_leave(cpu, LEAVE)
}

/// As [`stop_cpu`], but its counters count on, its PMIs and its timer stay programmed: for tests of
/// what is left of them when the CPU comes again. NMIs still come until it is ejected.
///
/// # Errors
/// As [`stop_cpu`].
///
/// # Panics
/// For CPU 0.
pub fn stop_cpu_all_on(cpu: usize) -> Outcome {
    ask_to_leave(cpu, LEAVE_ALL_ON)
}

fn ask_to_leave(cpu: usize, how: u32) -> Outcome {
    assert!(cpu != 0, "CPU 0 runs all the time");
    if !is_online(cpu) {
        return Ok(());
    }
    DESKS[cpu].wish.store(how, Ordering::Release);
    apic::send_ipi(cpu, vector::WAKE);
    if !time::wait_ms(30_000, || !is_online(cpu)) {
        fail!("CPU {cpu} did not stop within 30 s");
    }
    Ok(())
}

/// Takes a CPU for stopped that was ejected while it ran, so that [`start_cpu`] starts it.
///
/// # Panics
/// For CPU 0.
pub fn forget(cpu: usize) {
    assert!(cpu != 0, "CPU 0 runs all the time");
    DESKS[cpu].online.store(false, Ordering::Release);
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
            continue;
        }
        match desk.wish.load(Ordering::Acquire) {
            STAY => cpu::halt_once(),
            how => leave(desk, how),
        }
    }
}

/// From the store on another CPU may have this one ejected, or start it anew.
fn leave(desk: &Desk, how: u32) -> ! {
    if how == LEAVE {
        apic::mask_sources();
        stop_counters();
    }
    desk.online.store(false, Ordering::Release);
    cpu::halt_forever()
}

/// Stops the counters of any PMU there is.
fn stop_counters() {
    let Ok(model) = Model::from_cpuid() else {
        return;
    };
    // Where a #GP says that there is no such register, nothing counts: AMD's CPUID does not tell.
    let clear = |register| msr::try_write(register, 0).is_ok();
    match model.globals() {
        Some(globals) => _ = clear(globals.control),
        None => _ = (0..model.counters).all(|n| clear(model.select(n))),
    }
}

/// Gives another CPU work.
///
/// # Panics
/// If it still has some, or is not online.
pub fn start(cpu: usize, work: Work) {
    let desk = &DESKS[cpu];
    assert!(is_online(cpu), "CPU {cpu} is not online");
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

/// The CPUs that are online now, the lowest first.
pub fn online() -> impl Iterator<Item = usize> + Clone {
    let now: [bool; MAX_CPUS] = core::array::from_fn(is_online);
    (0..MAX_CPUS).filter(move |&cpu| now[cpu])
}

/// Runs the same work on every CPU that is present, in turn.
///
/// # Errors
/// The first CPU's that fails.
pub fn on_each(work: Work) -> Outcome {
    start_all()?;
    online().try_for_each(|cpu| run_on(cpu, work))
}

/// Runs the same work on all CPUs that are present at once. Called on CPU 0.
///
/// # Errors
/// The first CPU's that failed.
pub fn together(work: Work) -> Outcome {
    start_all()?;
    let others = online().filter(|&cpu| cpu != 0);
    others.clone().for_each(|cpu| start(cpu, work));
    let mut outcome = run_on(0, work);
    for cpu in others {
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
