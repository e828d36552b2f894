// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Instructions and control registers.

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;

pub use crate::percpu::{current, ist};

/// Segment selectors of the GDT.
pub mod selector {
    /// 64-bit code at CPL 0.
    pub const KERNEL_CODE: u64 = 0x08;
    /// Data and stack at CPL 0.
    pub const KERNEL_DATA: u64 = 0x10;
    /// 32-bit (compatibility mode) code at CPL 3.
    pub const USER_CODE32: u64 = 0x1b;
    /// Data and stack at CPL 3.
    pub const USER_DATA: u64 = 0x23;
    /// 64-bit code at CPL 3.
    pub const USER_CODE: u64 = 0x2b;
}

/// RFLAGS bits.
pub mod rflags {
    /// Always set.
    pub const FIXED: u64 = 1 << 1;
    /// Carry, parity, adjust, zero, sign and overflow.
    pub const ARITHMETIC: u64 = 0x8d5;
    /// Trap: single step.
    pub const TF: u64 = 1 << 8;
    /// Interrupts enabled.
    pub const IF: u64 = 1 << 9;
    /// String direction.
    pub const DF: u64 = 1 << 10;
    /// Both bits of the I/O privilege level.
    pub const IOPL: u64 = 3 << 12;
    /// Nested task.
    pub const NT: u64 = 1 << 14;
    /// Resume.
    pub const RF: u64 = 1 << 16;
    /// Alignment check.
    pub const AC: u64 = 1 << 18;
    /// CPUID can be toggled.
    pub const ID: u64 = 1 << 21;
}

/// DR6.BS: a single step.
pub const DR6_SINGLE_STEP: u64 = 1 << 14;
const CR4_PCE: u64 = 1 << 8;

/// What CPUID answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cpuid {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// CPUID of a leaf and sub-leaf.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> Cpuid {
    let r = __cpuid_count(leaf, subleaf);
    Cpuid {
        eax: r.eax,
        ebx: r.ebx,
        ecx: r.ecx,
        edx: r.edx,
    }
}

/// How many CPUs the machine has, or can have where they come and go ([`crate::hotplug`]): leaf
/// 0xB's logical processors, or leaf 1's without that leaf.
#[must_use]
pub fn count() -> usize {
    let leaf_b = if cpuid(0, 0).eax >= 0xb {
        cpuid(0xb, 1).ebx & 0xffff
    } else {
        0
    };
    let leaf_1 = cpuid(1, 0).ebx >> 16 & 0xff;
    let count = if leaf_b != 0 { leaf_b } else { leaf_1 };
    crate::index(u64::from(count.max(1)))
}

/// Lets maskable interrupts in.
pub fn enable_interrupts() {
    // SAFETY: the gates are set up before anything calls this.
    unsafe { asm!("sti", options(nostack)) };
}

/// Keeps maskable interrupts out.
pub fn disable_interrupts() {
    // SAFETY: only delays interrupts.
    unsafe { asm!("cli", options(nostack)) };
}

/// RFLAGS now.
#[must_use]
pub fn flags() -> u64 {
    let flags: u64;
    // SAFETY: pushes and pops one value.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags) };
    flags
}

/// Runs `f` with maskable interrupts kept out.
pub fn without_interrupts<T>(f: impl FnOnce() -> T) -> T {
    let were_enabled = flags() & rflags::IF != 0;
    disable_interrupts();
    let result = f();
    if were_enabled {
        enable_interrupts();
    }
    result
}

/// Halts until the next interrupt, which may already be pending. Called with interrupts
/// disabled; returns with interrupts disabled.
pub fn halt_once() {
    // SAFETY: STI holds interrupts off for one instruction, so none is taken before HLT.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Halts for good: nothing but an NMI, INIT or the host gets this CPU back.
pub fn halt_forever() -> ! {
    loop {
        // SAFETY: stopping is what is asked for.
        unsafe { asm!("cli", "hlt", options(nostack)) };
    }
}

/// Writes a byte to a port.
///
/// # Safety
/// The device behind the port must not do DMA or otherwise change memory.
pub unsafe fn out8(port: u16, value: u8) {
    // SAFETY: the caller's.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) };
}

/// Reads a byte from a port.
///
/// # Safety
/// The device behind the port must not do DMA or otherwise change memory.
#[must_use]
pub unsafe fn in8(port: u16) -> u8 {
    let value: u8;
    // SAFETY: the caller's.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags)) };
    value
}

fn cr4() -> u64 {
    let value: u64;
    // SAFETY: a read without side effects.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Sets or clears CR4.PCE: whether CPL 3 may execute RDPMC.
pub fn allow_user_rdpmc(allow: bool) {
    let value = if allow {
        cr4() | CR4_PCE
    } else {
        cr4() & !CR4_PCE
    };
    // SAFETY: PCE changes nothing about memory.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// The faulting address of the last page fault.
#[must_use]
pub fn cr2() -> u64 {
    let value: u64;
    // SAFETY: a read without side effects.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// DR6, which is then cleared to its reset value.
#[must_use]
pub fn take_dr6() -> u64 {
    let value: u64;
    // SAFETY: DR6 only reports.
    unsafe {
        asm!("mov {0}, dr6", "mov dr6, {1}", out(reg) value, in(reg) 0xffff_0ff0_u64,
            options(nomem, nostack, preserves_flags));
    }
    value
}

/// Drops the cached translation of one page of this CPU.
pub fn invalidate_page(address: u64) {
    // SAFETY: a dropped translation is walked again.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// Makes the machine reset or the host see a triple fault: an exception with no usable gate.
pub fn triple_fault() -> ! {
    let none: [u8; 10] = [0; 10];
    // SAFETY: does not return; the guest ends here.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &none, options(noreturn)) };
}
