// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU that runs tasks: its queue, its loop, and its way into a task and out of it.
//!
//! The loop runs on the CPU's main stack with interrupts off. A task is entered by [`entry`], and
//! comes back when a system call, or a wish of another CPU, ends its turn.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};

use super::counts::Atomic;
use super::port::{self, Leaves};
use super::queue::Queue;
use super::task::{KILLED, NOWHERE, Own, State, Task};
use super::{Tid, entry};
use crate::sync::{Lock, PerCpu};
use crate::trap::{TrapFrame, vector};
use crate::{MAX_CPUS, apic, cpu, session};

const NOBODY: usize = usize::MAX;

/// Why a task's turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Others may run first.
    Yields,
    /// It waits; its state says so already.
    Blocks,
    /// It goes on elsewhere.
    Migrates(usize),
    /// It is over.
    Exits,
}

pub(super) struct Vcpu {
    queue: Lock<Queue>,
    /// The loop runs.
    pub(super) serves: AtomicBool,
    /// It is about to halt.
    pub(super) idle: AtomicBool,
    /// The loop is to end.
    pub(super) wish_to_leave: AtomicBool,
    /// The current task's turn is to end.
    resched: AtomicBool,
    current: AtomicUsize,
    /// How many of the next returns to user mode store in the window.
    pub(super) window_stores: AtomicU64,
    pub(super) counts: Atomic,
    /// The loop's stack while a task runs, else 0.
    waiting: UnsafeCell<u64>,
    end: Cell<End>,
}

// SAFETY: `waiting` and `end` are touched by their own CPU only.
unsafe impl Sync for Vcpu {}

static VCPUS: PerCpu<Vcpu> = PerCpu(
    [const {
        Vcpu {
            queue: Lock::new(Queue::new()),
            serves: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            wish_to_leave: AtomicBool::new(false),
            resched: AtomicBool::new(false),
            current: AtomicUsize::new(NOBODY),
            window_stores: AtomicU64::new(0),
            counts: Atomic::new(),
            waiting: UnsafeCell::new(0),
            end: Cell::new(End::Yields),
        }
    }; MAX_CPUS],
);

/// How a vCPU waits for tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Idle {
    /// Halted, until an IPI.
    Halts,
    /// Awake: what it waits for besides comes without an IPI.
    Spins,
}

impl Vcpu {
    pub(super) fn of(cpu: usize) -> &'static Self {
        &VCPUS[cpu]
    }

    pub(super) fn this() -> &'static Self {
        Self::of(cpu::current())
    }

    pub(super) fn current(&self) -> Option<Tid> {
        let slot = self.current.load(Relaxed);
        (slot != NOBODY).then_some(Tid(slot))
    }

    /// Something that the port's rules exclude.
    pub(super) fn count_odd(&self) {
        self.counts.odd.fetch_add(1, Relaxed);
    }

    /// Makes the current task's turn end soon, or the loop look around.
    pub(super) fn kick(&self, cpu: usize) {
        self.resched.store(true, Release);
        apic::send_ipi(cpu, vector::WAKE);
    }

    /// Takes a task out of the queue; whether it was there.
    pub(super) fn unqueue(&self, task: Tid) -> bool {
        self.queue.with(|queue| queue.remove(task))
    }

    /// The first task of the queue, taken out.
    pub(super) fn first(&self) -> Option<Tid> {
        self.queue.with(Queue::pop)
    }

    fn push(&self, task: Tid) {
        Task::of(task).set_state(State::Queued);
        self.queue.with(|queue| queue.push(task));
    }

    /// Runs tasks until `until` holds; looks whenever a turn ended, and when idle is interrupted.
    /// With interrupts off.
    pub(super) fn run(&self, idle: Idle, until: impl Fn() -> bool) {
        let mut current = None;
        loop {
            let end = self.end.get();
            if let Some(task) = current
                && end == End::Yields
            {
                self.push(task);
            }
            let stop = until();
            let next = if stop { None } else { self.first() };
            if next != current {
                self.switch(current, end, next);
                current = next;
            }
            match next {
                Some(task) => self.turn(task),
                None if stop => return,
                None if idle == Idle::Halts => self.wait(),
                None => look_up(),
            }
        }
    }

    /// Whether it has nothing to do, and the last task has left it for good.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Acquire) && self.queue.with(|queue| queue.is_empty())
    }

    /// Halts unless there is something to do.
    fn wait(&self) {
        self.idle.store(true, Release);
        // Who queues a task does that, then looks whether we are idle; we do it the other way
        // round. An IPI that comes from here on ends the halt.
        fence(SeqCst);
        let empty = self.queue.with(|queue| queue.is_empty());
        // What is asked for by a kick is seen here, or its IPI ends the halt.
        if empty && !self.resched.swap(false, Acquire) {
            cpu::halt_once();
        }
        self.idle.store(false, Relaxed);
    }

    /// The vCPU goes from one task, or none, to another.
    fn switch(&self, prev: Option<Tid>, end: End, next: Option<Tid>) {
        let id = |task: Option<Tid>| task.map_or(0, |task| Task::of(task).port_id.load(Relaxed));
        let leaves = match end {
            End::Blocks => Leaves::Blocked,
            End::Yields | End::Migrates(_) | End::Exits => Leaves::Queued,
        };
        self.counts.switches.fetch_add(1, Relaxed);
        port::switch(id(prev), leaves, id(next));
        self.current
            .store(next.map_or(NOBODY, |task| task.0), Relaxed);
        let Some(tid) = prev else {
            return;
        };
        let task = Task::of(tid);
        match end {
            End::Yields | End::Blocks => task.on_cpu.store(false, Release),
            End::Migrates(cpu) => {
                port::migrate(id(prev), cpu);
                task.cpu.store(cpu, Relaxed);
                task.grant(cpu);
                task.set_state(State::Between);
                task.on_cpu.store(false, Release);
                queue(tid, cpu);
            }
            End::Exits => {
                task.on_cpu.store(false, Release);
                task.bury();
            }
        }
    }

    /// Lets the current task run until its turn ends.
    fn turn(&self, tid: Tid) {
        let task = Task::of(tid);
        task.on_cpu.store(true, Relaxed);
        task.set_state(State::Running);
        let frame = (session::trap_stack() as *mut TrapFrame).wrapping_sub(1);
        // SAFETY: this vCPU runs the task; nothing is on its trap stack, for it is in the kernel
        // by its own wish. `waiting` is this CPU's.
        unsafe {
            let Own { frame: saved, .. } = task.own();
            frame.write(*saved);
            prepare_return(self, &mut *frame);
            entry::enter(frame, self.waiting.get());
        }
    }

    /// Ends the current task's turn, in a trap of its own.
    pub(super) fn end_turn(&self, frame: &TrapFrame, end: End) -> ! {
        let tid = self.current().expect("a task runs");
        // SAFETY: this vCPU runs the task, and `turn` waits for this.
        unsafe {
            Task::of(tid).own().frame = *frame;
            self.end.set(end);
            entry::leave(self.waiting.get().replace(0))
        }
    }

    fn runs_task(&self) -> bool {
        // SAFETY: this CPU's own.
        unsafe { *self.waiting.get() != 0 }
    }
}

