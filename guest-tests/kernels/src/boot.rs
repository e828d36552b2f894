// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From the PVH entry point, or a start-up IPI, to Rust.

use core::arch::global_asm;

use crate::{apic, cmdline, exit, idt, mem, percpu, serial, smp};

/// Where the start-up code of the other CPUs is copied: the vector of the start-up IPI, times 4096.
pub(crate) const TRAMPOLINE: u64 = 0x8000;

// The tables are spelt out as data, so that the code which runs without paging stays short:
// 4 KiB pages for the first 16 MiB (the image and what tests remap), 2 MiB pages up to 1 GiB, and
// one for the I/O APIC.
// Upper levels allow user access; the last level decides (see mem.rs).
global_asm!(
    r#"
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18              // name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_start

    .section .data.boot, "aw", @progbits
    .balign 4096
    .global boot_pml4
boot_pml4:
    .quad boot_pdpt + 7
    .zero 4096 - 8
boot_pdpt:
    .quad boot_pd + 7
    .zero 8 * 2
    .quad boot_devices_pd + 3
    .zero 4096 - 8 * 4
boot_devices_pd:                // the fourth GiB
    .zero 8 * 502
    .quad 0xfec00000 + 0x9b     // the I/O APIC, uncached
    .zero 8 * 9
boot_pd:
    .set i, 0
    .rept 8
    .quad boot_pt + (i << 12) + 7
    .set i, i + 1
    .endr
    .rept 504
    .quad (i << 21) + 0x83
    .set i, i + 1
    .endr
    .global boot_pt
boot_pt:
    .set i, 0
    .rept 4096
    .quad (i << 12) + 3
    .set i, i + 1
    .endr

    .balign 64
    .global gdt
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    // 0x08 kernel code, 64 bits
    .quad 0x00cf93000000ffff    // 0x10 kernel data
    .quad 0x00cffb000000ffff    // 0x18 user code, 32 bits
    .quad 0x00cff3000000ffff    // 0x20 user data
    .quad 0x00affb000000ffff    // 0x28 user code, 64 bits
    .quad 0x00cf9b000000ffff    // 0x30 kernel code, 32 bits: only on the way up
    .quad 0
    .global gdt_tss
gdt_tss:
    .zero 16 * {max_cpus}       // 0x40 + 16 * cpu
gdt_end:
    .global gdtr
gdtr:
    .word gdt_end - gdt - 1
    .quad gdt
    .global start_info
start_info:
    .quad 0

    .section .text.boot, "ax", @progbits
    .code32
    .global pvh_start
pvh_start:
    cli
    cld
    mov dword ptr [start_info], ebx
enter_long_mode:
    lgdt [gdtr]
    mov eax, cr4
    or eax, 0x20                // PAE
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov ecx, 0xc0000080         // EFER
    rdmsr
    or eax, 0x100               // LME
    wrmsr
    mov eax, cr0
    and eax, 0x9fffffff         // CD and NW are set after INIT
    or eax, 0x80010001          // PG, WP, PE
    mov cr0, eax
    .byte 0xea                  // far jump to 64-bit code
    .long start64
    .word 0x08
    .code64
start64:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov eax, 1
    cpuid
    shr ebx, 24                 // initial APIC id
    mov edi, ebx
    inc ebx
    imul rbx, rbx, {stack_size}
    add rbx, offset {stacks}
    mov rsp, rbx
    xor ebp, ebp
    call {start}
    ud2

    // Copied to TRAMPOLINE; runs there in real mode. Its own addresses are spelt out, since it
    // does not run where it was linked.
    .balign 16
    .global trampoline_start
trampoline_start:
    .code16
    cli
    cld
    xor ax, ax
    mov ds, ax
    .byte 0x0f, 0x01, 0x16      // lgdt [disp16]
    .word {trampoline} + trampoline_gdtr - trampoline_start
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea            // far jump to 32-bit code
    .long {trampoline} + trampoline32 - trampoline_start
    .word 0x30
    .code32
trampoline32:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, offset enter_long_mode
    jmp eax
    .balign 4
trampoline_gdtr:
    .word gdt_end - gdt - 1
    .long gdt
    .global trampoline_end
trampoline_end:
    .code64
    "#,
    max_cpus = const percpu::MAX_CPUS,
    stack_size = const percpu::STACK_SIZE,
    stacks = sym percpu::MAIN_STACKS,
    start = sym start,
    trampoline = const TRAMPOLINE,
);

unsafe extern "Rust" {
    safe fn kernel_main();
}

unsafe extern "C" {
    static start_info: u64;
}

/// The first Rust code of every CPU: interrupts off, on its main stack.
extern "C" fn start(apic_id: u32) -> ! {
    let cpu = crate::index(u64::from(apic_id));
    percpu::init(cpu);
    if cpu != 0 {
        idt::load(idt::main());
        apic::enable();
        smp::serve(cpu)
    }
    idt::init();
    idt::load(idt::main());
    mem::init();
    serial::init();
    // SAFETY: written once, by the boot code before any Rust ran.
    let info = unsafe { start_info };
    cmdline::init(info);
    apic::enable();
    crate::cpu::enable_interrupts();
    kernel_main();
    exit::exit(0)
}
