// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! User mode that reaches for the port and the tick page.

use core::arch::global_asm;

use rt::cpu::rflags;
use rt::random::Random;
use rt::sched::TICKS;
use rt::session;
use rt::trap::TrapFrame;

use crate::attack::{COMMAND, PAGE};

global_asm!(
    r#"
    .section .user.text, "ax", @progbits
    .balign 64
    .global hostile_port, hostile_ticks
hostile_port:                       // r8 rounds; dx the port; r9 what is written
    mov eax, r9d
    out dx, eax
    in eax, dx
    out dx, al
    in ax, dx
    dec r8
    jnz hostile_port
    int 0x80
hostile_ticks:                      // r8 rounds; rsi the tick page
    mov [rsi], eax
    mov [rsi + 6], ax
    mov [rsi + 11], al
    mov [rsi + 16], rax
    mov [rsi + 33], eax
    mov [rsi + 4092], eax
    mov rax, [rsi + 8]
    xchg [rsi + 64], ecx
    dec r8
    jnz hostile_ticks
    int 0x80
    "#
);

unsafe extern "C" {
    fn hostile_port();
    fn hostile_ticks();
}

/// I/O privilege level 3: user mode may do I/O.
const IOPL_3: u64 = 3 << 12;

fn start(code: unsafe extern "C" fn(), random: &mut Random) -> TrapFrame {
    let mut frame = TrapFrame::user(code as *const () as u64, session::user_stack());
    frame.r8 = 1 + random.below(8);
    // With interrupts off, a trap has to wait.
    if random.below(4) == 0 {
        frame.rflags &= !rflags::IF;
    }
    frame
}

/// Uses the port's registers, as far as the CPU lets it.
pub(crate) fn port(random: &mut Random) {
    let mut frame = start(hostile_port, random);
    frame.rdx = u64::from(if random.below(2) == 0 { PAGE } else { COMMAND });
    // Not a page of the kernel's: nothing, or what is no RAM.
    frame.r9 = [0, 0xfeb00, u64::from(u32::MAX)][rt::index(random.below(3))];
    if random.below(4) > 0 {
        frame.rflags |= IOPL_3;
    }
    _ = session::run(&frame);
}

/// Stores to the tick page, in good ways and bad ones.
pub(crate) fn ticks(random: &mut Random) {
    let mut frame = start(hostile_ticks, random);
    frame.rsi = TICKS;
    _ = session::run(&frame);
}
