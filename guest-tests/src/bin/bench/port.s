# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# The kernels that use the perf port, with the macros of kernels.s.

.set PORT_PAGE, 0xce0               # registers of the port
.set PORT_COMMAND, 0xce4
.set TICK, 0xfeb00000
.set PAGES, 0x200000                # of all vCPUs, by APIC id; addresses and frames
.set FRAMES, PAGES >> 12
.set CURRENT, 0x00
.set ANNOUNCE, 0x40
.set OP, 0x80
.set RESULT, 0x88
.set ARG, 0x90
.set CREATE, 1
.set TRAP_DONE, 9
.set OPEN, 16

# Runs a command of the page at PAGES; spoils EAX and EDX.
.macro command page, op
    movl $\op, \page + OP
    mov $PORT_COMMAND, %edx
    out %eax, %dx
.endm

# Shares a page with the host, makes a task and says that it runs; its number is in EAX.
.macro become_task page, vcpu
    mov $(\page >> 12), %eax
    mov $PORT_PAGE, %edx
    out %eax, %dx
    movl $\vcpu, \page + ARG
    command \page, CREATE
    mov \page + RESULT, %eax
    mov %eax, \page + CURRENT
.endm

.pushsection .rodata.guest, "a"

# Switches between a task and none, as often as it is asked to: each read of {start} that is not 0 is a
# run. A switch that it had to announce is written to {failed}.
.globl bench_switches, bench_switches_end
.hidden bench_switches, bench_switches_end
.balign 8
bench_switches:
.code32
    become_task PAGES, 0
    mov %eax, %esi
    xor %edi, %edi
1:  in ${start}, %al
    test %al, %al
    jz 5f
    mov ${switches}, %ebx
2:  mov %edi, PAGES + CURRENT
    lock orl $0, PAGES + 0x800
    cmpl $0, PAGES + ANNOUNCE
    jne 4f
    mov %esi, PAGES + CURRENT
    lock orl $0, PAGES + 0x800
    cmpl $0, PAGES + ANNOUNCE
    jne 4f
    sub $2, %ebx
    jnz 2b
    out %al, ${done}
    jmp 1b
4:  out %al, ${failed}
5:  hlt
    jmp 5b
bench_switches_end:

# vCPU 1 runs a task, silently and for ever; vCPU 0 is halted.
.globl bench_task, bench_task_end
.hidden bench_task, bench_task_end
.balign 8
bench_task:
.Ltk:
.code32
    lgdtl KERNEL + .Ltk_gdtr - .Ltk
    settle .Ltk
    copy_trampoline .Ltk
    movl $0xc4500, APIC_ICR_LOW     # INIT to all others
    movl $(0xc4600 | TRAMPOLINE >> 12), APIC_ICR_LOW
1:  cli
    hlt
    jmp 1b
.Ltk_joined:
    settle .Ltk
    become_task (PAGES + 0x1000), 1
    out %al, ${ready}
1:  jmp 1b
.Ltk_handler:
    iretl
tables .Ltk, .Ltk_handler
.Ltk_ap:
.code16
    xor %ax, %ax
    mov %ax, %ds
    lgdtl TRAMPOLINE + .Ltk_ap_gdtr - .Ltk_ap
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $8, $(KERNEL + .Ltk_joined - .Ltk)
.Ltk_ap_gdtr:
    .word 23
    .long KERNEL + .Ltk_gdt - .Ltk
.Ltk_ap_end:
bench_task_end:

# A task in user mode with an event that traps at each tick. Each read of {start} that is not 0 is a run of
# {traps} ticks, and then of as many exits; how many TSC cycles passed from the ticks to the trap
# handler's first instruction, and over the exits, is written to {cycles}, one after the other.
.globl bench_traps, bench_traps_end
.hidden bench_traps, bench_traps_end
.balign 8
bench_traps:
.Ltr:
.set SUM, PAGES + 0x2000
.set LEFT, PAGES + 0x2004
.set TSS, PAGES + 0x3000            # zeros but for the stack of ring 0
.code32
    lgdtl KERNEL + .Ltr_gdtr - .Ltr
    ljmp $8, $(KERNEL + 1f - .Ltr)
1:  mov $0x10, %eax
    mov %eax, %ss
    mov $0x23, %eax                 # An IRET to ring 3 would take away those of ring 0.
    mov %eax, %ds
    mov %eax, %es
    mov $STACKS, %esp
    lidtl KERNEL + .Ltr_idtr - .Ltr
    movl $STACKS, TSS + 4
    movl $0x10, TSS + 8
    mov $0x28, %eax
    ltr %ax
    become_task PAGES, 0
    movl $24, PAGES + ARG           # REMOVE_ON_EXEC, SIGTRAP
    mov %eax, PAGES + ARG + 8
    movl $-1, PAGES + ARG + 16      # on any vCPU
    movl $-1, PAGES + ARG + 20
    movl $0x100, PAGES + ARG + 24   # port.tick
    movl $1, PAGES + ARG + 32
    command PAGES, OPEN
    cmpl $0, PAGES + RESULT + 4
    jne .Ltr_end
.Ltr_next:                          # In ring 0
    in ${start}, %al
    test %al, %al
    jz .Ltr_end
    movl $0, SUM
    movl ${traps}, LEFT
.Ltr_enter:
    push $0x23
    push $(STACKS + 0x2000)
    push $0x202                     # interrupts on
    push $0x1b
    push $(KERNEL + .Ltr_user - .Ltr)
    iretl
.Ltr_user:
    lfence
    rdtsc
    mov %eax, %esi
    movb $1, TICK
    hlt                             # Never: the trap comes first.
.Ltr_trap:
    rdtsc
    sub %esi, %eax
    add %eax, SUM
    add $20, %esp                   # It goes on anew.
    command PAGES, TRAP_DONE
    decl LEFT
    jnz .Ltr_enter
    mov SUM, %eax
    mov ${cycles}, %edx
    out %eax, %dx
    rdtsc
    mov %eax, %esi
    mov ${traps}, %ebx
1:  out %al, $0x80
    dec %ebx
    jnz 1b
    rdtsc
    sub %esi, %eax
    mov ${cycles}, %edx
    out %eax, %dx
    jmp .Ltr_next
.Ltr_end:
    cli
    hlt
    jmp .Ltr_end
.Ltr_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff
    .word 103, TSS & 0xffff         # an available 32-bit TSS
    .byte TSS >> 16 & 0xff, 0x89, 0, TSS >> 24
.Ltr_gdtr:
    .word 47
    .long KERNEL + .Ltr_gdt - .Ltr
.Ltr_idt:
    .fill 28, 8, 0
    .word .Ltr_trap - .Ltr, 8, 0x8e00, 0x10
.Ltr_idtr:
    .word 29 * 8 - 1
    .long KERNEL + .Ltr_idt - .Ltr
bench_traps_end:
.code64
.popsection
