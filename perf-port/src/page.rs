// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The page of a vCPU: 4 KiB of the guest's RAM that both sides read and write.
//!
//! Offsets in bytes; little endian; every field naturally aligned, and read and written whole. The
//! first line of 64 bytes is the guest's, the second the host's, the rest is the command block.

/// How long the page is, and how it is aligned.
pub const SIZE: u64 = 4096;

/// u64, written by the guest: the current task's number; 0 for none, such as the idle task.
pub const CURRENT: u64 = 0x000;

/// u64, written by the guest: the linear address of the first instruction of the kernel's last check
/// before it returns to user mode. With [`RETURN_END`]: both 0 for none.
pub const RETURN_START: u64 = 0x008;

/// u64, written by the guest: the linear address behind that check's last instruction.
pub const RETURN_END: u64 = 0x010;

/// u32, written by the host: 1 while every switch is to be announced.
pub const ANNOUNCE: u64 = 0x040;

/// u32, written by the host: [`TRAP_NONE`], [`TRAP_WAITS`] or [`TRAP_TAKEN`].
pub const TRAP: u64 = 0x044;

/// u64, written by the host: the event of the record.
pub const TRAP_EVENT: u64 = 0x048;

/// u64, written by the host: the task of the record.
pub const TRAP_TASK: u64 = 0x050;

/// u64, written by the host: the address of the record.
pub const TRAP_ADDR: u64 = 0x058;

/// u64, written by the host: the data of the record.
pub const TRAP_DATA: u64 = 0x060;

/// u32, written by the guest: the number of the [`Op`](crate::Op).
pub const OP: u64 = 0x080;

/// u32, written by the guest: 0.
pub const RESERVED: u64 = 0x084;

/// i64, written by the host: the result, 0 or more, or the negative errno.
pub const RESULT: u64 = 0x088;

/// u64, written by the guest: the first of [`ARGS`] arguments.
pub const ARG: u64 = 0x090;

/// How many arguments there are.
pub const ARGS: usize = 8;

/// u64, written by the host: the first of [`OUTS`] words that a command returns beside its result.
pub const OUT: u64 = 0x0D0;

/// How many words a command can return.
pub const OUTS: usize = 6;

/// [`TRAP`]: nothing waits for the current task.
pub const TRAP_NONE: u32 = 0;

/// [`TRAP`]: a trap waits, to be taken before the current task returns to user mode.
pub const TRAP_WAITS: u32 = 1;

/// [`TRAP`]: the record was handed over, and not acknowledged yet.
pub const TRAP_TAKEN: u32 = 2;

/// A trap that was handed over.
///
/// ```
/// use perf_port::page::TrapRecord;
///
/// let record = TrapRecord { event: 5, task: 2, addr: 0x40_1000, data: 7 };
/// assert_eq!(TrapRecord::from_words(record.words()), record);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrapRecord {
    /// The event that overflowed; for an inherited one, that which it was inherited from.
    pub event: u64,
    /// The task that it is for.
    pub task: u64,
    /// The address of the first overflow since the event's last trap; 0 if it must not be shown. For
    /// ticks the guest-physical address that was stored to.
    pub addr: u64,
    /// The data that the event was opened with.
    pub data: u64,
}

impl TrapRecord {
    /// Its words, from [`TRAP_EVENT`] on.
    pub const fn words(self) -> [u64; 4] {
        [self.event, self.task, self.addr, self.data]
    }

    /// The record of these words.
    pub const fn from_words([event, task, addr, data]: [u64; 4]) -> Self {
        Self {
            event,
            task,
            addr,
            data,
        }
    }
}
