// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RDPMC everywhere it may be, and everything near it that must go on as if it were not emulated.

#![no_std]
#![no_main]

mod common;
mod gates;
mod interrupted;
mod reads;
mod refused;
mod steps;

use rt::apic::PmiDelivery;
use rt::probe::Cpl;

use crate::gates::*;
use crate::interrupted::*;
use crate::reads::*;
use crate::refused::*;
use crate::steps::*;

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("CPL 0 reads every counter", kernel_reads),
        ("CPL 3 reads with CR4.PCE", user_reads),
        ("CPL 3 takes a #GP without CR4.PCE", user_refused),
        ("a bad index is a #GP at either level", bad_index),
        (
            "a counter disabled before the read still reads",
            read_after_disable,
        ),
        ("a running counter reads like RDMSR", running),
        ("only ECX names the counter", only_ecx),
        ("prefixes change nothing", prefixes),
        ("32-bit user code reads", compatibility_mode),
        ("an instruction across two pages", across_pages),
        ("registers and flags stay as they are", preserved),
        ("a stack pointer that is not aligned stays so", odd_stacks),
        ("other #GPs reach the guest's handler", other_faults),
        ("INT 13 reaches the guest's handler", software_interrupt),
        ("single steps over RDPMC: one #DB each", single_steps),
        ("ICEBP arrives", icebp),
        ("2,000 reads at CPL 0 never go back", || many(Cpl::Zero)),
        ("2,000 reads at CPL 3 never go back", || many(Cpl::Three)),
        ("reads at CPL 0 while NMIs arrive", || {
            under_pmis(PmiDelivery::Nmi, Cpl::Zero)
        }),
        ("reads at CPL 3 while NMIs arrive", || {
            under_pmis(PmiDelivery::Nmi, Cpl::Three)
        }),
        ("reads at CPL 0 while vectors arrive", || {
            under_pmis(PmiDelivery::Vector, Cpl::Zero)
        }),
        ("reads at CPL 3 while vectors arrive", || {
            under_pmis(PmiDelivery::Vector, Cpl::Three)
        }),
        ("RDPMC inside an NMI handler", inside_nmi),
        ("RDPMC inside a #GP handler", inside_gp),
        ("the #GP gate on an interrupt stack", gate_on_ist),
        ("the #GP gate rewritten", gate_rewritten),
        ("the IDT moved", idt_moved),
        ("on every CPU", || rt::smp::on_each(all_is_well)),
    ]);
}
