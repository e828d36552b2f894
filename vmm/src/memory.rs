// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest's RAM and where it lies.
//!
//! RAM starts at 0 and is flat up to 3 GiB; the rest starts at 4 GiB, because the gigabyte below
//! is where a PC has its devices.

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// Where the hole for devices starts.
pub(crate) const HOLE_START: u64 = 3 << 30;
/// Where RAM goes on.
pub(crate) const HOLE_END: u64 = 4 << 30;
/// Below this address the VMM puts what it tells the guest; a kernel lies above.
pub(crate) const KERNEL_START: u64 = 1 << 20;
/// Less RAM than this has no room for a kernel.
pub(crate) const MIN: u64 = 2 << 20;
/// More than this does not fit the 40 address bits that every host has, the hole included.
pub(crate) const MAX: u64 = 512 << 30;
const PAGE: u64 = 4096;

/// Why the guest got no memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The size is out of range or not whole pages.
    #[error(
        "Memory of {size} bytes is not possible: give whole pages of 4 KiB, \
         at least {} MiB and at most {} GiB",
        MIN >> 20, MAX >> 30
    )]
    Size {
        /// What was asked for.
        size: u64,
    },
    /// The host has not got that much.
    #[error("The host cannot provide {} MiB of guest memory: give less", size >> 20)]
    Map {
        /// What was asked for.
        size: u64,
        /// What the host said.
        #[source]
        source: vm_memory::mmap::FromRangesError,
    },
}

/// The guest's RAM.
#[derive(Clone, Debug)]
pub(crate) struct GuestRam {
    mmap: GuestMemoryMmap,
    size: u64,
}

impl GuestRam {
    pub(crate) fn new(size: u64) -> Result<Self, MemoryError> {
        if !(MIN..=MAX).contains(&size) || !size.is_multiple_of(PAGE) {
            return Err(MemoryError::Size { size });
        }
        let ranges = ranges(size).map(|(start, len)| {
            let len = usize::try_from(len).map_err(|_| MemoryError::Size { size })?;
            Ok((GuestAddress(start), len))
        });
        let ranges = ranges.collect::<Result<Vec<_>, MemoryError>>()?;
        let mmap = GuestMemoryMmap::from_ranges(&ranges)
            .map_err(|source| MemoryError::Map { size, source })?;
        Ok(Self { mmap, size })
    }

    pub(crate) fn mmap(&self) -> &GuestMemoryMmap {
        &self.mmap
    }

    /// How much RAM there is.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Start, length and host address of each stretch of RAM.
    pub(crate) fn regions(&self) -> impl Iterator<Item = (u64, u64, *mut u8)> {
        self.mmap
            .iter()
            .map(|region| (region.start_addr().0, region.len(), region.as_ptr()))
    }

    /// Whether `len` bytes from `start` on are all RAM.
    pub(crate) fn contains(&self, start: u64, len: u64) -> bool {
        ranges(self.size).any(|(first, size)| {
            start >= first && start - first <= size && len <= size - (start - first)
        })
    }
}

/// Start and length of each stretch of RAM, for `size` bytes in all.
pub(crate) fn ranges(size: u64) -> impl Iterator<Item = (u64, u64)> {
    let low = size.min(HOLE_START);
    [(0, low), (HOLE_END, size - low)]
        .into_iter()
        .filter(|&(_, len)| len > 0)
}

/// How much RAM it takes so that address `end - 1` is RAM too; None where there never is any.
pub(crate) fn needed_for(end: u64) -> Option<u64> {
    let size = match end {
        0..=HOLE_START => end,
        _ if end <= HOLE_END => return None,
        _ => end - HOLE_END + HOLE_START,
    };
    (size <= MAX).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_above_three_gib_continues_at_four() {
        assert_eq!(ranges(2 << 30).collect::<Vec<_>>(), [(0, 2 << 30)]);
        assert_eq!(ranges(3 << 30).collect::<Vec<_>>(), [(0, 3 << 30)]);
        assert_eq!(
            ranges(5 << 30).collect::<Vec<_>>(),
            [(0, 3 << 30), (4 << 30, 2 << 30)]
        );
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for size in [0, 4096, MIN - 4096, MIN + 1, MAX + 4096, u64::MAX] {
            assert!(matches!(GuestRam::new(size), Err(MemoryError::Size { size: s }) if s == size));
        }
        assert_eq!(GuestRam::new(MIN).unwrap().size(), MIN);
    }

    #[test]
    fn contains_knows_the_edges_and_does_not_overflow() {
        let ram = GuestRam::new(MIN).unwrap();
        assert!(ram.contains(0, MIN));
        assert!(ram.contains(MIN, 0));
        assert!(!ram.contains(0, MIN + 1));
        assert!(!ram.contains(MIN - 1, 2));
        assert!(!ram.contains(u64::MAX, u64::MAX));
        assert!(!ram.contains(1, u64::MAX));
    }

    #[test]
    fn the_needed_size_skips_the_hole() {
        assert_eq!(needed_for(100), Some(100));
        assert_eq!(needed_for(HOLE_START), Some(HOLE_START));
        assert_eq!(needed_for(HOLE_START + 1), None);
        assert_eq!(needed_for(HOLE_END + 1), Some(HOLE_START + 1));
        assert_eq!(needed_for(u64::MAX), None);
    }
}
