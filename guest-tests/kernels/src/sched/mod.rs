// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A small scheduler: tasks in user mode, a run queue for each vCPU, and the perf port told of all
//! of it, if the machine has one.
//!
//! ```ignore
//! fn main() {
//!     rt::tap::run(&[("two tasks meet", two_tasks)]);
//! }
//!
//! fn two_tasks() -> Outcome {
//!     sched::init()?;                             // once, on CPU 0
//!     sched::enter(1)?;                           // CPU 1 runs tasks from now on
//!     let waiter = sched::spawn("waiter", 1, &[Step::blocks(), Step::adds(0), Step::exits()])?;
//!     let worker = sched::spawn("worker", 1, &[
//!         Step::store(10),                        // step 0: ten ticks in user mode
//!         Step::yields(),
//!         Step::repeats(0, 5),                    // five times all of it
//!         Step::wakes(waiter, 1),
//!         Step::exits(),
//!     ])?;
//!     sched::join(worker)?;
//!     sched::join(waiter)?;
//!     check_eq!(sched::word(0), 1, "the shared word");
//!     sched::leave(1, 0)                          // what could run there goes to CPU 0
//! }
//! ```
//!
//! # Tasks
//!
//! A task is a slot ([`Tid`], [`MAX_TASKS`] of them) and runs a script of [`Step`]s at CPL 3, until
//! [`Step::exits`]. [`spawn`] makes one, [`Step::forks`] makes children. [`join`] waits for the end
//! and frees the slot; [`forget`] lets it be freed at the end by itself, that of its later children
//! too. Tasks share [`WORDS`] words ([`word`], [`set_word`]; [`Step::adds`], [`Step::awaits`]).
//!
//! Scheduling is cooperative: a turn ends when the task yields, blocks, migrates or exits, or when
//! another CPU asks by [`preempt`] or [`place`].
//!
//! * [`wake`] (or [`Step::wakes`]) lets a blocked task run on a vCPU of the caller's choice; what
//!   is not blocked remembers one wake, for its next block.
//! * [`place`] puts a task on another vCPU, whatever it does; [`kill`] makes it exit. Neither is for
//!   tasks that may exit meanwhile, if others are made at the same time: their slot may be another's.
//!
//! # vCPUs
//!
//! [`enter`] lets a vCPU run tasks, halted while there are none; [`leave`] ends that, as does
//! [`stop`] for all. What could run there goes elsewhere, what is blocked stays: it may be unplugged
//! then ([`crate::smp::stop_cpu`], [`crate::hotplug::eject`]). Tasks can be queued for a vCPU that is not
//! in: they wait. CPU 0 is the controller, at CPL 0 with a page of its own; [`run_here`] lets it run
//! tasks as well for a while.
//!
//! # The port
//!
//! [`init`] looks for it ([`port::exists`]); without one, everything works but that nobody is told.
//! Each vCPU registers its page when it enters, CPU 0 in `init`. Each task is created or forked at
//! the port ([`port_id`]). Switches follow rule U1 of the port's manual, the return to user mode U4:
//! there is one, and every trap, interrupt and NMI of a task leads to it. An overflow in its window
//! can be had by [`store_in_window`].
//!
//! A trap gets to the task's handler in user mode, which writes it down ([`log`], [`logged`],
//! [`tally`]), may do more ([`set_handler`]), and returns: then it is acknowledged (U6).
//!
//! [`counts`] tells what each vCPU did; [`Counts::odd`] is 0 unless the port broke its rules.
//!
//! # The tick page
//!
//! One page below 16 MiB, [`TICKS`], open to tasks. Without a port it is a page of RAM.

mod counts;
mod entry;
pub mod event;
pub mod port;
mod queue;
mod signal;
mod syscall;
mod task;
mod user;
mod vcpu;

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

pub use counts::Counts;
pub use task::{State, Tid};
pub use user::{
    Handler, LOG_ROOM, Logged, MAX_STEPS, Step, TALLIES, Then, after_store, before_call,
};

pub(crate) use vcpu::returns_to_task;

use crate::mem::{self, Access};
use crate::tap::Outcome;
use crate::text::Text;
use crate::trap::{self, vector};
use crate::{cpu, fail, idt, smp, time};
use task::Task;
use user::{Block, SHARED};
use vcpu::{Idle, Vcpu};

/// Tasks that there can be at a time.
pub const MAX_TASKS: usize = 64;
/// Words that all tasks share.
pub const WORDS: usize = 64;
/// Where the tick page is mapped: the last page of the playground.
pub const TICKS: u64 = (16 << 20) - mem::PAGE;

/// How long [`join`] and the like wait, in milliseconds.
const PATIENCE_MS: u64 = 30_000;

static FAILED_FORKS: AtomicU64 = AtomicU64::new(0);

