// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The port's registers in I/O space, and the page of MMIO beside it.
//!
//! Only accesses of 32 bits mean anything: others read ones and are dropped when written.

/// The first I/O port, unless CPUID says another.
pub const BASE: u16 = 0xCE0;

/// How many I/O ports there are.
pub const SIZE: u16 = 8;

/// Offset of PAGE. Written: the frame number (guest-physical address >> 12) of this vCPU's page in
/// RAM; 0 takes it back. Read: the frame registered now, 0 if none.
pub const PAGE: u16 = 0;

/// Offset of COMMAND. Written, whatever the value: runs the command in this vCPU's page, and is done
/// when the OUT returns. Read: the errno of the last write to PAGE or COMMAND on this vCPU that could
/// not even look at a page: 0, [`NoSuchDevice`](crate::Errno::NoSuchDevice) without a page,
/// [`Fault`](crate::Errno::Fault) where no RAM is, [`TryAgain`](crate::Errno::TryAgain) of a PAGE that
/// was one call too many, and left the page as it was.
pub const COMMAND: u16 = 4;

/// The frame of the tick page, unless CPUID says another. Reads give 0; each naturally aligned store
/// of 1, 2, 4 or 8 bytes is one `port.tick` on its vCPU.
pub const TICK_FRAME: u32 = 0xF_EB00;

/// The vector of the exception that hands over a trap, unless CPUID says another.
pub const TRAP_VECTOR: u8 = 28;
