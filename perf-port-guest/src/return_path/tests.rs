// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IRET works from CPL 3 to CPL 3 as well, so that the window can be run where the tests run.

use core::arch::global_asm;

use perf_port::page as at;

use crate::Page;

global_asm!(
    ".pushsection .text.perf_port_guest_tests, \"ax\", @progbits",
    // rdi: the page; rsi: what the user's RAX is. Returns RAX; RDX is 0 if it came back by IRET.
    ".global perf_port_guest_run_window",
    "perf_port_guest_run_window:",
    "push rbx",
    "mov rbx, rsp",
    "mov rax, ss",
    "push rax",
    "push rbx",
    "pushfq",
    "mov rax, cs",
    "push rax",
    "lea rax, [rip + perf_port_guest_user]",
    "push rax",
    "mov [rsp - 8], rsi",
    "mov [rsp - 16], rdi",
    // Whatever is in RAX.
    "mov rax, -1",
    crate::return_to_user!(
        "perf_port_guest_window",
        "perf_port_guest_window_end",
        "perf_port_guest_trap"
    ),
    "perf_port_guest_trap:",
    "mov edx, 1",
    "mov rsp, rbx",
    "pop rbx",
    "ret",
    "perf_port_guest_user:",
    "mov edx, 0",
    "pop rbx",
    "ret",
    ".popsection",
);

#[repr(C)]
#[derive(Debug, PartialEq, Eq)]
struct Came {
    rax: u64,
    by_trap: u64,
}

unsafe extern "C" {
    fn perf_port_guest_run_window(page: *const Page, rax: u64) -> Came;
    static perf_port_guest_window: u8;
    static perf_port_guest_window_end: u8;
}

#[test]
fn the_window_returns_to_user_mode_unless_a_trap_waits() {
    let page = Page::new();
    for (trap, by_trap) in [
        (at::TRAP_NONE, 0),
        (at::TRAP_WAITS, 1),
        (at::TRAP_TAKEN, 0),
        (at::TRAP_WAITS, 1),
    ] {
        assert!(page.host_side().store32(at::TRAP, trap));
        let rax = 0x1234_5678_9abc_def0;
        // SAFETY: it keeps to the calling convention, and reads the page.
        let came = unsafe { perf_port_guest_run_window(&page, rax) };
        assert_eq!(came, Came { rax, by_trap });
    }
}

#[test]
fn the_window_lies_between_its_labels() {
    let window = (&raw const perf_port_guest_window) as u64;
    let end = (&raw const perf_port_guest_window_end) as u64;
    // Five instructions: a MOV of 5 bytes, CMP of 4, MOV of 5, JE of 2 or 6, IRETQ of 2.
    assert!((18..=22).contains(&(end - window)), "{}", end - window);
}
