// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Stacks and task state segments, one set a CPU, and which CPU this is.

use core::arch::asm;
use core::cell::UnsafeCell;

/// CPUs this runtime has room for.
pub const MAX_CPUS: usize = 16;
/// Bytes of every kernel stack.
pub(crate) const STACK_SIZE: usize = 16 * 1024;

/// The selector of CPU 0's TSS; each further CPU's is 16 above.
const FIRST_TSS: usize = 0x40;
const TSS_LIMIT: u64 = 103;

#[repr(C, align(4096))]
pub(crate) struct Stacks(UnsafeCell<[[u8; STACK_SIZE]; MAX_CPUS]>);
// SAFETY: never accessed through this type; the CPUs use the memory as stacks.
unsafe impl Sync for Stacks {}

impl Stacks {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new([[0; STACK_SIZE]; MAX_CPUS]))
    }

    pub(crate) fn top(&self, cpu: usize) -> u64 {
        let top = self.0.get() as usize + (cpu + 1) * STACK_SIZE;
        top as u64
    }
}

/// What a CPU runs on.
pub(crate) static MAIN_STACKS: Stacks = Stacks::new();
/// Traps from CPL 3 (TSS.RSP0).
static TRAP_STACKS: Stacks = Stacks::new();
static IST_STACKS: [Stacks; 3] = [const { Stacks::new() }; 3];

/// The interrupt stack table's entries.
pub mod ist {
    /// No entry: the current stack, or RSP0 from CPL 3.
    pub const NONE: u8 = 0;
    /// Of NMIs.
    pub const NMI: u8 = 1;
    /// Of double faults.
    pub const DOUBLE_FAULT: u8 = 2;
    /// For tests that move a gate to an IST stack.
    pub const SPARE: u8 = 3;
}

/// Intel SDM vol. 3, "64-Bit Task State Segment".
#[repr(C, packed)]
struct Tss {
    reserved0: u32,
    rsp: [u64; 3],
    reserved1: u64,
    ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_map: u16,
}

#[repr(C, align(128))]
struct TssCell(UnsafeCell<Tss>);
// SAFETY: each CPU writes its own, once, in `init`.
unsafe impl Sync for TssCell {}

static TSS: [TssCell; MAX_CPUS] = [const {
    TssCell(UnsafeCell::new(Tss {
        reserved0: 0,
        rsp: [0; 3],
        reserved1: 0,
        ist: [0; 7],
        reserved2: 0,
        reserved3: 0,
        // Past the limit: no I/O permission map, so no port access at CPL 3.
        io_map: 104,
    }))
}; MAX_CPUS];

unsafe extern "C" {
    static gdt_tss: UnsafeCellPair;
}

#[repr(C)]
struct UnsafeCellPair(UnsafeCell<[[u64; 2]; MAX_CPUS]>);
// SAFETY: each CPU writes its own pair, once, in `init`.
unsafe impl Sync for UnsafeCellPair {}

/// Gives this CPU its TSS; from here on [`current`] works.
pub(crate) fn init(cpu: usize) {
    assert!(
        cpu < MAX_CPUS,
        "APIC id {cpu} is more than this runtime has room for"
    );
    let tss = TSS[cpu].0.get();
    let base = tss as u64;
    let low = TSS_LIMIT
        | (base & 0xff_ffff) << 16
        | 0x89 << 40 // present, available 64-bit TSS
        | (base >> 24 & 0xff) << 56;
    let selector = FIRST_TSS + 16 * cpu;
    // SAFETY: this CPU's own TSS and descriptor, which nobody else touches; the descriptor
    // describes that TSS.
    unsafe {
        (*tss).rsp[0] = TRAP_STACKS.top(cpu);
        for (entry, stacks) in IST_STACKS.iter().enumerate() {
            (*tss).ist[entry] = stacks.top(cpu);
        }
        (*gdt_tss.0.get())[cpu] = [low, base >> 32];
        asm!("ltr {:x}", in(reg) selector, options(nostack, preserves_flags));
    }
}

/// The CPU this runs on. Read from the task register, which no test and no user code changes.
#[must_use]
pub fn current() -> usize {
    let selector: u64;
    // SAFETY: STR has no side effect.
    unsafe { asm!("str {}", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    (crate::index(selector & 0xffff).saturating_sub(FIRST_TSS)) / 16
}

/// Where the CPU puts the frame of a trap from CPL 3 (TSS.RSP0) on this CPU.
pub(crate) fn trap_stack_top() -> u64 {
    TRAP_STACKS.top(current())
}

/// The top of the stack behind an IST entry of this CPU.
pub(crate) fn ist_stack_top(entry: u8) -> u64 {
    IST_STACKS[usize::from(entry) - 1].top(current())
}
