// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How the RDPMC trap looks into guest memory.

/// Read access to guest-physical memory, implemented by the VMM for whatever holds its guest's RAM.
///
/// The guest runs on other vCPUs meanwhile and may change every byte: each call may see
/// different data, and nothing here relies on two reads agreeing.
pub trait GuestMemory {
    /// Fills `buf` from guest-physical address `gpa`; false when any byte is not RAM.
    #[must_use]
    fn read(&self, gpa: u64, buf: &mut [u8]) -> bool;

    /// One little-endian 64-bit word.
    fn read_u64(&self, gpa: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(gpa, &mut bytes)
            .then(|| u64::from_le_bytes(bytes))
    }
}

impl<M: GuestMemory + ?Sized> GuestMemory for &M {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> bool {
        (**self).read(gpa, buf)
    }
}
