// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The address space: one to one, supervisor only but for the sections `.user.text`,
//! `.user.data` and `.bss.user`. Single pages of the first 16 MiB can be changed. Of devices, only
//! the I/O APIC has memory.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cpu;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Memory behind the image that tests may map, unmap and fill: up to 16 MiB.
pub const PLAYGROUND: u64 = 12 << 20;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const PAGES: usize = 4096;

unsafe extern "C" {
    static boot_pt: [AtomicU64; PAGES];
    static __user_text_start: u8;
    static __user_text_end: u8;
    static __user_data_start: u8;
    static __user_data_end: u8;
    static __image_end: u8;
}

/// What a page is open to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Nobody: an access faults.
    None,
    /// CPL 0 only.
    Kernel,
    /// CPL 3 too.
    User,
}

/// Maps the page at `address` to the frame at `frame`. Other CPUs may go on using the old
/// mapping until they drop it ([`cpu::invalidate_page`]).
///
/// # Panics
/// If the page is not one of the first 16 MiB.
pub fn map(address: u64, frame: u64, access: Access) {
    let bits = match access {
        Access::None => 0,
        Access::Kernel => PRESENT | WRITABLE,
        Access::User => PRESENT | WRITABLE | USER,
    };
    let page = crate::index(address / PAGE);
    // SAFETY: the table is the boot code's, of atomic words.
    let entry = unsafe { &boot_pt[page] };
    entry.store(frame & !(PAGE - 1) | bits, Ordering::Release);
    cpu::invalidate_page(address);
}

/// Maps the page at `address` to itself.
pub fn set_access(address: u64, access: Access) {
    map(address, address, access);
}

/// Copies code or data to an address of the playground, through the one-to-one mapping.
///
/// # Panics
/// If the target is not in the playground.
pub fn fill(address: u64, bytes: &[u8]) {
    let end = address + bytes.len() as u64;
    assert!(
        address >= PLAYGROUND && end <= 16 << 20,
        "{address:#x} is not in the playground"
    );
    // SAFETY: Rust keeps nothing in the playground (`init` checks that the image ends below).
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
}

pub(crate) fn init() {
    let ranges = [
        (&raw const __user_text_start, &raw const __user_text_end),
        (&raw const __user_data_start, &raw const __user_data_end),
    ];
    for (start, end) in ranges {
        let mut page = start as u64;
        while page < end as u64 {
            set_access(page, Access::User);
            page += PAGE;
        }
    }
    assert!(
        (&raw const __image_end as u64) <= PLAYGROUND,
        "the image is too large"
    );
}
