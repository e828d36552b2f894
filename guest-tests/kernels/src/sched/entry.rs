// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The way to user mode, and its last check (U4 of the port's manual).
//!
//! Every return to a task's user mode leads through `task_return`, also that of an interrupt or an
//! NMI. There the frame's `vector` is the address of the vCPU's page, and `error` is not 0 if a test
//! wants a store to the tick page between the check and the IRET.

use core::arch::global_asm;
use core::ops::Range;

use perf_port_guest::return_to_user;

use crate::trap::TrapFrame;

// Behind the last POP all registers but RAX are the task's. RSP is at the frame's RIP, so what is
// below it is the frame's still, and nothing overwrites it: interrupts are off, and NMIs have a
// stack of their own. The second window is the first with the test's store: it starts over
// harmlessly as well, since the wish is gone before it is granted.
global_asm!(
    r#"
    .section .text.traps, "ax", @progbits
    // rdi: where the frame is; rsi: where to put the waiting stack
    .global task_enter
task_enter:
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
    .global task_return
task_return:
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    add rsp, 24
    mov rax, [rsp - 8]
    test rax, rax
    mov rax, [rsp - 24]
    mov [rsp - 8], rax
    jnz task_return_by_store
    "#,
    return_to_user!("task_window", "task_window_end", "task_take"),
    r#"
task_return_by_store:
    mov qword ptr [rsp - 24], {ticks}
    .global task_store_window
task_store_window:
    mov rax, [rsp - 16]
    cmp dword ptr [rax + {trap}], {waits}
    mov rax, [rsp - 8]
    je task_take
    mov rax, [rsp - 24]
    test rax, rax
    jz 1f
    mov qword ptr [rsp - 24], 0
    mov [rax], eax
1:  mov rax, [rsp - 8]
    iretq
    .global task_store_window_end
task_store_window_end:
task_take:
    sub rsp, 24
    mov [rsp], rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    mov rbp, rsp
    and rsp, -16
    call {take}
    mov rsp, rbp
    jmp task_return
    "#,
    trap = const 0x44,
    waits = const 1,
    ticks = const super::TICKS,
    take = sym super::signal::take_by_user,
);

unsafe extern "C" {
    fn task_window();
    fn task_window_end();
    fn task_store_window();
    fn task_store_window_end();
    fn task_enter(frame: *const TrapFrame, waiting: *mut u64);
    fn session_leave(waiting: u64) -> !;
}

type Label = unsafe extern "C" fn();

/// The addresses from the last check to the IRET, without or with a store in between.
pub(super) fn window(with_store: bool) -> Range<u64> {
    let (start, end): (Label, Label) = if with_store {
        (task_store_window, task_store_window_end)
    } else {
        (task_window, task_window_end)
    };
    start as *const () as u64..end as *const () as u64
}

/// Enters user mode; returns when `leave` is called with what `waiting` then says.
///
/// # Safety
/// `frame` is on this CPU's trap stack, with nothing in use below it, and of user mode; `waiting` is
/// this CPU's.
pub(super) unsafe fn enter(frame: *const TrapFrame, waiting: *mut u64) {
    // SAFETY: the caller's. The preserved registers come back by `leave`.
    unsafe { task_enter(frame, waiting) };
}

/// Ends `enter`, from a trap.
///
/// # Safety
/// `waiting` is what `enter` put there on this CPU, and it has not returned yet.
pub(super) unsafe fn leave(waiting: u64) -> ! {
    // SAFETY: the caller's; both ways push the same registers.
    unsafe { session_leave(waiting) }
}
