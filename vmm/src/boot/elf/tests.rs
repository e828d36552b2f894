// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kernels, good and bad.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;

const CODE: &[u8] = b"\xeb\xfe code";
const ENTRY: u32 = 0x10_0000;
/// Where things are in `kernel`.
const FIRST_SEGMENT: usize = 64;
const SECOND_SEGMENT: usize = FIRST_SEGMENT + PROGRAM_HEADER_LEN;
const NOTE: usize = SECOND_SEGMENT + PROGRAM_HEADER_LEN;
const CODE_AT: usize = NOTE + 20;

/// A kernel with one segment and a PVH note.
pub(crate) fn kernel() -> Vec<u8> {
    let mut file = vec![0; CODE_AT];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    put(&mut file, 16, &[2, 0, 62, 0, 1]);
    put(&mut file, 24, &ENTRY.to_le_bytes());
    put(&mut file, 32, &[64]);
    put(&mut file, 52, &[64, 0, 56, 0, 2]);
    let code_len = CODE.len() as u64;
    segment(
        &mut file,
        FIRST_SEGMENT,
        PT_LOAD,
        CODE_AT as u64,
        ENTRY.into(),
        code_len,
    );
    segment(&mut file, SECOND_SEGMENT, PT_NOTE, NOTE as u64, 0, 20);
    put(&mut file, NOTE, &[4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0]);
    put(&mut file, NOTE + 12, b"Xen\0");
    put(&mut file, NOTE + 16, &ENTRY.to_le_bytes());
    file.extend(CODE);
    file
}

fn segment(file: &mut [u8], at: usize, kind: u32, offset: u64, address: u64, len: u64) {
    put(file, at, &kind.to_le_bytes());
    for (word, place) in [(offset, 8), (address, 24), (len, 32), (len, 40)] {
        put(file, at + place, &word.to_le_bytes());
    }
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn ram() -> GuestRam {
    GuestRam::new(memory::MIN).unwrap()
}

/// What is said of the kernel after `change`.
fn refused(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut file = kernel();
    change(&mut file);
    load(&ram(), &file).unwrap_err().to_string()
}

#[test]
fn a_good_kernel_is_in_memory_with_zeros_after_it() {
    let mut file = kernel();
    put(&mut file, FIRST_SEGMENT + 40, &0x1000_u64.to_le_bytes());
    let ram = ram();
    assert_eq!(load(&ram, &file).unwrap(), ENTRY);
    let mut memory = [0xff; 16];
    ram.mmap()
        .read_slice(&mut memory, GuestAddress(ENTRY.into()))
        .unwrap();
    assert_eq!(&memory[..CODE.len()], CODE);
    assert_eq!(memory[CODE.len()..], [0; 9]);
}

#[test]
fn the_entry_is_found_behind_other_notes_and_before_other_segments() {
    let mut file = kernel();
    let at = file.len();
    // A note of another kind with a name and value to pad, then Linux's eight-byte PVH note.
    file.extend([5, 0, 0, 0, 3, 0, 0, 0, 18, 0, 0, 0]);
    file.extend(b"Other\0\0\0abc\0");
    file.extend([4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0]);
    file.extend(b"Xen\0");
    file.extend((u64::from(ENTRY) + 2).to_le_bytes());
    let len = file.len() - at;
    segment(&mut file, SECOND_SEGMENT, PT_NOTE, at as u64, 0, len as u64);
    assert_eq!(load(&ram(), &file).unwrap(), ENTRY + 2);
}

#[test]
fn what_is_no_kernel_is_told_apart() {
    assert!(refused(|file| file.clear()).contains("not an ELF file"));
    assert!(refused(|file| file[1] = b'e').contains("not an ELF file"));
    assert!(refused(|file| file[4] = 1).contains("32-bit"));
    assert!(refused(|file| file[5] = 2).contains("big-endian"));
    assert!(refused(|file| file[18] = 183).contains("another machine"));
    assert!(refused(|file| file[54] = 32).contains("wrong size"));
    assert!(refused(|file| file[FIRST_SEGMENT] = 2).contains("no loadable segment"));
    assert!(refused(|file| file[SECOND_SEGMENT] = 2).contains("no PVH entry note"));
    assert!(refused(|file| file[NOTE + 8] = 17).contains("no PVH entry note"));
    assert!(refused(|file| file[NOTE + 12] = b'x').contains("no PVH entry note"));
    assert!(refused(|file| file[NOTE + 4] = 3).contains("without a 32-bit address"));
    assert!(refused(|file| file[NOTE + 4] = 5).contains("outside its segment"));
    assert!(refused(|file| file[NOTE + 18] = 0x20).contains("lies in none"));
}

#[test]
fn every_cut_is_noticed() {
    let whole = kernel();
    for len in 0..whole.len() {
        assert!(load(&ram(), &whole[..len]).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn segments_lie_in_ram_above_the_first_megabyte() {
    let place = |address: u64, len: u64| {
        refused(|file| {
            put(file, FIRST_SEGMENT + 24, &address.to_le_bytes());
            put(file, FIRST_SEGMENT + 40, &len.to_le_bytes());
        })
    };
    let code = CODE.len() as u64;
    for (address, len) in [
        (0, code),
        (KERNEL_START - 1, code),
        (memory::HOLE_START, code),
        (memory::HOLE_START - 4, code),
        (memory::HOLE_END - 4, code),
        (KERNEL_START, memory::HOLE_END),
        (u64::MAX - 4, code),
        (KERNEL_START, u64::MAX),
    ] {
        let line = place(address, len);
        assert!(
            line.contains("where a kernel cannot lie"),
            "{address:#x}+{len:#x}: {line}"
        );
    }
    assert!(place(KERNEL_START, code - 1).contains("more bytes than memory"));
}

#[test]
fn too_little_memory_is_an_error_with_the_size_needed() {
    let needs = |len: u64| refused(|file| put(file, FIRST_SEGMENT + 40, &len.to_le_bytes()));
    assert_eq!(
        needs((6 << 20) + 1),
        "The kernel needs at least 8 MiB of memory and the guest has 2 MiB: give it more"
    );
    let mut file = kernel();
    put(
        &mut file,
        FIRST_SEGMENT + 24,
        &memory::HOLE_END.to_le_bytes(),
    );
    let line = load(&ram(), &file).unwrap_err().to_string();
    assert!(line.contains("needs at least 3073 MiB"), "{line}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A damaged kernel is loaded or refused; it does not panic, and an entry point that comes
    /// back lies in RAM.
    #[test]
    fn no_damage_does_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        words in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = kernel();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        for (at, word) in words {
            let at = at.index(file.len() - 8);
            put(&mut file, at, &word.to_le_bytes());
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let ram = ram();
        if let Ok(entry) = load(&ram, &file) {
            prop_assert!(ram.contains(entry.into(), 1));
        }
    }

    #[test]
    fn noise_does_no_harm(mut file in prop::collection::vec(any::<u8>(), 0..512)) {
        let magic = b"\x7fELF\x02\x01";
        if file.len() > magic.len() {
            put(&mut file, 0, magic);
        }
        prop_assert!(load(&ram(), &file).is_err());
    }
}