/// Lets in what has to be served meanwhile.
fn look_up() {
    cpu::enable_interrupts();
    core::hint::spin_loop();
    cpu::disable_interrupts();
}

/// Puts a task in a vCPU's queue, which nobody else has or runs.
pub(super) fn queue(tid: Tid, cpu: usize) {
    let vcpu = Vcpu::of(cpu);
    Task::of(tid).cpu.store(cpu, Relaxed);
    vcpu.push(tid);
    fence(SeqCst);
    if vcpu.idle.load(Relaxed) && cpu != cpu::current() {
        apic::send_ipi(cpu, vector::WAKE);
    }
}

/// Puts into the frame what `task_return` looks for, and into the page where it will look.
pub(super) fn prepare_return(vcpu: &Vcpu, frame: &mut TrapFrame) {
    let (page, wanted) = (port::page(), &vcpu.window_stores);
    // A check that finds a trap does not come to the store.
    let store = !page.trap_waits() && wanted.load(Relaxed) != 0;
    if store {
        wanted.fetch_sub(1, Relaxed);
    }
    page.set_return_window(entry::window(store));
    frame.vector = core::ptr::from_ref(page) as u64;
    frame.error = u64::from(store);
}

/// At the end of every trap: whether the way back is by `task_return`. Ends the current task's turn
/// if another CPU wants that.
pub(crate) fn returns_to_task(frame: &mut TrapFrame) -> bool {
    if !frame.is_user() {
        // After an NMI in the window: a trap may wait now that did not at the check.
        frame.rip = port::page().restart_rip(frame.rip);
        return false;
    }
    let vcpu = Vcpu::this();
    if !vcpu.runs_task() {
        return false;
    }
    let may_end = frame.vector() != vector::NMI;
    if may_end && vcpu.resched.swap(false, Acquire) {
        let end = vcpu.wish_of_current().unwrap_or(End::Yields);
        vcpu.end_turn(frame, end);
    }
    prepare_return(vcpu, frame);
    true
}

impl Vcpu {
    /// What somebody wants of the current task.
    pub(super) fn wish_of_current(&self) -> Option<End> {
        let task = Task::of(self.current()?);
        match task.wish.load(Relaxed) {
            NOWHERE => None,
            KILLED => {
                port::exit(task.port_id.load(Relaxed));
                Some(End::Exits)
            }
            cpu if cpu == cpu::current() => {
                task.wish.store(NOWHERE, Relaxed);
                Some(End::Yields)
            }
            cpu => Some(End::Migrates(cpu)),
        }
    }
}
