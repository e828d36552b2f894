// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest's page tables, walked by us.
//!
//! `KVM_TRANSLATE` walks as the kernel would, so it fails for user addresses under SMAP. This walk
//! only finds where a byte lies: the CPU itself has just fetched or pushed what is read here, so
//! permissions were checked by it.

use kvm_bindings::kvm_sregs;

use crate::GuestMemory;

/// Bits 51:12 of a paging entry: the physical address (Intel SDM vol. 3A, 4.5.4).
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// P, bit 0: the entry is present.
const PRESENT: u64 = 1;
/// PS, bit 7: a level-2 or level-3 entry maps a large page.
const LARGE: u64 = 1 << 7;
/// CR4.LA57: five levels.
const CR4_LA57: u64 = 1 << 12;

/// The guest-physical address of linear address `gva` in 64-bit mode, if it is mapped.
pub(crate) fn translate(sregs: &kvm_sregs, mem: &impl GuestMemory, gva: u64) -> Option<u64> {
    let levels = if sregs.cr4 & CR4_LA57 != 0 { 5 } else { 4 };
    if !is_canonical(gva, levels) {
        return None;
    }
    let mut table = sregs.cr3 & ADDRESS;
    for level in (1..=levels).rev() {
        let shift = 12 + 9 * (level - 1);
        let index = (gva >> shift) & 0x1ff;
        let entry = mem.read_u64(table + index * 8)?;
        if entry & PRESENT == 0 {
            return None;
        }
        let base = entry & ADDRESS;
        let large = matches!(level, 2 | 3) && entry & LARGE != 0;
        if level == 1 || large {
            let offset = (1 << shift) - 1;
            return Some((base & !offset) | (gva & offset));
        }
        table = base;
    }
    None
}

/// Whether the bits above the linear address's width repeat its highest bit.
fn is_canonical(gva: u64, levels: u32) -> bool {
    let unused = 64 - (12 + 9 * levels);
    ((gva << unused).cast_signed() >> unused).cast_unsigned() == gva
}

/// Reads up to `buf.len()` bytes at `gva`, page by page; the number read before the first byte that
/// is not mapped.
pub(crate) fn read(sregs: &kvm_sregs, mem: &impl GuestMemory, gva: u64, buf: &mut [u8]) -> usize {
    let mut done = 0;
    while done < buf.len() {
        let at = gva.wrapping_add(done as u64);
        let in_page = 0x1000 - usize::try_from(at & 0xfff).unwrap_or(0);
        let end = buf.len().min(done + in_page);
        let read = translate(sregs, mem, at).is_some_and(|gpa| mem.read(gpa, &mut buf[done..end]));
        if !read {
            break;
        }
        done = end;
    }
    done
}

/// A whole array at `gva`, or nothing.
pub(crate) fn read_array<const N: usize>(
    sregs: &kvm_sregs,
    mem: &impl GuestMemory,
    gva: u64,
) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (read(sregs, mem, gva, &mut bytes) == N).then_some(bytes)
}