/// Sets all of this up, on CPU 0, and starts the other CPUs; nothing changes when called again.
/// Returns how many CPUs there are.
///
/// # Errors
/// Which CPU did not come up, or that the port refuses CPU 0's page.
pub fn init() -> Result<usize, Text> {
    idt::main().allow_user(vector::SYSCALL, true);
    trap::hook(vector::SYSCALL, syscall::on_syscall);
    trap::hook(vector::PERF_TRAP, signal::on_trap);
    cpu::without_interrupts(port::attach)?;
    mem::map(TICKS, port::tick_page(), Access::User);
    smp::start_all()
}

/// Lets a vCPU run tasks from now on, which is online and has no work. Not CPU 0.
///
/// # Errors
/// If it does not within 30 s.
pub fn enter(cpu: usize) -> Outcome {
    let vcpu = Vcpu::of(cpu);
    vcpu.wish_to_leave.store(false, Relaxed);
    smp::start(cpu, serve);
    if !time::wait_ms(PATIENCE_MS, || vcpu.serves.load(Acquire)) {
        // Its own reason, if it has one.
        smp::finish(cpu)?;
        fail!("CPU {cpu} did not begin to run tasks within 30 s");
    }
    Ok(())
}

/// The work of a vCPU that runs tasks.
fn serve() -> Outcome {
    let vcpu = Vcpu::this();
    cpu::without_interrupts(|| {
        cpu::invalidate_page(TICKS);
        port::attach()?;
        vcpu.serves.store(true, Release);
        vcpu.run(Idle::Halts, || vcpu.wish_to_leave.load(Acquire));
        vcpu.serves.store(false, Release);
        port::detach()
    })
}

/// Ends what [`enter`] began. The task that runs there, and those queued there, go on on `refuge`;
/// what is blocked stays. The vCPU's page is taken back. Not called on that vCPU.
///
/// # Errors
/// If it does not leave within 30 s.
pub fn leave(cpu: usize, refuge: usize) -> Outcome {
    let vcpu = Vcpu::of(cpu);
    vcpu.wish_to_leave.store(true, Release);
    vcpu.kick(cpu);
    smp::finish(cpu)?;
    evacuate(cpu, refuge);
    Ok(())
}

/// Waits until a vCPU that runs tasks has none, and is about to halt.
///
/// # Errors
/// If it still has one after 30 s.
pub fn await_idle(cpu: usize) -> Outcome {
    if !time::wait_ms(PATIENCE_MS, || Vcpu::of(cpu).is_idle()) {
        fail!("CPU {cpu} still runs tasks after 30 s");
    }
    Ok(())
}

/// What [`leave`] is for a vCPU that was [idle](await_idle) when it was ejected as it was, its page
/// still registered: takes note of that.
pub fn lost(cpu: usize, refuge: usize) {
    smp::forget(cpu);
    let vcpu = Vcpu::of(cpu);
    vcpu.serves.store(false, Relaxed);
    vcpu.idle.store(false, Relaxed);
    evacuate(cpu, refuge);
}

fn evacuate(cpu: usize, refuge: usize) {
    while let Some(tid) = Vcpu::of(cpu).first() {
        Task::of(tid).set_state(State::Between);
        move_to(tid, refuge);
    }
}

/// Lets all vCPUs [`leave`]; what can run goes to CPU 0.
///
/// # Errors
/// The first that does not leave within 30 s.
pub fn stop() -> Outcome {
    smp::online()
        .filter(|&cpu| serves(cpu))
        .try_for_each(|cpu| leave(cpu, 0))
}

/// Whether a vCPU runs tasks: between [`enter`] and [`leave`].
#[must_use]
pub fn serves(cpu: usize) -> bool {
    Vcpu::of(cpu).serves.load(Acquire)
}

/// Runs the tasks of CPU 0's queue here, until `until` holds: it is looked at whenever a turn ends.
/// What runs then stays queued here.
pub fn run_here(until: impl Fn() -> bool) {
    cpu::without_interrupts(|| Vcpu::this().run(Idle::Spins, until));
}

/// A new task, queued on `cpu`. Its name, of which the port is told, has 16 bytes at most.
///
/// # Errors
/// If all slots are taken, or the port refuses.
///
/// # Panics
/// If the script is longer than [`MAX_STEPS`].
pub fn spawn(name: &str, cpu: usize, script: &[Step]) -> Result<Tid, Text> {
    let Some(tid) = prepare(script, cpu) else {
        fail!("all {MAX_TASKS} slots are taken");
    };
    let task = Task::of(tid);
    match port::create(cpu, name) {
        Ok(id) => task.port_id.store(id, Relaxed),
        Err(why) => {
            task.set_state(State::Free);
            return Err(why);
        }
    }
    vcpu::queue(tid, cpu);
    Ok(tid)
}

