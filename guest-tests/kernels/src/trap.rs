// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What happens on a trap or an interrupt. In this order:
//!
//! 1. a #GP at an instruction of [`crate::msr`] that is prepared for it is returned as an error;
//! 2. the vector's hook, if a kernel set one;
//! 3. an interrupt ends there, with an EOI; an exception ends the running [`crate::session`];
//! 4. without one, the kernel panics.
//!
//! What returns to the user mode of a task of [`crate::sched`] does so by the scheduler's own way.

use core::arch::global_asm;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::cpu::{rflags, selector};
use crate::{apic, sched, session};

/// Vectors with a fixed meaning here.
pub mod vector {
    /// #DB.
    pub const DEBUG: u8 = 1;
    /// NMI.
    pub const NMI: u8 = 2;
    /// #DF.
    pub const DOUBLE_FAULT: u8 = 8;
    /// #UD.
    pub const INVALID_OPCODE: u8 = 6;
    /// #GP.
    pub const GENERAL_PROTECTION: u8 = 13;
    /// #PF.
    pub const PAGE_FAULT: u8 = 14;
    /// A task's trap, from the perf port.
    pub const PERF_TRAP: u8 = 28;
    /// INT 0x80 ends a session; open to CPL 3.
    pub const RETURN: u8 = 0x80;
    /// INT 0x81 is a task's system call ([`crate::sched`]).
    pub const SYSCALL: u8 = 0x81;
    /// The CPU hotplug controller.
    pub const HOTPLUG: u8 = 0xd0;
    /// Free for tests: PMIs as a fixed vector.
    pub const PMI: u8 = 0xe0;
    /// The local timer.
    pub const TIMER: u8 = 0xe1;
    /// Wakes a CPU that waits for work.
    pub const WAKE: u8 = 0xf0;
    /// The local APIC's spurious interrupt, which takes no EOI.
    pub const SPURIOUS: u8 = 0xff;
}

/// The registers of the interrupted code, as the entry code pushed them; also the registers that
/// a [`crate::session`] starts with.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the registers' own names")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    /// Ignored at the start of a session.
    pub vector: u64,
    /// 0 where the CPU pushes none.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl TrapFrame {
    /// A start at CPL 3, in 64-bit code, with interrupts enabled.
    #[must_use]
    pub fn user(rip: u64, rsp: u64) -> Self {
        let rflags = rflags::FIXED | rflags::IF;
        let (cs, ss) = (selector::USER_CODE, selector::USER_DATA);
        Self {
            rip,
            rsp,
            rflags,
            cs,
            ss,
            ..Self::default()
        }
    }

    /// A start at CPL 0 with interrupts enabled.
    #[must_use]
    pub fn kernel(rip: u64, rsp: u64) -> Self {
        let rflags = rflags::FIXED | rflags::IF;
        let (cs, ss) = (selector::KERNEL_CODE, selector::KERNEL_DATA);
        Self {
            rip,
            rsp,
            rflags,
            cs,
            ss,
            ..Self::default()
        }
    }

    /// Gives all general registers but RSP values that tell them apart.
    pub fn set_patterns(&mut self) {
        let registers = [
            &mut self.rax,
            &mut self.rbx,
            &mut self.rcx,
            &mut self.rdx,
            &mut self.rsi,
            &mut self.rdi,
            &mut self.rbp,
            &mut self.r8,
            &mut self.r9,
            &mut self.r10,
            &mut self.r11,
            &mut self.r12,
            &mut self.r13,
            &mut self.r14,
            &mut self.r15,
        ];
        for (number, register) in (1..).zip(registers) {
            *register = 0x8765_4321_0fed_cba9_u64.wrapping_mul(2 * number + 1);
        }
    }

    /// Whether this is code at CPL 3.
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.cs & 3 == 3
    }

    /// The vector as a number of a gate.
    #[must_use]
    pub fn vector(&self) -> u8 {
        self.vector.to_le_bytes()[0]
    }
}

/// What a hook decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Return to the interrupted code, with the frame as the hook left it.
    Resume,
    /// Not the hook's: on as if there were none.
    Pass,
}

/// Runs on a trap's own stack, with interrupts disabled.
pub type Hook = fn(&mut TrapFrame) -> Verdict;

static HOOKS: [AtomicPtr<()>; 256] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];

/// Sets a vector's hook, for all CPUs.
pub fn hook(vector: u8, hook: Hook) {
    HOOKS[usize::from(vector)].store(hook as *mut (), Ordering::Release);
}

/// Removes a vector's hook.
pub fn unhook(vector: u8) {
    HOOKS[usize::from(vector)].store(core::ptr::null_mut(), Ordering::Release);
}

global_asm!(
    r#"
    .section .text.traps, "ax", @progbits
    .global trap_entry
trap_entry:
    push rax
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
    and rsp, -16        // aligned already, unless the frame is forged
    call {dispatch}
    mov rsp, rbp
    test al, al
    jnz task_return
    .global trap_return
trap_return:
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
    pop rax
    add rsp, 16
    iretq
    "#,
    dispatch = sym dispatch,
);

/// An instruction that may fault, and where to go on then.
#[repr(C)]
struct Fixup {
    instruction: u64,
    landing: u64,
}

unsafe extern "C" {
    static __fixups_start: Fixup;
    static __fixups_end: Fixup;
}

/// Set in R8 of a prepared instruction that faulted, above the error code.
pub(crate) const FAULTED: u64 = 1 << 32;

fn fixups() -> &'static [Fixup] {
    let start = &raw const __fixups_start;
    let end = &raw const __fixups_end;
    // SAFETY: the linker script puts all entries between the two.
    unsafe {
        let count = end.offset_from(start).unsigned_abs();
        core::slice::from_raw_parts(start, count)
    }
}

/// Whether the way back is that of a task of [`crate::sched`].
extern "C" fn dispatch(frame: &mut TrapFrame) -> bool {
    handle(frame);
    sched::returns_to_task(frame)
}

fn handle(frame: &mut TrapFrame) {
    let number = frame.vector();
    if number == vector::GENERAL_PROTECTION
        && !frame.is_user()
        && let Some(fixup) = fixups().iter().find(|f| f.instruction == frame.rip)
    {
        frame.r8 = FAULTED | frame.error;
        frame.rip = fixup.landing;
        return;
    }
    let hook = HOOKS[usize::from(number)].load(Ordering::Acquire);
    let verdict = if hook.is_null() {
        Verdict::Pass
    } else {
        // SAFETY: only `hook` stores here, and stores a `Hook`.
        let hook = unsafe { core::mem::transmute::<*mut (), Hook>(hook) };
        hook(frame)
    };
    let is_instruction = matches!(number, vector::RETURN | vector::SYSCALL);
    let is_interrupt = number >= 32 && !is_instruction;
    if is_interrupt && number != vector::SPURIOUS {
        apic::end_of_interrupt();
    }
    if verdict == Verdict::Resume || number == vector::SPURIOUS {
        return;
    }
    if !is_interrupt && number != vector::NMI {
        session::end_if_running(frame);
    }
    panic!(
        "unexpected vector {} (error {:#x}) at CPL {}, rip {:#x}, rsp {:#x}, rflags {:#x}, cr2 {:#x}",
        number,
        frame.error,
        frame.cs & 3,
        frame.rip,
        frame.rsp,
        frame.rflags,
        crate::cpu::cr2()
    );
}
