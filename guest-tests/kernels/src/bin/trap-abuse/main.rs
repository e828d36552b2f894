// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The host emulates RDPMC by looking at what the guest's #GP handler is about to see. Nobody may
//! gain anything by pretending: user code that jumps to the handler with a frame of its own
//! making, a table that changes at the wrong moment, a stack that is not there.

#![no_std]
#![no_main]

mod common;
mod forged;
mod jumps;
mod kernel_frames;
mod missing;
mod races;

use crate::common::*;
use crate::jumps::*;
use crate::kernel_frames::*;
use crate::missing::*;
use crate::races::*;

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("user code jumps to the handler with a forged frame", || {
            jumps(true)
        }),
        ("the same without CR4.PCE", || jumps(false)),
        (
            "a forged frame where the kernel's stack would be",
            kernel_stack_as_user,
        ),
        (
            "the same with the gate on an interrupt stack",
            interrupt_stack_as_user,
        ),
        ("a jump from 32-bit user code", jump_from_32_bits),
        (
            "a single-stepped jump: one #DB, then the page fault",
            stepped_jump,
        ),
        ("RDPMC by user code without a stack", no_stack),
        ("RDPMC by user code whose page is gone", no_page),
        (
            "kernel code jumps there with a frame that does not fit",
            mismatched_kernel_frames,
        ),
        (
            "kernel code jumps there with a frame that fits",
            fitting_kernel_frames,
        ),
        ("the gate is rewritten while user code faults", || {
            race(rewrite_gate)
        }),
        (
            "the gate moves between stacks while user code faults",
            || race(move_stack),
        ),
        (
            "the table is swapped under the feet of its CPU",
            swap_tables,
        ),
        ("the instruction is rewritten while it faults", rewrite_code),
        ("user pages come and go while user code faults", || {
            race(unmap_stack)
        }),
        ("RDPMC works as before", still_works),
    ]);
}