fn prepare(script: &[Step], cpu: usize) -> Option<Tid> {
    let tid = Task::allocate()?;
    let block = Block::of(tid);
    block.prepare(script);
    // SAFETY: the slot was allocated here.
    unsafe { Task::of(tid).start_at(block, 0, cpu) };
    Some(tid)
}

/// Lets a blocked task run on `cpu`; whether it was blocked. If it was not, its next block ends at
/// once.
pub fn wake(tid: Tid, cpu: usize) -> bool {
    let task = Task::of(tid);
    task.token.store(true, SeqCst);
    if !task.change(State::Blocked, State::Between) {
        return false;
    }
    task.token.store(false, Relaxed);
    task.await_off_cpu();
    port::wake(task.port_id.load(Relaxed), cpu);
    vcpu::queue(tid, cpu);
    true
}

/// Puts a task on another vCPU; the turn of a running one is ended for that.
pub fn place(tid: Tid, cpu: usize) {
    match seize(tid, cpu) {
        Seized::Queued => move_to(tid, cpu),
        Seized::Blocked => move_blocked(tid, cpu),
        Seized::Not => {}
    }
}

/// Makes a task exit, wherever it is; the turn of a running one is ended for that.
pub fn kill(tid: Tid) {
    if seize(tid, task::KILLED) != Seized::Not {
        let task = Task::of(tid);
        task.await_off_cpu();
        port::exit(task.port_id.load(Relaxed));
        task.bury();
    }
}

#[derive(PartialEq, Eq)]
enum Seized {
    /// It was taken out of its queue.
    Queued,
    /// It was blocked, and nobody else can wake it.
    Blocked,
    /// It is over, or its vCPU has seen the wish.
    Not,
}

/// Takes a task that does not run; makes the vCPU of one that does see to the wish.
fn seize(tid: Tid, wish: usize) -> Seized {
    let task = Task::of(tid);
    loop {
        match task.state() {
            State::Free | State::Exited => return Seized::Not,
            State::Running => {
                let runs_on = task.cpu.load(Relaxed);
                task.wish.store(wish, Relaxed);
                Vcpu::of(runs_on).kick(runs_on);
                while task.has_wish() && task.state() == State::Running {
                    core::hint::spin_loop();
                }
                // Its turn may have ended by itself before the kick came.
                if task.wish.swap(task::NOWHERE, Relaxed) == task::NOWHERE {
                    return Seized::Not;
                }
            }
            State::Queued if Vcpu::of(task.cpu.load(Relaxed)).unqueue(tid) => {
                task.set_state(State::Between);
                return Seized::Queued;
            }
            State::Blocked if task.change(State::Blocked, State::Between) => {
                return Seized::Blocked;
            }
            _ => core::hint::spin_loop(),
        }
    }
}

/// Queues a task elsewhere that was just taken out of a queue.
fn move_to(tid: Tid, cpu: usize) {
    let task = Task::of(tid);
    task.await_off_cpu();
    port::migrate(task.port_id.load(Relaxed), cpu);
    vcpu::queue(tid, cpu);
}

/// With its state between: a blocked task is on another vCPU, and still blocked.
fn move_blocked(tid: Tid, cpu: usize) {
    let task = Task::of(tid);
    task.await_off_cpu();
    port::migrate(task.port_id.load(Relaxed), cpu);
    task.cpu.store(cpu, Relaxed);
    _ = task.change(State::Between, State::Blocked);
    // Who wanted to wake it meanwhile left the token.
    if task.token.swap(false, SeqCst) {
        wake(tid, cpu);
    }
}

/// Ends the turn of whatever runs on a vCPU: it goes to the end of the queue.
pub fn preempt(cpu: usize) {
    Vcpu::of(cpu).kick(cpu);
}

/// Waits for a task to exit, and frees its slot.
///
/// # Errors
/// If it does not exit within 30 s.
pub fn join(tid: Tid) -> Outcome {
    await_state(tid, State::Exited)?;
    reap(tid);
    Ok(())
}

/// Waits until no task is left, and frees all slots.
///
/// # Errors
/// If one does not exit within 30 s.
pub fn join_all() -> Outcome {
    let all_over = time::wait_ms(PATIENCE_MS, || {
        tasks().all(|tid| state(tid) == State::Exited)
    });
    if !all_over {
        fail!("{} tasks did not exit within 30 s", tasks().count());
    }
    tasks().for_each(reap);
    Ok(())
}

/// Frees the slot of a task that has exited: what its handler wrote down is gone with the next task
/// there.
pub fn reap(tid: Tid) {
    _ = Task::of(tid).change(State::Exited, State::Free);
}

/// The slot is freed by itself when the task exits; so are those of the children that it makes from
/// now on.
pub fn forget(tid: Tid) {
    Task::of(tid).forgotten.store(true, Relaxed);
}

