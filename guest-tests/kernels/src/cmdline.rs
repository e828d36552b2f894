// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The kernel command line: words of the form `key=value`, parted by spaces.

use core::sync::atomic::{AtomicU64, Ordering};

/// Of `struct hvm_start_info` (Xen's public `arch-x86/hvm/start_info.h`).
const MAGIC: u32 = 0x336e_c578;
const CMDLINE_OFFSET: u64 = 24;
const MAX_LENGTH: usize = 4096;

static CMDLINE: AtomicU64 = AtomicU64::new(0);

/// Remembers the command line that the start info names.
pub(crate) fn init(start_info: u64) {
    if start_info == 0 {
        return;
    }
    // SAFETY: PVH puts the start info there, in memory that is mapped (below 1 GiB).
    unsafe {
        if (start_info as *const u32).read_unaligned() == MAGIC {
            let cmdline = ((start_info + CMDLINE_OFFSET) as *const u64).read_unaligned();
            CMDLINE.store(cmdline, Ordering::Relaxed);
        }
    }
}

/// The whole command line.
#[must_use]
pub fn get() -> &'static str {
    let start = CMDLINE.load(Ordering::Relaxed);
    if start == 0 {
        return "";
    }
    // SAFETY: PVH puts a NUL-terminated string there, which nothing overwrites: the image starts
    // above it or ends below it, and the runtime has no heap.
    let bytes = unsafe {
        let start = start as *const u8;
        let length = (0..MAX_LENGTH)
            .take_while(|&i| start.add(i).read() != 0)
            .count();
        core::slice::from_raw_parts(start, length)
    };
    core::str::from_utf8(bytes).unwrap_or("")
}

/// The value of `key`.
#[must_use]
pub fn value(key: &str) -> Option<&'static str> {
    get()
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// The value of `key` as a number, decimal or after `0x` hexadecimal.
#[must_use]
pub fn number(key: &str) -> Option<u64> {
    let value = value(key)?;
    match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}
