// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Loading a 64-bit ELF kernel that has a PVH note.
//!
//! linux-loader puts the segments into memory. Before it does, the file is checked here in full:
//! a foreign or damaged one gets an error that says what is wrong with it, and nothing in it can
//! make the loader wander off.

use std::io::Cursor;
use std::ops::Range;

use linux_loader::loader::{self, KernelLoader};

use crate::memory::{self, GuestRam, KERNEL_START};

const HEADER_LEN: usize = 64;
const PROGRAM_HEADER_LEN: usize = 56;
const NOTE_HEADER_LEN: usize = 12;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const MACHINE_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// XEN_ELFNOTE_PHYS32_ENTRY: the physical address of the 32-bit entry point.
const NOTE_PHYS32_ENTRY: u32 = 18;
const NOTE_NAME: &[u8] = b"Xen\0";

/// What is wrong with a kernel file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// It is no ELF file.
    #[error("The kernel is not an ELF file: give an uncompressed 64-bit ELF image")]
    NotElf,
    /// It is an ELF file for some other machine.
    #[error("The kernel is not for x86-64 ({what}): give a 64-bit x86-64 ELF image")]
    Foreign {
        /// What it is instead.
        what: &'static str,
    },
    /// Parts of it are missing or make no sense.
    #[error("The kernel file is damaged or cut short ({what}): build or copy it again")]
    Damaged {
        /// What was found.
        what: &'static str,
    },
    /// There is nothing to load in it.
    #[error("The kernel has no loadable segment: give a linked kernel, not an object file")]
    NothingToLoad,
    /// It cannot be entered the way this VMM enters kernels.
    #[error("The kernel has no PVH entry note: link it with an XEN_ELFNOTE_PHYS32_ENTRY note")]
    NoPvhNote,
    /// Its entry point is not in what is loaded.
    #[error("The kernel's PVH entry point {entry:#x} lies in none of its segments")]
    EntryOutside {
        /// The entry point.
        entry: u32,
    },
    /// A segment lies where it cannot.
    #[error(
        "The kernel has a segment at {start:#x}, where a kernel cannot lie: link it to physical \
         addresses from {KERNEL_START:#x} to {:#x}",
        memory::HOLE_START
    )]
    Misplaced {
        /// The segment's physical address.
        start: u64,
    },
    /// The guest has too little memory.
    #[error(
        "The kernel needs at least {} MiB of memory and the guest has {} MiB: give it more",
        needed.div_ceil(1 << 20), have >> 20
    )]
    TooLittleMemory {
        /// Bytes needed.
        needed: u64,
        /// Bytes there are.
        have: u64,
    },
    /// The loader refused it.
    #[error("Cannot load the kernel")]
    Load(#[source] loader::Error),
}

/// Puts a kernel's segments into guest memory; gives its PVH entry point.
pub(crate) fn load(ram: &GuestRam, file: &[u8]) -> Result<u32, ElfError> {
    let entry = check(file, ram)?;
    loader::Elf::load(ram.mmap(), None, &mut Cursor::new(file), None).map_err(ElfError::Load)?;
    // linux-loader takes the last note segment's word for the entry point; ours reads them all.
    Ok(entry)
}

struct Segment {
    kind: u32,
    /// Where its bytes are in the file.
    bytes: Range<usize>,
    start: u64,
    memory_len: u64,
}

/// Checks everything that the loader relies on; gives the PVH entry point.
fn check(file: &[u8], ram: &GuestRam) -> Result<u32, ElfError> {
    let segments = program_headers(file)?;
    let loadable = || segments.iter().filter(|segment| segment.kind == PT_LOAD);
    if loadable().all(|segment| segment.memory_len == 0) {
        return Err(ElfError::NothingToLoad);
    }
    let mut needed = 0;
    for segment in loadable() {
        let misplaced = ElfError::Misplaced {
            start: segment.start,
        };
        let end = segment.start.checked_add(segment.memory_len);
        let size = end.and_then(memory::needed_for);
        match size {
            _ if segment.start < KERNEL_START => return Err(misplaced),
            None => return Err(misplaced),
            Some(size) => needed = size.max(needed),
        }
        if segment.start >= memory::HOLE_START && segment.start < memory::HOLE_END {
            return Err(misplaced);
        }
        // A segment over both sides of the hole.
        if segment.start < memory::HOLE_START && end.is_some_and(|end| end > memory::HOLE_START) {
            return Err(misplaced);
        }
    }
    if needed > ram.size() {
        return Err(ElfError::TooLittleMemory {
            needed,
            have: ram.size(),
        });
    }
    let mut entry = None;
    for segment in segments.iter().filter(|segment| segment.kind == PT_NOTE) {
        entry = entry.or(pvh_entry(&file[segment.bytes.clone()])?);
    }
    let entry = entry.ok_or(ElfError::NoPvhNote)?;
    let inside = |segment: &Segment| {
        u64::from(entry)
            .checked_sub(segment.start)
            .is_some_and(|at| at < segment.memory_len)
    };
    if !loadable().any(inside) {
        return Err(ElfError::EntryOutside { entry });
    }
    debug_assert!(loadable().all(|segment| ram.contains(segment.start, segment.memory_len)));
    Ok(entry)
}