/// Waits until a task is in a state.
///
/// # Errors
/// If it is not within 30 s.
pub fn await_state(tid: Tid, wanted: State) -> Outcome {
    if !time::wait_ms(PATIENCE_MS, || state(tid) == wanted) {
        fail!(
            "task {} is {:?}, not {wanted:?}, after 30 s",
            tid.0,
            state(tid)
        );
    }
    Ok(())
}

/// Waits until a shared word is `least` or more.
///
/// # Errors
/// If it is not within 30 s.
pub fn await_word(number: usize, least: u64) -> Outcome {
    if !time::wait_ms(PATIENCE_MS, || word(number) >= least) {
        fail!("word {number} is {}, not {least}, after 30 s", word(number));
    }
    Ok(())
}

/// What a task does now, or did a moment ago.
#[must_use]
pub fn state(tid: Tid) -> State {
    Task::of(tid).state()
}

/// The vCPU that a task is queued or current on, or was last.
#[must_use]
pub fn cpu_of(tid: Tid) -> usize {
    Task::of(tid).cpu.load(Relaxed)
}

/// The task that is current on a vCPU now, or was a moment ago.
#[must_use]
pub fn current_on(cpu: usize) -> Option<Tid> {
    Vcpu::of(cpu).current()
}

/// The port's number of a task; 0 without a port.
#[must_use]
pub fn port_id(tid: Tid) -> u64 {
    Task::of(tid).port_id.load(Relaxed)
}

/// The slots that are taken now.
pub fn tasks() -> impl Iterator<Item = Tid> {
    Task::all()
        .filter(|(_, task)| task.state() != State::Free)
        .map(|(tid, _)| tid)
}

/// A word that all tasks share.
///
/// # Panics
/// If there is no such word.
#[must_use]
pub fn word(number: usize) -> u64 {
    SHARED.0[number].load(Acquire)
}

/// Sets a word that all tasks share.
///
/// # Panics
/// If there is no such word.
pub fn set_word(number: usize, value: u64) {
    SHARED.0[number].store(value, Release);
}

/// What a vCPU did so far.
#[must_use]
pub fn counts(cpu: usize) -> Counts {
    Vcpu::of(cpu).counts.now()
}

/// Forks that found no free slot, or that the port refused.
#[must_use]
pub fn failed_forks() -> u64 {
    FAILED_FORKS.load(Relaxed)
}

/// In the next `times` returns to user mode on a vCPU for which no trap waits, the kernel stores to
/// the tick page between the check and the IRET: an overflow there is one in the window. To be called
/// while no task runs there.
pub fn store_in_window(cpu: usize, times: u64) {
    Vcpu::of(cpu).window_stores.store(times, Relaxed);
}

/// One store to the tick page at CPL 0, by whoever calls this.
pub fn tick() {
    tick_at(0);
}

/// The same, `offset` bytes from the start of the page.
///
/// # Panics
/// If that is not in the page, or no multiple of four.
pub fn tick_at(offset: u64) {
    assert!(offset < mem::PAGE && offset.is_multiple_of(4));
    // SAFETY: the tick page, which no Rust code has a reference to.
    unsafe { ((TICKS + offset) as *mut u32).write_volatile(1) };
}

/// What a kernel does itself on behalf of tasks, at CPL 0 with interrupts off, as part of a system
/// call: a number says what. It returns how the task goes on.
pub type Service = fn(u64) -> Then;

/// Sets what [`Step::serves`] does.
pub fn set_service(service: Service) {
    syscall::set_service(service);
}

/// What a task's handler is to do beside writing traps down.
pub fn set_handler(tid: Tid, handler: Handler) {
    Block::of(tid).set_handler(handler);
}

/// How many traps a task's handler has seen.
#[must_use]
pub fn logged(tid: Tid) -> u64 {
    Block::of(tid).logged()
}

/// A task's traps, in the order in which they came: the first [`LOG_ROOM`].
pub fn log(tid: Tid) -> impl Iterator<Item = Logged> {
    let block = Block::of(tid);
    let count = crate::index(block.logged()).min(LOG_ROOM);
    (0..count).map(|number| block.entry(number))
}

/// The trap that a task's handler has seen last, if any; whether or not its log had room for it. To
/// be called while no trap can come: in a [`Service`] for the task, or while it does not run.
#[must_use]
pub fn last_trap(tid: Tid) -> Option<Logged> {
    let block = Block::of(tid);
    (block.logged() != 0).then(|| block.record())
}

/// How many traps a task's handler has seen whose data, modulo [`TALLIES`], is this.
///
/// # Panics
/// If `data` is [`TALLIES`] or more.
#[must_use]
pub fn tally(tid: Tid, data: usize) -> u64 {
    Block::of(tid).tally(data)
}
