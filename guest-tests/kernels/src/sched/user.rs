// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What runs in user mode: an interpreter of scripts, and the handler of the tasks' traps.
//!
//! Each task has a [`Block`] of user memory with its script, its stack, and what its handler writes
//! down. The kernel reads it with atomic loads: the task may run meanwhile.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{MAX_TASKS, TICKS, Tid, WORDS};

/// Steps of a script at most.
pub const MAX_STEPS: usize = 24;
/// Traps that a task's log has room for; further ones are only counted.
pub const LOG_ROOM: usize = 48;
/// The numbers below which a trap's data says which tally counts it.
pub const TALLIES: usize = 16;

const STACK_WORDS: usize = 512;
const LOG_WORDS: usize = 8;

/// What a task asks the kernel for, in RAX; the argument is in RDX.
pub(super) mod call {
    pub(crate) const YIELD: u64 = 0;
    pub(crate) const BLOCK: u64 = 1;
    pub(crate) const MIGRATE: u64 = 2;
    pub(crate) const EXIT: u64 = 3;
    pub(crate) const FORK: u64 = 4;
    pub(crate) const SIGRETURN: u64 = 5;
    pub(crate) const TICK: u64 = 6;
    pub(crate) const WAKE: u64 = 7;
    pub(crate) const EXEC: u64 = 8;
    pub(crate) const NOTHING: u64 = 9;
    pub(crate) const SERVE: u64 = 10;
}

/// What the interpreter's table is indexed with.
mod op {
    pub(super) const STORE: u64 = 0;
    pub(super) const CALL: u64 = 1;
    pub(super) const STORE_CALL: u64 = 2;
    pub(super) const AWAIT: u64 = 3;
    pub(super) const ADD: u64 = 4;
    pub(super) const LOOP: u64 = 5;
    pub(super) const COMPUTE: u64 = 6;
    pub(super) const YIELD_UNTIL: u64 = 7;
}

/// One step of a script.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    op: u64,
    a: u64,
    b: u64,
}

impl Step {
    /// `n` stores to the tick page, at its start.
    #[must_use]
    pub const fn store(n: u64) -> Self {
        Self::store_at(0, n)
    }

    /// `n` stores of four bytes to the tick page, `offset` bytes (below 4,096, a multiple of four)
    /// from its start.
    #[must_use]
    pub const fn store_at(offset: u64, n: u64) -> Self {
        assert!(offset < crate::mem::PAGE && offset.is_multiple_of(4));
        Self::new(op::STORE, n, offset)
    }

    /// `n` stores to the tick page, made by the kernel on the task's behalf.
    #[must_use]
    pub const fn kernel_store(n: u64) -> Self {
        Self::call(call::TICK, n)
    }

    /// One store to the tick page, and as the very next instruction the system call of
    /// [`yields`](Self::yields).
    #[must_use]
    pub const fn store_and_yield() -> Self {
        Self::new(op::STORE_CALL, call::YIELD, 0)
    }

    /// One store to the tick page, and as the very next instruction the system call of
    /// [`blocks`](Self::blocks).
    #[must_use]
    pub const fn store_and_block() -> Self {
        Self::new(op::STORE_CALL, call::BLOCK, 0)
    }

    /// One store to the tick page, and as the very next instruction the system call of
    /// [`migrates`](Self::migrates).
    #[must_use]
    pub const fn store_and_migrate(cpu: usize) -> Self {
        Self::new(op::STORE_CALL, call::MIGRATE, cpu as u64)
    }

    /// Lets the next task of the vCPU's queue run; goes on at once if there is none.
    #[must_use]
    pub const fn yields() -> Self {
        Self::call(call::YIELD, 0)
    }

    /// Blocks until the task is woken. A wake that came since the last one counts.
    #[must_use]
    pub const fn blocks() -> Self {
        Self::call(call::BLOCK, 0)
    }

    /// Goes on on another vCPU; yields if it is the same one.
    #[must_use]
    pub const fn migrates(cpu: usize) -> Self {
        Self::call(call::MIGRATE, cpu as u64)
    }

    /// Wakes a task, to run on `cpu`.
    #[must_use]
    pub const fn wakes(task: Tid, cpu: usize) -> Self {
        Self::call(call::WAKE, task.0 as u64 | (cpu as u64) << 32)
    }

    /// Makes a child, which starts at step `at` of a copy of this script, on this vCPU. The parent
    /// goes on with the next step, also if there is no room for a child
    /// ([`failed_forks`](super::failed_forks) tells).
    #[must_use]
    pub const fn forks(at: usize) -> Self {
        Self::call(call::FORK, at as u64)
    }

