// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kernels of a few instructions for the rows that boot a whole VM, and the file they come in.

use std::arch::global_asm;

use crate::code::guest_bytes;

/// The port that vCPU 0 of [`hotplug`] writes to once it takes the controller's interrupts.
pub(crate) const READY: u16 = 0x81;
/// The port that each vCPU started by [`hotplug`] writes to, with its very first instruction.
pub(crate) const STARTED: u16 = 0x82;
/// The port that [`exits`] reads to be let go.
pub(crate) const START: u16 = 0x83;
/// The port that [`exits`] writes to after each run.
pub(crate) const DONE: u16 = 0x84;
/// Exits in a run of [`exits`].
pub(crate) const TURNS: u32 = 300;
/// Switches in a run of [`switches`].
pub(crate) const SWITCHES: u32 = 100_000;
/// The port that [`switches`] writes to if it has to announce one.
pub(crate) const FAILED: u16 = 0x85;
/// Traps in a run of [`traps`].
pub(crate) const TRAPS: u32 = 100;
/// The port that [`traps`] writes its figures to.
pub(crate) const CYCLES: u16 = 0x88;
/// Cycles between two PMIs of [`pmis`]: about a millisecond.
const PERIOD: u32 = 2_000_000;

global_asm!(
    include_str!("kernels.s"),
    include_str!("port.s"),
    ready = const READY,
    started = const STARTED,
    start = const START,
    done = const DONE,
    turns = const TURNS,
    period = const PERIOD,
    switches = const SWITCHES,
    failed = const FAILED,
    traps = const TRAPS,
    cycles = const CYCLES,
    options(att_syntax)
);

guest_bytes!(hotplug, "bench_hotplug");
guest_bytes!(pmis, "bench_pmis");
guest_bytes!(exits, "bench_exits");
guest_bytes!(switches, "bench_switches");
guest_bytes!(task, "bench_task");
guest_bytes!(traps, "bench_traps");

/// Where a kernel is loaded and entered.
const ENTRY: u32 = 0x10_0000;

/// An ELF file with a PVH note, and `code` as its only segment.
pub(crate) fn file(code: &[u8]) -> Vec<u8> {
    const NOTE_AT: u64 = 64 + 2 * 56;
    const NOTE_LEN: u64 = 20;
    const CODE_AT: u64 = NOTE_AT + NOTE_LEN;
    let entry = u64::from(ENTRY);
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // An executable for x86-64.
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [entry, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    // Sizes of this header and of a program header, of which there are two.
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    let load = (1_u32, 7_u32, CODE_AT, entry, code.len() as u64);
    let note = (4, 4, NOTE_AT, 0, NOTE_LEN);
    for (kind, flags, at, address, len) in [load, note] {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [at, address, address, len, len, 4] {
            file.extend(word.to_le_bytes());
        }
    }
    // XEN_ELFNOTE_PHYS32_ENTRY.
    for word in [4, 4, 18_u32] {
        file.extend(word.to_le_bytes());
    }
    file.extend(b"Xen\0");
    file.extend(ENTRY.to_le_bytes());
    file.extend(code);
    file
}