fn program_headers(file: &[u8]) -> Result<Vec<Segment>, ElfError> {
    if !file.starts_with(b"\x7fELF") {
        return Err(ElfError::NotElf);
    }
    let header = file.get(..HEADER_LEN).ok_or(ElfError::Damaged {
        what: "no complete header",
    })?;
    if header[4] != CLASS_64 {
        return Err(ElfError::Foreign { what: "32-bit" });
    }
    if header[5] != LITTLE_ENDIAN {
        return Err(ElfError::Foreign { what: "big-endian" });
    }
    if u16_at(header, 18) != MACHINE_X86_64 {
        return Err(ElfError::Foreign {
            what: "another machine",
        });
    }
    if usize::from(u16_at(header, 54)) != PROGRAM_HEADER_LEN {
        return Err(ElfError::Damaged {
            what: "program headers of a wrong size",
        });
    }
    let damaged = || ElfError::Damaged {
        what: "program headers outside the file",
    };
    let table = usize::try_from(u64_at(header, 32)).map_err(|_| damaged())?;
    if table < HEADER_LEN {
        return Err(damaged());
    }
    let len = usize::from(u16_at(header, 56)) * PROGRAM_HEADER_LEN;
    let table = table
        .checked_add(len)
        .and_then(|end| file.get(table..end))
        .ok_or_else(damaged)?;
    table
        .chunks_exact(PROGRAM_HEADER_LEN)
        .map(|header| segment(file, header))
        .collect()
}

fn segment(file: &[u8], header: &[u8]) -> Result<Segment, ElfError> {
    let damaged = || ElfError::Damaged {
        what: "a segment outside the file",
    };
    let kind = u32_at(header, 0);
    let memory_len = u64_at(header, 40);
    // Other kinds are not looked at by anybody.
    let bytes = if kind == PT_LOAD || kind == PT_NOTE {
        let start = usize::try_from(u64_at(header, 8)).map_err(|_| damaged())?;
        let len = usize::try_from(u64_at(header, 32)).map_err(|_| damaged())?;
        let end = start
            .checked_add(len)
            .filter(|&end| end <= file.len())
            .ok_or_else(damaged)?;
        start..end
    } else {
        0..0
    };
    let file_len = u64::try_from(bytes.len()).map_err(|_| damaged())?;
    if kind == PT_LOAD && file_len > memory_len {
        return Err(ElfError::Damaged {
            what: "a segment with more bytes than memory",
        });
    }
    Ok(Segment {
        kind,
        bytes,
        start: u64_at(header, 24),
        memory_len,
    })
}

/// The entry point in a note segment, if it has that note.
fn pvh_entry(mut notes: &[u8]) -> Result<Option<u32>, ElfError> {
    let damaged = || ElfError::Damaged {
        what: "a note outside its segment",
    };
    // Padding up to less than a header may follow the last note.
    while notes.len() >= NOTE_HEADER_LEN {
        let (header, rest) = notes.split_at(NOTE_HEADER_LEN);
        let (name, rest) = field(rest, u32_at(header, 0)).ok_or_else(damaged)?;
        let (value, rest) = field(rest, u32_at(header, 4)).ok_or_else(damaged)?;
        if u32_at(header, 8) == NOTE_PHYS32_ENTRY && name == NOTE_NAME {
            return match *value {
                // Linux writes it with 8 bytes, of which the upper half is zero.
                [a, b, c, d] | [a, b, c, d, 0, 0, 0, 0] => {
                    Ok(Some(u32::from_le_bytes([a, b, c, d])))
                }
                _ => Err(ElfError::Damaged {
                    what: "a PVH note without a 32-bit address",
                }),
            };
        }
        notes = rest;
    }
    Ok(None)
}

/// A field of `len` bytes, and what follows its padding to 4 bytes.
fn field(bytes: &[u8], len: u32) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(len).ok()?;
    let padded = len.checked_next_multiple_of(4)?.min(bytes.len());
    Some((bytes.get(..len)?, &bytes[padded..]))
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

#[cfg(test)]
pub(crate) mod tests;
