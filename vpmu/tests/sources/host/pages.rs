// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Page faults by the piece.

use std::ptr::{self, NonNull};

/// More pages than any test touches while it waits for one signal.
pub(crate) const MANY: u32 = 100_000;

/// How many pages are mapped.
const PAGES: usize = 1024;

const SIZE: usize = 4096;

/// Memory of which each page faults when it is touched.
pub(crate) struct Pages {
    first: NonNull<u8>,
    touched: usize,
}

impl Pages {
    pub(crate) fn new() -> Self {
        // SAFETY: a new anonymous mapping, wherever the kernel likes.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                PAGES * SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(address, libc::MAP_FAILED, "mmap");
        // Larger pages would fault less often. A kernel without them refuses this, rightly.
        // SAFETY: the range is the mapping just made.
        unsafe { libc::madvise(address, PAGES * SIZE, libc::MADV_NOHUGEPAGE) };
        Self {
            first: NonNull::new(address.cast()).expect("a mapping is not at 0"),
            touched: 0,
        }
    }

    /// One page fault.
    pub(crate) fn touch(&mut self) {
        if self.touched == PAGES {
            // SAFETY: the range is this mapping, in which nothing is kept.
            let given = unsafe {
                libc::madvise(
                    self.first.as_ptr().cast(),
                    PAGES * SIZE,
                    libc::MADV_DONTNEED,
                )
            };
            assert_eq!(given, 0, "madvise");
            self.touched = 0;
        }
        // SAFETY: the page is inside of the mapping, which is writable and ours.
        unsafe { self.first.add(self.touched * SIZE).write_volatile(1) };
        self.touched += 1;
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping, and nothing points into it any more.
        unsafe { libc::munmap(self.first.as_ptr().cast(), PAGES * SIZE) };
    }
}
