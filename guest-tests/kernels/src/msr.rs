// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RDMSR, WRMSR and RDPMC whose #GP is an error to look at.
//!
//! These functions are safe because they refuse the few MSRs that decide about memory and control
//! flow (EFER, SYSCALL targets, segment bases); the rest only count, report and interrupt.

use core::arch::asm;

use crate::trap::FAULTED;

/// A general protection fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gp {
    /// The error code.
    pub error: u64,
}

fn check(faulted: u64) -> Result<(), Gp> {
    if faulted == 0 {
        Ok(())
    } else {
        Err(Gp {
            error: faulted & !FAULTED,
        })
    }
}

fn join(low: u64, high: u64) -> u64 {
    low & 0xffff_ffff | high << 32
}

/// Reads an MSR.
///
/// # Errors
/// The #GP it raised.
pub fn try_read(msr: u32) -> Result<u64, Gp> {
    let (low, high, faulted);
    // SAFETY: reading an MSR changes no memory; a #GP lands behind the instruction.
    unsafe {
        asm!(
            "2: rdmsr",
            "3:",
            ".pushsection .fixups, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            in("ecx") msr, out("rax") low, out("rdx") high, inlateout("r8") 0_u64 => faulted,
            options(nostack),
        );
    }
    check(faulted)?;
    Ok(join(low, high))
}

/// Writes an MSR.
///
/// # Errors
/// The #GP it raised.
///
/// # Panics
/// On an MSR that decides about memory or control flow.
pub fn try_write(msr: u32, value: u64) -> Result<(), Gp> {
    assert!(
        !(0xc000_0080..=0xc000_0103).contains(&msr),
        "MSR {msr:#x} is the runtime's"
    );
    let faulted;
    // SAFETY: none of the MSRs left changes memory under Rust's feet; a #GP lands behind the
    // instruction.
    unsafe {
        asm!(
            "2: wrmsr",
            "3:",
            ".pushsection .fixups, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            in("ecx") msr, in("rax") value, in("rdx") value >> 32, inlateout("r8") 0_u64 => faulted,
            options(nostack),
        );
    }
    check(faulted)
}

/// Executes RDPMC here, at CPL 0.
///
/// # Errors
/// The #GP it raised.
pub fn try_rdpmc(counter: u32) -> Result<u64, Gp> {
    let (low, high, faulted);
    // SAFETY: reading a counter changes no memory; a #GP lands behind the instruction.
    unsafe {
        asm!(
            "2: rdpmc",
            "3:",
            ".pushsection .fixups, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            in("ecx") counter, out("rax") low, out("rdx") high, inlateout("r8") 0_u64 => faulted,
            options(nostack),
        );
    }
    check(faulted)?;
    Ok(join(low, high))
}

/// Reads an MSR that must be there.
///
/// # Panics
/// If it raises a #GP.
#[must_use]
#[track_caller]
pub fn read(msr: u32) -> u64 {
    try_read(msr).unwrap_or_else(|gp| panic!("RDMSR {msr:#x} raised #GP({:#x})", gp.error))
}

/// Writes an MSR that must take the value.
///
/// # Panics
/// If it raises a #GP.
#[track_caller]
pub fn write(msr: u32, value: u64) {
    if let Err(gp) = try_write(msr, value) {
        panic!("WRMSR {msr:#x} of {value:#x} raised #GP({:#x})", gp.error);
    }
}

/// Executes an RDPMC that must succeed.
///
/// # Panics
/// If it raises a #GP.
#[must_use]
#[track_caller]
pub fn rdpmc(counter: u32) -> u64 {
    try_rdpmc(counter).unwrap_or_else(|gp| panic!("RDPMC {counter} raised #GP({:#x})", gp.error))
}
