// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tasks as the kernel sees them. In the kernel a task is nothing but the registers that it goes on
//! with: system calls end or switch before they return, so tasks need no kernel stacks.

use core::cell::UnsafeCell;
use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

use super::user::{self, Block};
use super::{MAX_TASKS, TICKS};
use crate::trap::TrapFrame;

/// A task's slot. It is another task's once it was [`reap`](super::reap)ed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tid(pub usize);

/// What a task does now.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nobody has this slot.
    Free,
    /// It is being made, woken or moved.
    Between,
    /// It is in a vCPU's queue.
    Queued,
    /// It is a vCPU's current task.
    Running,
    /// It waits to be woken.
    Blocked,
    /// It is over, and waits to be reaped.
    Exited,
}

impl State {
    const ALL: [Self; 6] = [
        Self::Free,
        Self::Between,
        Self::Queued,
        Self::Running,
        Self::Blocked,
        Self::Exited,
    ];
}

/// `wish` of a task that nobody wants elsewhere.
pub(super) const NOWHERE: usize = usize::MAX;
/// `wish` of a task that is to exit.
pub(super) const KILLED: usize = usize::MAX - 1;

pub(super) struct Task {
    state: AtomicU8,
    /// The vCPU that it is queued or current on, or was last.
    pub(super) cpu: AtomicUsize,
    /// Where it is to go when its vCPU looks.
    pub(super) wish: AtomicUsize,
    /// A wake came while it was not blocked.
    pub(super) token: AtomicBool,
    /// A vCPU still has to announce that it left: nobody else runs, wakes or moves it meanwhile.
    pub(super) on_cpu: AtomicBool,
    /// Its slot is free as soon as it exits.
    pub(super) forgotten: AtomicBool,
    /// The port's number for it, 0 without a port.
    pub(super) port_id: AtomicU64,
    /// The handler of a trap runs.
    pub(super) in_handler: AtomicBool,
    own: UnsafeCell<Own>,
}

/// What belongs to the vCPU that runs the task, or to whoever makes it.
#[derive(Clone, Copy)]
pub(super) struct Own {
    /// The registers that it goes on with.
    pub(super) frame: TrapFrame,
    /// Those that its handler interrupted.
    pub(super) interrupted: TrapFrame,
}

// SAFETY: `own` has one owner at a time: see `own`.
unsafe impl Sync for Task {}

static TASKS: [Task; MAX_TASKS] = [const { Task::new() }; MAX_TASKS];

impl Task {
    const fn new() -> Self {
        // SAFETY: plain integers, for which all zeros is a value.
        let own = unsafe { core::mem::zeroed::<Own>() };
        Self {
            state: AtomicU8::new(State::Free as u8),
            cpu: AtomicUsize::new(0),
            wish: AtomicUsize::new(NOWHERE),
            token: AtomicBool::new(false),
            on_cpu: AtomicBool::new(false),
            forgotten: AtomicBool::new(false),
            port_id: AtomicU64::new(0),
            in_handler: AtomicBool::new(false),
            own: UnsafeCell::new(own),
        }
    }

    pub(super) fn of(task: Tid) -> &'static Self {
        &TASKS[task.0]
    }

    pub(super) fn all() -> impl Iterator<Item = (Tid, &'static Self)> {
        TASKS
            .iter()
            .enumerate()
            .map(|(slot, task)| (Tid(slot), task))
    }

    /// A free slot, which is the caller's to fill.
    pub(super) fn allocate() -> Option<Tid> {
        Self::all()
            .find(|(_, task)| task.change(State::Free, State::Between))
            .map(|(slot, _)| slot)
    }

    pub(super) fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Acquire))]
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Release);
    }

    /// From one state to another, if it is in the first.
    pub(super) fn change(&self, from: State, to: State) -> bool {
        self.state
            .compare_exchange(from as u8, to as u8, SeqCst, Acquire)
            .is_ok()
    }

    pub(super) fn has_wish(&self) -> bool {
        self.wish.load(Acquire) != NOWHERE
    }

    /// It has gone to `wish`, which may be what was wanted.
    pub(super) fn grant(&self, wish: usize) {
        _ = self.wish.compare_exchange(wish, NOWHERE, Release, Relaxed);
    }

    /// The task is over.
    pub(super) fn bury(&self) {
        let forgotten = self.forgotten.load(Relaxed);
        self.set_state(if forgotten {
            State::Free
        } else {
            State::Exited
        });
    }

    /// Waits until its last vCPU has announced that it left. That vCPU waits for nobody meanwhile.
    pub(super) fn await_off_cpu(&self) {
        while self.on_cpu.load(Acquire) {
            core::hint::spin_loop();
        }
    }

    /// # Safety
    /// Only for the vCPU that runs the task, or whoever turned its state into
    /// [`Between`](State::Between); one reference at a time.
    #[expect(clippy::mut_from_ref, reason = "the state says whose it is")]
    pub(super) unsafe fn own(&self) -> &mut Own {
        // SAFETY: the caller's.
        unsafe { &mut *self.own.get() }
    }

    /// Makes the task new, to start at a step of its script.
    ///
    /// # Safety
    /// As for [`own`](Self::own).
    pub(super) unsafe fn start_at(&self, block: &Block, step: usize, cpu: usize) {
        let mut frame = TrapFrame::user(user::script_entry(), block.stack_top());
        frame.rdi = block.step(step);
        frame.rsi = TICKS;
        frame.r14 = user::SHARED.0.as_ptr() as u64;
        frame.r15 = block.address();
        // SAFETY: the caller's.
        unsafe { self.own() }.frame = frame;
        self.cpu.store(cpu, Relaxed);
        self.wish.store(NOWHERE, Relaxed);
        self.token.store(false, Relaxed);
        self.in_handler.store(false, Relaxed);
        self.forgotten.store(false, Relaxed);
        self.port_id.store(0, Relaxed);
    }
}
