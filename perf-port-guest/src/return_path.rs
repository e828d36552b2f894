// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The last look before IRET.

/// The end of a kernel's return path, as text for `global_asm!`: the last look at the page, and IRET
/// (U4). Five instructions between the labels `$start` and `$end`, which
/// [`Page::set_return_window`](crate::Page::set_return_window) wants to know; where a trap waits, it
/// jumps to `$trap_waits` instead.
///
/// Before it, with interrupts off (and SWAPGS done, in kernels that have it):
///
/// - RSP points to the frame that IRET takes;
/// - the user's RAX is in the 8 bytes below, the linear address of this vCPU's page in the 8 bytes
///   below those;
/// - all other registers are the user's.
///
/// At `$trap_waits` all of that is so, and RAX is the user's: as if the user's code had just been
/// interrupted. Enter the kernel as for an interrupt, [take the
/// record](crate::VcpuPort::take_record), and come back.
///
/// What is below RSP has to stay for those few instructions: handlers of NMI, machine checks and debug
/// exceptions need stacks of their own (IST), and end by
/// [`Page::restart_rip`](crate::Page::restart_rip).
///
/// ```no_run
/// # fn main() {}
/// # extern "C" fn save_registers_and_handle() {}
/// core::arch::global_asm!(
///     ".pushsection .text",
///     // ... the other registers; RAX and the page's address go below the frame ...
///     perf_port_guest::return_to_user!("return_start", "return_end", "trap_waits"),
///     "trap_waits:",
///     "jmp {enter}", // saves all registers, and handles the trap
///     ".popsection",
///     enter = sym save_registers_and_handle,
/// );
/// ```
#[macro_export]
macro_rules! return_to_user {
    ($start:literal, $end:literal, $trap_waits:literal) => {
        ::core::concat!(
            ".global ",
            $start,
            "\n",
            $start,
            ":\n",
            // Each start loads RAX anew, and nothing else is changed before IRET.
            "mov rax, [rsp - 16]\n",
            "cmp dword ptr [rax + 0x044], 1\n",
            // MOV leaves the flags.
            "mov rax, [rsp - 8]\n",
            "je ",
            $trap_waits,
            "\n",
            "iretq\n",
            ".global ",
            $end,
            "\n",
            $end,
            ":\n",
        )
    };
}

// What the text above says in numbers.
const _: () = assert!(perf_port::page::TRAP == 0x044 && perf_port::page::TRAP_WAITS == 1);

#[cfg(all(test, not(loom), target_arch = "x86_64"))]
mod tests;
