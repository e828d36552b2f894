// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Short pieces of code to run in a [`session`]. Each is there twice: for CPL 0, and on pages that
//! CPL 3 can reach. They end with INT 0x80 unless they fault.

use core::arch::global_asm;

use crate::trap::TrapFrame;
use crate::{mem, session};

global_asm!(
    r#"
    .macro probes prefix
    .global \prefix\()_return, \prefix\()_rdpmc, \prefix\()_rdpmc_loop, \prefix\()_steps
    .global \prefix\()_icebp, \prefix\()_hlt, \prefix\()_rdmsr, \prefix\()_load
    .global \prefix\()_load_segment, \prefix\()_int_13, \prefix\()_jump, \prefix\()_spin
    .balign 64
\prefix\()_return:
    int 0x80
\prefix\()_rdpmc:
    rdpmc
    int 0x80
\prefix\()_rdpmc_loop:              // r8 reads; r9 the last value; r10 how often it went back
1:  rdpmc
    shl rdx, 32
    or rax, rdx
    cmp rax, r9
    jae 2f
    inc r10
2:  mov r9, rax
    dec r8
    jnz 1b
    int 0x80
\prefix\()_steps:
    nop
    nop
    rdpmc
    nop
    inc r8
    int 0x80
\prefix\()_icebp:
    .byte 0xf1
    int 0x80
\prefix\()_hlt:
    hlt
    int 0x80
\prefix\()_rdmsr:
    rdmsr
    int 0x80
\prefix\()_load:
    mov r8, [r9]
    int 0x80
\prefix\()_load_segment:
    mov fs, r9d
    int 0x80
\prefix\()_int_13:
    int 13
    int 0x80
\prefix\()_jump:                    // to r15, with r14 as the stack
    mov rsp, r14
    jmp r15
\prefix\()_spin:                    // r8 rounds
1:  dec r8
    jnz 1b
    int 0x80
    .endm

    .section .text.probes, "ax", @progbits
    probes kernel
    .section .user.text, "ax", @progbits
    probes user

    .balign 16
    .global user_rdpmc_32, user_rdpmc_32_prefixed
    .code32
user_rdpmc_32:
    rdpmc
    int 0x80
user_rdpmc_32_prefixed:
    .byte 0x66
    rdpmc
    int 0x80
    .code64
    "#
);

/// A privilege level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cpl {
    /// The kernel's.
    Zero,
    /// User code's.
    Three,
}

/// Both levels.
pub const BOTH: [Cpl; 2] = [Cpl::Zero, Cpl::Three];

/// The two copies of a piece of code.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    kernel: unsafe extern "C" fn(),
    user: unsafe extern "C" fn(),
}

macro_rules! probes {
    ($($(#[$doc:meta])* $name:ident = $kernel:ident, $user:ident;)*) => {
        unsafe extern "C" {
            $(fn $kernel(); fn $user();)*
        }
        $($(#[$doc])* pub const $name: Probe = Probe { kernel: $kernel, user: $user };)*
    };
}

probes! {
    /// Nothing but the end.
    RETURN = kernel_return, user_return;
    /// RDPMC.
    RDPMC = kernel_rdpmc, user_rdpmc;
    /// R8 RDPMCs in a row: R9 is the last value, R10 how often the value went back.
    RDPMC_LOOP = kernel_rdpmc_loop, user_rdpmc_loop;
    /// NOP, NOP, RDPMC, NOP, INC R8: see [`STEP_ENDS`].
    STEPS = kernel_steps, user_steps;
    /// ICEBP (INT1).
    ICEBP = kernel_icebp, user_icebp;
    /// HLT.
    HLT = kernel_hlt, user_hlt;
    /// RDMSR.
    RDMSR = kernel_rdmsr, user_rdmsr;
    /// Loads R8 from the address in R9.
    LOAD = kernel_load, user_load;
    /// Loads FS with the selector in R9.
    LOAD_SEGMENT = kernel_load_segment, user_load_segment;
    /// INT 13.
    INT_13 = kernel_int_13, user_int_13;
    /// A jump to R15 with R14 as the stack.
    JUMP = kernel_jump, user_jump;
    /// R8 rounds of an empty loop.
    SPIN = kernel_spin, user_spin;
}

/// Where each instruction of [`STEPS`] but the last ends, from its start.
pub const STEP_ENDS: [u64; 5] = [1, 2, 4, 5, 8];

unsafe extern "C" {
    fn user_rdpmc_32();
    fn user_rdpmc_32_prefixed();
}

/// The address of RDPMC in 32-bit code for CPL 3.
#[must_use]
pub fn user_rdpmc_32_address() -> u64 {
    user_rdpmc_32 as *const () as u64
}

/// The address of RDPMC with a prefix in 32-bit code for CPL 3.
#[must_use]
pub fn user_rdpmc_32_prefixed_address() -> u64 {
    user_rdpmc_32_prefixed as *const () as u64
}

impl Probe {
    /// Its address for a privilege level.
    #[must_use]
    pub fn address(self, cpl: Cpl) -> u64 {
        let function = match cpl {
            Cpl::Zero => self.kernel,
            Cpl::Three => self.user,
        };
        function as *const () as u64
    }

    /// The registers to start it with.
    #[must_use]
    pub fn start(self, cpl: Cpl) -> TrapFrame {
        at(cpl, self.address(cpl))
    }
}

/// The registers to start code at `rip` with.
#[must_use]
pub fn at(cpl: Cpl, rip: u64) -> TrapFrame {
    match cpl {
        Cpl::Zero => TrapFrame::kernel(rip, session::kernel_stack()),
        Cpl::Three => TrapFrame::user(rip, session::user_stack()),
    }
}

/// Puts code of the test's own making at `address` of the playground, open to both privilege
/// levels, and INT 0x80 behind it. Returns the address behind the code.
pub fn place(address: u64, code: &[u8]) -> u64 {
    let end = address + code.len() as u64;
    mem::set_access(address, mem::Access::User);
    mem::fill(address, code);
    mem::fill(end, &[0xcd, 0x80]);
    end
}