    /// Runs another program, as far as the port can tell: the script goes on.
    #[must_use]
    pub const fn execs() -> Self {
        Self::call(call::EXEC, 0)
    }

    /// What the kernel's [`Service`](super::Service) does for this number, and how the task goes on
    /// as that says.
    #[must_use]
    pub const fn serves(number: u64) -> Self {
        Self::call(call::SERVE, number)
    }

    /// The task's end. Every script has to come to it, or loop for ever.
    #[must_use]
    pub const fn exits() -> Self {
        Self::call(call::EXIT, 0)
    }

    /// Spins in user mode until the shared word `word` is `least` or more.
    #[must_use]
    pub const fn awaits(word: usize, least: u64) -> Self {
        assert!(word < WORDS);
        Self::new(op::AWAIT, word as u64 * 8, least)
    }

    /// [`yields`](Self::yields) again and again until the shared word `word` is `least` or more.
    #[must_use]
    pub const fn yields_until(word: usize, least: u64) -> Self {
        assert!(word < WORDS);
        Self::new(op::YIELD_UNTIL, word as u64 * 8, least)
    }

    /// Adds one to the shared word `word`.
    #[must_use]
    pub const fn adds(word: usize) -> Self {
        assert!(word < WORDS);
        Self::new(op::ADD, word as u64 * 8, 0)
    }

    /// Goes back (or on) to step `to` until it was here `times` times; then starts to count anew
    /// and goes on with the next step.
    #[must_use]
    pub const fn repeats(to: usize, times: u64) -> Self {
        Self::new(op::LOOP, to as u64, times)
    }

    /// Goes to step `to`, always.
    #[must_use]
    pub const fn goes_to(to: usize) -> Self {
        Self::repeats(to, u64::MAX)
    }

    /// `n` rounds of an empty loop.
    #[must_use]
    pub const fn computes(n: u64) -> Self {
        Self::new(op::COMPUTE, n, 0)
    }

    const fn call(number: u64, argument: u64) -> Self {
        Self::new(op::CALL, number, argument)
    }

    const fn new(op: u64, a: u64, b: u64) -> Self {
        Self { op, a, b }
    }
}

/// What a task's handler does beside writing the trap down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handler {
    /// In how many of the next traps it does that.
    pub rounds: u64,
    /// How often it stores to the tick page.
    pub stores: u64,
    /// What it does then.
    pub then: Then,
}

/// How a [`Handler`] ends, or a task goes on after a [`Service`](super::Service).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// It returns.
    Returns,
    /// It yields first.
    Yields,
    /// It blocks first.
    Blocks,
    /// It goes to another vCPU first; yields if it is the same one.
    Migrates(usize),
}

/// A trap as its task's handler wrote it down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Logged {
    /// The event's id.
    pub event: u64,
    /// The port's id of the task that it is for.
    pub task: u64,
    /// The address stored to.
    pub address: u64,
    /// The event's data.
    pub data: u64,
    /// The instruction that the task goes on with.
    pub rip: u64,
    /// RCX there: in a step of stores, how many are left, this one included.
    pub left: u64,
    /// The vCPU that it came on.
    pub cpu: u64,
    /// Whether it was taken by USER; else it came as an exception.
    pub by_user: bool,
}

impl Logged {
    fn read(words: &[AtomicU64; LOG_WORDS]) -> Self {
        let word = |at: usize| words[at].load(Relaxed);
        Self {
            event: word(0),
            task: word(1),
            address: word(2),
            data: word(3),
            rip: word(4),
            left: word(5),
            cpu: word(6),
            by_user: word(7) != 0,
        }
    }
}

/// A step in user memory, with the rounds of its loop.
#[repr(C)]
struct Placed {
    op: AtomicU64,
    a: AtomicU64,
    b: AtomicU64,
    rounds: AtomicU64,
}

/// A task's user memory.
#[repr(C, align(4096))]
pub(super) struct Block {
    /// The trap that the handler is called for.
    record: [AtomicU64; LOG_WORDS],
    /// Traps handled so far.
    logged: AtomicU64,
    /// In how many of the next traps the handler stores and calls.
    handler_rounds: AtomicU64,
    handler_stores: AtomicU64,
    handler_call: AtomicU64,
    handler_argument: AtomicU64,
    unused: [AtomicU64; 3],
    tallies: [AtomicU64; TALLIES],
    log: [[AtomicU64; LOG_WORDS]; LOG_ROOM],
    script: [Placed; MAX_STEPS],
    stack: UnsafeCell<[u64; STACK_WORDS]>,
}

