// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Getting a kernel into memory and telling it about its machine.

pub(crate) mod elf;
mod pvh;

use crate::memory::GuestRam;
pub use elf::ElfError;
pub use pvh::PvhError;

/// Why a kernel cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The kernel file is not one that can be started.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The kernel cannot be told about its machine.
    #[error(transparent)]
    Pvh(#[from] PvhError),
}

/// Where and how the first vCPU starts: in 32-bit protected mode, as the PVH boot protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BootState {
    /// The first instruction.
    pub(crate) entry: u32,
    /// What EBX points to.
    pub(crate) start_info: u32,
}

/// Loads `kernel` and writes the tables that it finds its machine by.
pub(crate) fn load(ram: &GuestRam, kernel: &[u8], cmdline: &str) -> Result<BootState, BootError> {
    let entry = elf::load(ram, kernel)?;
    let start_info = pvh::write_tables(ram, cmdline)?;
    Ok(BootState { entry, start_info })
}
