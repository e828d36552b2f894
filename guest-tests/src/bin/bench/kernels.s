# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# The kernels of kernels.rs, loaded at 100000H and entered in 32-bit protected mode without paging, with
# interrupts off. All of their offsets fit 16 bits, so that 10H is the upper half of each address.

.set KERNEL, 0x100000
.set TRAMPOLINE, 0x8000             # start-up IPI vector 8
.set STACKS, 0x80000
.set VECTOR, 0x40
.set APIC_BASE, 0x1b                # IA32_APIC_BASE
.set X2APIC_EOI, 0x80b
.set X2APIC_ICR, 0x830
.set APIC_ID, 0xfee00020
.set APIC_EOI, 0xfee000b0
.set APIC_SPURIOUS, 0xfee000f0
.set APIC_ICR_LOW, 0xfee00300
.set APIC_LVTPC, 0xfee00340
.set IOAPIC_SELECT, 0xfec00000
.set IOAPIC_WINDOW, 0xfec00010

# Flat segments, and an IDT in which VECTOR is the only gate.
.macro tables name, handler
\name\()_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
\name\()_gdtr:
    .word 23
    .long KERNEL + \name\()_gdt - \name
\name\()_idt:
    .fill VECTOR, 8, 0
    .word \handler - \name, 8, 0x8e00, 0x10
\name\()_idtr:
    .word (VECTOR + 1) * 8 - 1
    .long KERNEL + \name\()_idt - \name
.endm

# From any 32-bit code segment to the kernel's own, and its data segments, stack, IDT and local APIC.
.macro settle name
    ljmp $8, $(KERNEL + 77f - \name)
77: mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov APIC_ID, %eax
    shr $(24 - 12), %eax
    lea STACKS(%eax), %esp
    lidtl KERNEL + \name\()_idtr - \name
    movl $0x1ff, APIC_SPURIOUS
.endm

# Real-mode code to where start-up IPIs can reach it.
.macro copy_trampoline name
    mov $(KERNEL + \name\()_ap - \name), %esi
    mov $TRAMPOLINE, %edi
    mov $(\name\()_ap_end - \name\()_ap), %ecx
    cld
    rep movsb
.endm

.pushsection .rodata.guest, "a"

# vCPU 0: starts each vCPU that comes, ejects each that is asked for, and halts in between.
.globl bench_hotplug, bench_hotplug_end
.hidden bench_hotplug, bench_hotplug_end
.balign 8
bench_hotplug:
.Lhp:
.code32
    lgdtl KERNEL + .Lhp_gdtr - .Lhp
    settle .Lhp
    copy_trampoline .Lhp
    mov $APIC_BASE, %ecx            # x2APIC mode, as guests use it where it is offered
    rdmsr
    or $0xc00, %eax
    wrmsr
    # Pin 16 as an edge to VECTOR of the CPU with APIC id 0.
    movl $0x31, IOAPIC_SELECT
    movl $0, IOAPIC_WINDOW
    movl $0x30, IOAPIC_SELECT
    movl $VECTOR, IOAPIC_WINDOW
    out %al, ${ready}
.Lhp_look:
    cli
    mov $0xcda, %dx                 # command: the lowest vCPU with an event
    in %dx, %al
    cmp $0xff, %al
    jne .Lhp_event
    sti                             # No interrupt is taken between these two.
    hlt
    jmp .Lhp_look
.Lhp_event:
    mov $2, %al                     # NEXT
    out %al, %dx
    mov $0xcd8, %dx                 # selector
    in %dx, %al
    movzbl %al, %ebx
    inc %edx                        # status
    in %dx, %al
    test $2, %al                    # ADDED
    jz .Lhp_removal
    mov $2, %al
    out %al, %dx
    mov $X2APIC_ICR, %ecx
    mov %ebx, %edx
    mov $0x4500, %eax               # INIT
    wrmsr
    mov $(0x4600 | TRAMPOLINE >> 12), %eax
    wrmsr
    jmp .Lhp_look
.Lhp_removal:
    mov $4, %al                     # REMOVE
    out %al, %dx
    inc %edx
    mov $1, %al                     # EJECT
    out %al, %dx
    jmp .Lhp_look
.Lhp_handler:                       # What it interrupts, the HLT, needs no registers.
    mov $X2APIC_EOI, %ecx
    xor %eax, %eax
    xor %edx, %edx
    wrmsr
    iretl
tables .Lhp, .Lhp_handler
.Lhp_ap:
.code16
    out %al, ${started}
    cli
1:  hlt
    jmp 1b
.Lhp_ap_end:
bench_hotplug_end:

# Two vCPUs that count cycles with PMI after PMI, and do nothing else.
.globl bench_pmis, bench_pmis_end
.hidden bench_pmis, bench_pmis_end
.balign 8
bench_pmis:
.Lpm:
.code32
    lgdtl KERNEL + .Lpm_gdtr - .Lpm
    settle .Lpm
    copy_trampoline .Lpm
    movl $0xc4500, APIC_ICR_LOW     # INIT to all others
    movl $(0xc4600 | TRAMPOLINE >> 12), APIC_ICR_LOW
    jmp .Lpm_count
.Lpm_joined:
    settle .Lpm
.Lpm_count:
    movl $VECTOR, APIC_LVTPC
    xor %edx, %edx
    mov $0xc1, %ecx                 # IA32_PMC0
    mov $(-{period}), %eax
    wrmsr
    mov $0x186, %ecx                # IA32_PERFEVTSEL0: cycles, USR, OS, INT, EN
    mov $0x53003c, %eax
    wrmsr
    mov $0x38f, %ecx                # IA32_PERF_GLOBAL_CTRL
    mov $1, %eax
    wrmsr
    sti
1:  jmp 1b
.Lpm_handler:                       # Nothing that it interrupts uses registers.
    xor %edx, %edx
    mov $0x390, %ecx                # IA32_PERF_GLOBAL_OVF_CTRL
    mov $1, %eax
    wrmsr
    mov $0xc1, %ecx
    mov $(-{period}), %eax
    wrmsr
    movl $VECTOR, APIC_LVTPC        # Its delivery may have masked it.
    movl $0, APIC_EOI
    iretl
tables .Lpm, .Lpm_handler
.Lpm_ap:
.code16
    xor %ax, %ax
    mov %ax, %ds
    lgdtl TRAMPOLINE + .Lpm_ap_gdtr - .Lpm_ap
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $8, $(KERNEL + .Lpm_joined - .Lpm)
.Lpm_ap_gdtr:
    .word 23
    .long KERNEL + .Lpm_gdt - .Lpm
.Lpm_ap_end:
bench_pmis_end:

# Exits all the time, as often as it is asked to: each read of {start} that is not 0 is a run.
.globl bench_exits, bench_exits_end
.hidden bench_exits, bench_exits_end
.balign 8
bench_exits:
.code32
1:  in ${start}, %al
    test %al, %al
    jz 4f
    mov ${turns}, %ebx
2:  mov $300, %ecx
3:  imul $3, %eax, %eax
    xor %eax, %edx
    dec %ecx
    jnz 3b
    out %al, $0x80
    dec %ebx
    jnz 2b
    out %al, ${done}
    jmp 1b
4:  hlt
    jmp 4b
bench_exits_end:
.code64
.popsection