// SAFETY: the stack is never accessed from here; all else is atomic.
unsafe impl Sync for Block {}

const fn zeros<const N: usize>() -> [AtomicU64; N] {
    [const { AtomicU64::new(0) }; N]
}

impl Block {
    const fn new() -> Self {
        Self {
            record: zeros(),
            logged: AtomicU64::new(0),
            handler_rounds: AtomicU64::new(0),
            handler_stores: AtomicU64::new(0),
            handler_call: AtomicU64::new(0),
            handler_argument: AtomicU64::new(0),
            unused: zeros(),
            tallies: zeros(),
            log: [const { zeros() }; LOG_ROOM],
            script: [const {
                Placed {
                    op: AtomicU64::new(0),
                    a: AtomicU64::new(0),
                    b: AtomicU64::new(0),
                    rounds: AtomicU64::new(0),
                }
            }; MAX_STEPS],
            stack: UnsafeCell::new([0; STACK_WORDS]),
        }
    }
}

#[unsafe(link_section = ".bss.user")]
static BLOCKS: [Block; MAX_TASKS] = [const { Block::new() }; MAX_TASKS];

/// Words that all tasks can reach.
#[unsafe(link_section = ".bss.user")]
pub(super) static SHARED: Shared = Shared(zeros());

#[repr(C, align(4096))]
pub(super) struct Shared(pub(super) [AtomicU64; WORDS]);

// In user mode RDI is the step, RSI the tick page, R14 the shared words, R15 the task's block. The
// handler must leave nothing of what it changes behind: that is what its return restores.
global_asm!(
    r#"
    .section .user.text, "ax", @progbits
    .balign 64
    .global script_start
script_start:
    mov rax, [rdi]
    mov rcx, [rdi + 8]
    mov rdx, [rdi + 16]
    jmp [script_ops + rax * 8]
    .balign 8
script_ops:
    .quad script_store, script_call, script_store_call, script_await, script_add, script_loop, script_compute, script_yield_until

script_store:
    test rcx, rcx
    jz script_next
2:  mov [rsi + rdx], ecx
    .global script_after_store
script_after_store:
    dec rcx
    jnz 2b
script_next:
    add rdi, {step_size}
    jmp script_start

script_call:
    mov rax, rcx
    int {syscall}
    jmp script_next

script_store_call:
    mov rax, rcx
    mov [rsi], eax
    .global script_before_call
script_before_call:
    int {syscall}
    jmp script_next

script_await:
    cmp [r14 + rcx], rdx
    jae script_next
    pause
    jmp script_await

script_add:
    lock inc qword ptr [r14 + rcx]
    jmp script_next

script_loop:
    inc qword ptr [rdi + 24]
    cmp [rdi + 24], rdx
    jb 2f
    mov qword ptr [rdi + 24], 0
    jmp script_next
2:  imul rcx, rcx, {step_size}
    lea rdi, [r15 + rcx + {script}]
    jmp script_start

script_compute:
    test rcx, rcx
    jz script_next
2:  dec rcx
    jnz 2b
    jmp script_next

script_yield_until:
    cmp [r14 + rcx], rdx
    jae script_next
    mov eax, {yields}
    int {syscall}
    jmp script_yield_until

    .balign 64
    .global script_handler
script_handler:
    mov rax, [r15 + {logged}]
    cmp rax, {log_room}
    jae 3f
    imul rax, rax, {log_entry}
    lea rdi, [r15 + rax + {log}]
    lea rsi, [r15 + {record}]
    mov ecx, {log_words}
    cld
    rep movsq
3:  inc qword ptr [r15 + {logged}]
    mov rax, [r15 + {record} + 24]
    and eax, {tallies} - 1
    inc qword ptr [r15 + rax * 8 + {tally}]
    cmp qword ptr [r15 + {handler_rounds}], 0
    je 5f
    dec qword ptr [r15 + {handler_rounds}]
    mov rcx, [r15 + {handler_stores}]
    test rcx, rcx
    jz 4f
    mov esi, {ticks}
2:  mov [rsi], ecx
    dec rcx
    jnz 2b
4:  mov rax, [r15 + {handler_call}]
    mov rdx, [r15 + {handler_argument}]
    int {syscall}
5:  mov eax, {sigreturn}
    xor edx, edx
    xor ecx, ecx
    int {syscall}
    ud2
    "#,
    syscall = const crate::trap::vector::SYSCALL,
    sigreturn = const call::SIGRETURN,
    yields = const call::YIELD,
    step_size = const size_of::<Placed>(),
    script = const offset_of!(Block, script),
    record = const offset_of!(Block, record),
    logged = const offset_of!(Block, logged),
    log = const offset_of!(Block, log),
    log_room = const LOG_ROOM,
    log_entry = const LOG_WORDS * 8,
    log_words = const LOG_WORDS,
    tally = const offset_of!(Block, tallies),
    tallies = const TALLIES,
    handler_rounds = const offset_of!(Block, handler_rounds),
    handler_stores = const offset_of!(Block, handler_stores),
    handler_call = const offset_of!(Block, handler_call),
    handler_argument = const offset_of!(Block, handler_argument),
    ticks = const TICKS,
);

