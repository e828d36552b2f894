// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU's page in the guest's RAM.

use core::ops::Range;
use std::sync::Arc;

use perf_port::page::{self, ARGS, TrapRecord};
use perf_port::{Errno, Op, encode_result};
use vpmu::context::{self, Task, TaskId};

use crate::PortMemory;
use crate::tables::Tables;

/// The page that a guest registered for a vCPU.
///
/// Nothing that is read here is read twice for one purpose, and nothing of the host's own is read
/// back (Q2).
pub(crate) struct PortPage {
    memory: Arc<dyn PortMemory>,
    tables: Arc<Tables>,
    frame: u32,
}

/// The command block, as it was read.
pub(crate) struct Block {
    pub(crate) op: u32,
    pub(crate) reserved: u32,
    pub(crate) args: [u64; ARGS],
}

/// What a command returns: its result, and words of OUT from the first on.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    pub(crate) value: u64,
    /// Which word of OUT the first one is.
    pub(crate) from: usize,
    pub(crate) outs: Vec<u64>,
}

impl PortPage {
    /// The page at `frame`, if it is RAM from its first word to its last (Q1).
    pub(crate) fn find(
        memory: &Arc<dyn PortMemory>,
        tables: &Arc<Tables>,
        frame: u32,
    ) -> Result<Self, Errno> {
        let found = Self {
            memory: Arc::clone(memory),
            tables: Arc::clone(tables),
            frame,
        };
        for offset in [0, page::SIZE - 8] {
            found.load64(offset)?;
        }
        Ok(found)
    }

    pub(crate) const fn frame(&self) -> u32 {
        self.frame
    }

    /// What the guest asks for: the arguments of the operation, and 0 for the others.
    pub(crate) fn block(&self) -> Result<Block, Errno> {
        let op = self.load32(page::OP)?;
        let reserved = self.load32(page::RESERVED)?;
        let mut args = [0; ARGS];
        let used = Op::from_number(op).map_or(0, Op::args);
        for (nth, arg) in (0..).zip(&mut args[..used]) {
            *arg = self.load64(page::ARG + 8 * nth)?;
        }
        Ok(Block { op, reserved, args })
    }

    /// What became of it: OUT first, then RESULT.
    pub(crate) fn answer(&self, result: Result<Returns, Errno>) -> Result<(), Errno> {
        let value = match &result {
            Ok(returns) => {
                for (word, nth) in returns.outs.iter().zip(returns.from as u64..) {
                    self.store64(page::OUT + 8 * nth, *word)?;
                }
                Ok(returns.value)
            }
            Err(errno) => Err(*errno),
        };
        self.store64(page::RESULT, encode_result(value).cast_unsigned())
    }

    /// Says what the current task has to do about traps.
    pub(crate) fn set_trap(&self, trap: u32) -> Result<(), Errno> {
        self.store32(page::TRAP, trap)
    }

    /// Writes the record of a trap that is handed over.
    pub(crate) fn record(&self, record: TrapRecord) -> Result<(), Errno> {
        for (word, offset) in record.words().iter().zip((page::TRAP_EVENT..).step_by(8)) {
            self.store64(offset, *word)?;
        }
        Ok(())
    }

    /// The guest's last check before it returns to user mode, if it says where that is.
    pub(crate) fn window(&self) -> Option<Range<u64>> {
        let start = self.load64(page::RETURN_START).ok()?;
        let end = self.load64(page::RETURN_END).ok()?;
        (start < end).then_some(start..end)
    }

    const fn at(&self, offset: u64) -> u64 {
        self.frame as u64 * page::SIZE + offset
    }

    fn load32(&self, offset: u64) -> Result<u32, Errno> {
        let word = self.memory.load32(self.at(offset));
        word.ok_or(Errno::Fault)
    }

    fn load64(&self, offset: u64) -> Result<u64, Errno> {
        let word = self.memory.load64(self.at(offset));
        word.ok_or(Errno::Fault)
    }

    fn store32(&self, offset: u64, value: u32) -> Result<(), Errno> {
        let stored = self.memory.store32(self.at(offset), value);
        stored.then_some(()).ok_or(Errno::Fault)
    }

    fn store64(&self, offset: u64, value: u64) -> Result<(), Errno> {
        let stored = self.memory.store64(self.at(offset), value);
        stored.then_some(()).ok_or(Errno::Fault)
    }
}

impl context::Page for PortPage {
    fn announce(&self, on: bool) {
        // Where no RAM is any more, nobody looks either.
        let _ = self.store32(page::ANNOUNCE, u32::from(on));
    }

    fn current(&self) -> Option<Task> {
        let id = self.load64(page::CURRENT).ok()?;
        self.tables.task(TaskId(id))
    }
}
