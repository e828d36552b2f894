// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs code with exactly the registers given, at CPL 0 or CPL 3, until an exception without a
//! hook, or INT 0x80, ends it; then all registers at that trap are the result.

use core::arch::global_asm;
use core::cell::UnsafeCell;

use crate::percpu::{self, Stacks};
use crate::sync::PerCpu;
use crate::trap::TrapFrame;
use crate::{MAX_CPUS, cpu};

struct Session {
    /// The stack of the code that waits for the session's end, or 0 if none runs.
    waiting: UnsafeCell<u64>,
    result: UnsafeCell<TrapFrame>,
}

// SAFETY: each CPU uses its own only.
unsafe impl Sync for Session {}

static SESSIONS: PerCpu<Session> = PerCpu(
    [const {
        // SAFETY: plain integers, for which all zeros is a value.
        let frame = unsafe { core::mem::zeroed::<TrapFrame>() };
        Session {
            waiting: UnsafeCell::new(0),
            result: UnsafeCell::new(frame),
        }
    }; MAX_CPUS],
);

/// Stacks for code at CPL 0; a trap there uses the same stack.
static KERNEL_STACKS: Stacks = Stacks::new();

#[repr(C, align(4096))]
struct UserStacks(UnsafeCell<[[u8; percpu::STACK_SIZE]; MAX_CPUS]>);
// SAFETY: only its address is used here.
unsafe impl Sync for UserStacks {}

#[unsafe(link_section = ".bss.user")]
static USER_STACKS: UserStacks = UserStacks(UnsafeCell::new([[0; percpu::STACK_SIZE]; MAX_CPUS]));

/// The top of this CPU's stack for sessions at CPL 0.
#[must_use]
pub fn kernel_stack() -> u64 {
    KERNEL_STACKS.top(cpu::current())
}

/// The top of this CPU's stack for sessions at CPL 3.
#[must_use]
pub fn user_stack() -> u64 {
    user_stack_of(cpu::current())
}

/// The top of a CPU's stack for sessions at CPL 3.
#[must_use]
pub fn user_stack_of(cpu: usize) -> u64 {
    let top = USER_STACKS.0.get() as usize + (cpu + 1) * percpu::STACK_SIZE;
    top as u64
}

/// Where this CPU puts the frame of a trap from CPL 3 (its end; it grows down).
#[must_use]
pub fn trap_stack() -> u64 {
    percpu::trap_stack_top()
}

/// Where a trap puts its frame whose gate names this entry of the interrupt stack table.
#[must_use]
pub fn ist_stack(entry: u8) -> u64 {
    percpu::ist_stack_top(entry)
}

global_asm!(
    r#"
    .section .text.traps, "ax", @progbits
    // rdi: the frame to start with; rsi: where to put the waiting stack
    .global session_enter
session_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    pushfq
    cli
    mov [rsi], rsp
    mov rsp, rdi
    jmp trap_return

    // rdi: the waiting stack
    .global session_leave
session_leave:
    mov rsp, rdi
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
    "#
);

unsafe extern "C" {
    fn session_enter(frame: *const TrapFrame, waiting: *mut u64);
    fn session_leave(waiting: u64) -> !;
}

/// Runs from `start` until a trap and returns the registers at that trap.
///
/// What runs at CPL 0 must keep to its own stack, and end.
#[must_use]
pub fn run(start: &TrapFrame) -> TrapFrame {
    let session: &Session = &SESSIONS;
    // SAFETY: this CPU's own session. The code that runs ends in a trap, whose end comes back
    // here with the stack and the preserved registers as they were.
    unsafe {
        assert!(*session.waiting.get() == 0, "a session inside a session");
        session_enter(start, session.waiting.get());
        *session.result.get()
    }
}

/// Ends the running session, if there is one, with this trap.
pub(crate) fn end_if_running(frame: &TrapFrame) {
    let session: &Session = &SESSIONS;
    // SAFETY: this CPU's own session; the waiting stack was left by `session_enter`.
    unsafe {
        let waiting = session.waiting.get().replace(0);
        if waiting != 0 {
            session.result.get().write(*frame);
            session_leave(waiting);
        }
    }
}