unsafe extern "C" {
    fn script_start();
    fn script_handler();
    fn script_after_store();
    fn script_before_call();
}

/// Where the interpreter starts.
pub(super) fn script_entry() -> u64 {
    script_start as *const () as u64
}

/// Where the handler starts.
pub(super) fn handler_entry() -> u64 {
    script_handler as *const () as u64
}

/// The instruction after the store of [`Step::store`].
#[must_use]
pub fn after_store() -> u64 {
    script_after_store as *const () as u64
}

/// The system call right after the store of [`Step::store_and_yield`] and its like.
#[must_use]
pub fn before_call() -> u64 {
    script_before_call as *const () as u64
}

impl Block {
    pub(super) fn of(task: Tid) -> &'static Self {
        &BLOCKS[task.0]
    }

    /// The address of a step of the script.
    pub(super) fn step(&self, at: usize) -> u64 {
        core::ptr::from_ref(&self.script[at]) as u64
    }

    pub(super) fn address(&self) -> u64 {
        core::ptr::from_ref(self) as u64
    }

    pub(super) fn stack_top(&self) -> u64 {
        self.stack.get() as u64 + 8 * STACK_WORDS as u64
    }

    /// Makes the block a new task's, with this script.
    ///
    /// # Panics
    /// If the script is too long.
    pub(super) fn prepare(&self, script: &[Step]) {
        assert!(script.len() <= MAX_STEPS, "the script is too long");
        self.clear();
        for (placed, step) in self.script.iter().zip(script) {
            placed.op.store(step.op, Relaxed);
            placed.a.store(step.a, Relaxed);
            placed.b.store(step.b, Relaxed);
        }
    }

    /// Makes the block a child's, with the script and the handler of `parent`.
    pub(super) fn inherit(&self, parent: &Self) {
        self.clear();
        for (placed, step) in self.script.iter().zip(&parent.script) {
            placed.op.store(step.op.load(Relaxed), Relaxed);
            placed.a.store(step.a.load(Relaxed), Relaxed);
            placed.b.store(step.b.load(Relaxed), Relaxed);
        }
    }

    fn clear(&self) {
        let single = [&self.logged, &self.handler_rounds];
        let words = single.into_iter().chain(&self.tallies);
        let rounds = self.script.iter().map(|placed| &placed.rounds);
        words.chain(rounds).for_each(|word| word.store(0, Relaxed));
        // A script that runs over its end exits.
        for placed in &self.script {
            placed.op.store(op::CALL, Relaxed);
            placed.a.store(call::EXIT, Relaxed);
        }
    }

    /// What the handler finds next.
    pub(super) fn set_record(&self, record: &Logged) {
        let words = [
            record.event,
            record.task,
            record.address,
            record.data,
            record.rip,
            record.left,
            record.cpu,
            u64::from(record.by_user),
        ];
        for (word, value) in self.record.iter().zip(words) {
            word.store(value, Relaxed);
        }
    }

    pub(super) fn set_handler(&self, handler: Handler) {
        let (number, argument) = match handler.then {
            Then::Returns => (call::NOTHING, 0),
            Then::Yields => (call::YIELD, 0),
            Then::Blocks => (call::BLOCK, 0),
            Then::Migrates(cpu) => (call::MIGRATE, cpu as u64),
        };
        self.handler_stores.store(handler.stores, Relaxed);
        self.handler_call.store(number, Relaxed);
        self.handler_argument.store(argument, Relaxed);
        self.handler_rounds.store(handler.rounds, Relaxed);
    }

    pub(super) fn logged(&self) -> u64 {
        self.logged.load(Relaxed)
    }

    pub(super) fn tally(&self, data: usize) -> u64 {
        self.tallies[data].load(Relaxed)
    }

    pub(super) fn entry(&self, number: usize) -> Logged {
        Logged::read(&self.log[number])
    }

    /// What the handler was called for last, or is about to.
    pub(super) fn record(&self) -> Logged {
        Logged::read(&self.record)
    }
}
