// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf port's view of the guest's RAM.

use std::sync::atomic::Ordering;

use perf_port_host::PortMemory;
use vm_memory::{Bytes, GuestAddress};

use crate::memory::GuestRam;

impl PortMemory for GuestRam {
    fn load32(&self, gpa: u64) -> Option<u32> {
        let word = self.mmap().load(GuestAddress(gpa), Ordering::Acquire);
        word.ok()
    }

    fn store32(&self, gpa: u64, value: u32) -> bool {
        let stored = self
            .mmap()
            .store(value, GuestAddress(gpa), Ordering::Release);
        stored.is_ok()
    }

    fn load64(&self, gpa: u64) -> Option<u64> {
        let word = self.mmap().load(GuestAddress(gpa), Ordering::Acquire);
        word.ok()
    }

    fn store64(&self, gpa: u64, value: u64) -> bool {
        let stored = self
            .mmap()
            .store(value, GuestAddress(gpa), Ordering::Release);
        stored.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_there_and_nothing_else() {
        let size = 2 << 20;
        let ram = GuestRam::new(size).unwrap();
        assert!(ram.store64(size - 8, 0x1122_3344_5566_7788));
        assert_eq!(ram.load64(size - 8), Some(0x1122_3344_5566_7788));
        assert_eq!(ram.load32(size - 8), Some(0x5566_7788));
        assert!(ram.store32(size - 4, 7));
        assert_eq!(ram.load64(size - 8), Some(0x7_5566_7788));
        for gpa in [size, size + 8, u64::MAX - 7] {
            assert_eq!(ram.load32(gpa), None);
            assert_eq!(ram.load64(gpa), None);
            assert!(!ram.store32(gpa, 1) && !ram.store64(gpa, 1));
        }
    }
}
