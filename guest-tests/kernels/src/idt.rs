// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupt descriptor tables: the one every CPU starts with, and a spare for tests that move it.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::cpu::{ist, selector};
use crate::trap::{self, vector};

const PRESENT: u64 = 1 << 47;
const INTERRUPT_GATE: u64 = 0xe << 40;
const DPL_USER: u64 = 3 << 45;
const IST_MASK: u64 = 7 << 32;

/// A table of 256 gates.
#[repr(C, align(4096))]
pub struct Idt([[AtomicU64; 2]; 256]);

static MAIN: Idt = Idt::new();
static SPARE: Idt = Idt::new();

/// The table every CPU starts with.
#[must_use]
pub fn main() -> &'static Idt {
    &MAIN
}

/// Another table, a copy of the first as it was at boot.
#[must_use]
pub fn spare() -> &'static Idt {
    &SPARE
}

// One stub a vector: brings the stack to the same layout whether or not the CPU pushed an error
// code. #GP has two: the second is for tests that move the gate. INT 13 arrives at the #GP gate
// without an error code, which shows in the stack's alignment: a 64-bit CPU aligns the stack and
// then pushes five words, or six.
global_asm!(
    r#"
    .section .text.traps, "ax", @progbits
    .balign 4096
    .global trap_stubs
trap_stubs:
    .set i, 0
    .rept 256
    .balign 16
    .if (i == 8) || (i >= 10 && i <= 14) || (i == 17) || (i == 21) || (i == 29) || (i == 30)
    .else
    push 0
    .endif
    push i
    jmp trap_entry
    .set i, i + 1
    .endr

    .balign 64
    .global general_protection_stub
general_protection_stub:
    test spl, 8
    jz 1f
    push 0
1:  push 13
    jmp trap_entry

    .balign 64
    .global other_general_protection_stub
other_general_protection_stub:
    test spl, 8
    jz 1f
    push 0
1:  push 13
    jmp trap_entry
    "#
);

unsafe extern "C" {
    fn trap_stubs();
    fn general_protection_stub();
    fn other_general_protection_stub();
}

/// The address of the code behind the #GP gate.
#[must_use]
pub fn general_protection_entry() -> u64 {
    general_protection_stub as *const () as u64
}

/// The address of code that would do as well behind the #GP gate. It differs from the first in
/// the low 16 bits only.
#[must_use]
pub fn other_general_protection_entry() -> u64 {
    other_general_protection_stub as *const () as u64
}

impl Idt {
    const fn new() -> Self {
        Self([const { [AtomicU64::new(0), AtomicU64::new(0)] }; 256])
    }

    /// Points a gate at other code.
    pub fn set_entry(&self, vector: u8, entry: u64) {
        let [low, high] = &self.0[usize::from(vector)];
        let kept = low.load(Ordering::Relaxed) & 0x0000_ffff_0000_0000;
        let offset = entry & 0xffff | (entry >> 16 & 0xffff) << 48;
        high.store(entry >> 32, Ordering::Relaxed);
        // One store: a CPU that takes the trap meanwhile sees the old gate or the new one.
        low.store(
            kept | offset | selector::KERNEL_CODE << 16,
            Ordering::Release,
        );
    }

    /// Moves a gate to an entry of the interrupt stack table ([`ist`]).
    pub fn set_ist(&self, vector: u8, entry: u8) {
        self.change(vector, IST_MASK, u64::from(entry) << 32);
    }

    /// Lets INT reach a gate from CPL 3, or not.
    pub fn allow_user(&self, vector: u8, allow: bool) {
        self.change(vector, DPL_USER, if allow { DPL_USER } else { 0 });
    }

    fn change(&self, vector: u8, mask: u64, bits: u64) {
        let low = &self.0[usize::from(vector)][0];
        low.store(
            low.load(Ordering::Relaxed) & !mask | bits,
            Ordering::Release,
        );
    }

    fn fill(&self) {
        let stubs = trap_stubs as *const () as u64;
        for v in 0..=u8::MAX {
            self.0[usize::from(v)][0].store(PRESENT | INTERRUPT_GATE, Ordering::Relaxed);
            self.set_entry(v, stubs + 16 * u64::from(v));
        }
        self.set_entry(vector::GENERAL_PROTECTION, general_protection_entry());
        self.set_ist(vector::NMI, ist::NMI);
        self.set_ist(vector::DOUBLE_FAULT, ist::DOUBLE_FAULT);
        self.allow_user(trap::vector::RETURN, true);
    }
}

pub(crate) fn init() {
    MAIN.fill();
    SPARE.fill();
}

/// Makes this CPU use a table.
pub fn load(idt: &'static Idt) {
    let base = core::ptr::from_ref(idt) as u64;
    let limit = 16 * 256 - 1;
    let pointer: [u64; 2] = [base << 16 | limit, base >> 48];
    // SAFETY: the table is filled and lives for ever.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags)) };
}
