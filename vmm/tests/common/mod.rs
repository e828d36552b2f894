// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guests of a few bytes for the tests, and what they are run with.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmm::{RunningVm, VmBuilder};

/// Where a guest's code is loaded and entered, in 32-bit protected mode without paging.
pub(crate) const ENTRY: u32 = 0x10_0000;

/// No test needs a hundredth of it; a test that would hang fails instead.
pub(crate) const LIMIT: Option<Duration> = Some(Duration::from_secs(60));

/// `jmp .`
pub(crate) const SPIN: &[u8] = &[0xeb, 0xfe];
/// `hlt`, again and again; interrupts are off.
pub(crate) const HALT: &[u8] = &[0xf4, 0xeb, 0xfd];
/// Adds to COM1 for ever: `mov edx, 0x3f8`, then `out dx, al`, `jmp` back.
pub(crate) const CHATTER: &[u8] = &[0xba, 0xf8, 0x03, 0, 0, 0xee, 0xeb, 0xfd];
/// `ud2` without an IDT.
pub(crate) const TRIPLE_FAULT: &[u8] = &[0x0f, 0x0b];
/// `mov eax, 0xd0000000`, `jmp eax`: nothing is there, so KVM cannot fetch an instruction.
pub(crate) const RUN_NOWHERE: &[u8] = &[0xb8, 0, 0, 0, 0xd0, 0xff, 0xe0];

/// `mov al, code`, `out 0xf4, al`, then it spins.
pub(crate) fn exit(code: u8) -> Vec<u8> {
    [&[0xb0, code, 0xe6, 0xf4], SPIN].concat()
}

/// Writes `text` to COM1 byte by byte.
pub(crate) fn print(text: &str) -> Vec<u8> {
    // mov edx, 0x3f8; then mov al, byte; out dx, al.
    let mut code = vec![0xba, 0xf8, 0x03, 0, 0];
    for byte in text.bytes() {
        code.extend([0xb0, byte, 0xee]);
    }
    code
}

/// `mov ecx, msr`, `mov eax, value`, `xor edx, edx`, `wrmsr`.
pub(crate) fn wrmsr(msr: u32, value: u32) -> Vec<u8> {
    [
        &[0xb9][..],
        &msr.to_le_bytes(),
        &[0xb8],
        &value.to_le_bytes(),
        &[0x31, 0xd2, 0x0f, 0x30],
    ]
    .concat()
}

/// Ends the run with EBX of CPUID leaf 0, the first four letters of the vendor's name: `xor eax,
/// eax`, `cpuid`, `mov eax, ebx`, `out 0xf4, eax`.
pub(crate) const EXIT_WITH_VENDOR: &[u8] = &[
    0x31, 0xc0, 0x0f, 0xa2, 0x89, 0xd8, 0xe7, 0xf4, 0xf4, 0xeb, 0xfd,
];

/// Puts `ap_code` (real mode) at 0x8000 and starts all other vCPUs there, by INIT and SIPI
/// through the xAPIC's ICR.
pub(crate) fn start_aps(ap_code: &[u8]) -> Vec<u8> {
    // mov dword ptr [address], value.
    let store =
        |address: u32, value: [u8; 4]| [&[0xc7, 0x05][..], &address.to_le_bytes(), &value].concat();
    let mut code = Vec::new();
    for (piece, at) in ap_code.chunks(4).zip((0x8000..).step_by(4)) {
        let mut value = [0; 4];
        value[..piece.len()].copy_from_slice(piece);
        code.extend(store(at, value));
    }
    code.extend(store(0xfee0_0300, 0x000c_4500_u32.to_le_bytes()));
    code.extend(store(0xfee0_0300, 0x000c_4608_u32.to_le_bytes()));
    code
}

/// A guest with room for more vCPUs: vCPU 0 looks at the hotplug controller (`docs/hotplug.md`) for
/// ever, starts the vCPUs that come, which spin, and gives back those that the host wants.
///
/// ```text
///           mov word ptr [0x8000], 0xfeeb       the others start there, in real mode, with `jmp .`
/// again:    mov edx, 0xcda                      command
///           in al, dx
///           cmp al, 0xff                        no event
///           je again
///           mov al, 2                           NEXT
///           out dx, al
///           mov dl, 0xd9                        status
///           in al, dx
///           test al, 2                          ADDED
///           jz removal
///           mov al, 2                           heard
///           out dx, al
///           mov dl, 0xd8                        selector: which one
///           in al, dx
///           shl eax, 24
///           mov [0xfee00310], eax               the IPIs are for that one
///           mov dword ptr [0xfee00300], 0x4500  INIT
///           mov dword ptr [0xfee00300], 0x4608  start-up
///           jmp again
/// removal:  mov dl, 0xda                        command
///           mov al, 1                           EJECT
///           out dx, al
///           jmp again
/// ```
pub(crate) const HOTPLUG: &[u8] = &[
    0x66, 0xc7, 0x05, 0, 0x80, 0, 0, 0xeb, 0xfe, 0xba, 0xda, 0x0c, 0, 0, 0xec, 0x3c, 0xff, 0x74,
    0xf6, 0xb0, 2, 0xee, 0xb2, 0xd9, 0xec, 0xa8, 2, 0x74, 0x24, 0xb0, 2, 0xee, 0xb2, 0xd8, 0xec,
    0xc1, 0xe0, 24, 0xa3, 0x10, 0x03, 0xe0, 0xfe, 0xc7, 0x05, 0, 0x03, 0xe0, 0xfe, 0, 0x45, 0, 0,
    0xc7, 0x05, 0, 0x03, 0xe0, 0xfe, 0x08, 0x46, 0, 0, 0xeb, 0xc8, 0xb2, 0xda, 0xb0, 1, 0xee, 0xeb,
    0xc1,
];

/// An ELF kernel with a PVH note and one segment at [`ENTRY`].
pub(crate) fn elf(code: &[u8]) -> Vec<u8> {
    const CODE_AT: u64 = 0x100;
    const NOTE_AT: u64 = 64 + 2 * 56;
    let entry = u64::from(ENTRY);
    let len = code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [entry, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    for (kind, flags, at, address, len) in
        [(1_u32, 7_u32, CODE_AT, entry, len), (4, 4, NOTE_AT, 0, 20)]
    {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [at, address, address, len, len, 4] {
            file.extend(word.to_le_bytes());
        }
    }
    for word in [4, 4, 18_u32] {
        file.extend(word.to_le_bytes());
    }
    file.extend(b"Xen\0");
    file.extend(ENTRY.to_le_bytes());
    file.resize(usize::try_from(CODE_AT).unwrap(), 0);
    file.extend(code);
    file
}

/// A small VM without a PMU that runs `code`.
pub(crate) fn vm(code: &[u8]) -> VmBuilder {
    VmBuilder::new()
        .memory(4 << 20)
        .pmu(None)
        .kernel_bytes(elf(code))
}

/// The same, running.
pub(crate) fn start(builder: VmBuilder) -> RunningVm {
    builder.build().unwrap().start().unwrap()
}

/// A sink that a test can read while the guest runs.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
