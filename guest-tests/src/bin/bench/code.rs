// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the benchmark guests execute: position-independent loops, RBX times, that end in an OUT.

use std::arch::global_asm;

/// The port whose OUT ends a loop.
pub(crate) const DONE: u16 = 0x10;

/// The machine code between the symbol `$symbol` and the one that ends it.
macro_rules! guest_bytes {
    ($name:ident, $symbol:literal) => {
        /// Its machine code.
        pub(crate) fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = $symbol]
                static START: u8;
                #[link_name = concat!($symbol, "_end")]
                static END: u8;
            }
            let (start, end) = (&raw const START, &raw const END);
            // SAFETY: the two symbols enclose read-only bytes of this program.
            unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
        }
    };
}
pub(crate) use guest_bytes;

/// A loop of RBX turns around `$body`, as bytes to be copied into a guest.
macro_rules! guest_loop {
    ($name:ident, $symbol:literal, $($body:literal),+) => {
        global_asm!(
            ".pushsection .rodata.guest, \"a\"",
            // Global, since the linker joins several object files; hidden, since nobody else does.
            concat!(".globl ", $symbol, ", ", $symbol, "_end"),
            concat!(".hidden ", $symbol, ", ", $symbol, "_end"),
            concat!($symbol, ":"),
            "2:",
            $($body,)+
            "dec rbx",
            "jnz 2b",
            "out 0x10, al",
            "3: jmp 3b",
            concat!($symbol, "_end:"),
            ".popsection",
        );

        guest_bytes!($name, $symbol);
    };
}

guest_loop!(wrmsr, "bench_wrmsr", "wrmsr");
guest_loop!(rdmsr, "bench_rdmsr", "rdmsr");
guest_loop!(rdpmc, "bench_rdpmc", "xor ecx, ecx", "rdpmc");
guest_loop!(out, "bench_out", "out 0x80, al");
guest_loop!(
    compute,
    "bench_compute",
    "imul rax, rax, 3",
    "add rax, rbx",
    "xor rdx, rax",
    "rol rdx, 7",
    "sub rax, rdx"
);
guest_loop!(
    out_and_compute,
    "bench_out_and_compute",
    "mov rcx, 300",
    "4: imul rax, rax, 3",
    "xor rdx, rax",
    "dec rcx",
    "jnz 4b",
    "out 0x80, al"
);
// Its turns do not end: RBX is 0 again after 2^64. It counts, so that others see that it is there.
guest_loop!(spin, "bench_spin", "inc dword ptr [rcx]");
