// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A KVM loop of one's own, and what it takes to give its guest the perf port.
//!
//! The guest's kernel finds the port by CPUID, registers its page, makes a task, opens an event on it
//! that traps every third tick, and lets the task tick in user mode. It takes three traps. What a VMM
//! adds for the port is marked `PORT`, here and in `machine.rs`.
//!
//! ```text
//! cargo run -p vpmu-kvm --example embed_port
//! ```
//!
//! docs/embedding.md walks through it; docs/perf-port.md is what the guest does.

use std::arch::global_asm;
use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;

use kvm_bindings::kvm_regs;
use kvm_ioctls::VcpuExit;
use perf_port::io::TRAP_VECTOR;
use perf_port_host::{PortLimits, PortMemory};
use vcpu_call::VcpuId;
use vpmu::NoObserver;
use vpmu_kvm::{Exit, Handled, PerfCore, PmuOptions, VcpuPmuKvm, kick};

pub(crate) mod machine;

use machine::{CODE, KERNEL_STACK, MODEL, Machine, PAGE, USER_CODE, USER_STACK};

/// Where in the code the handler of traps is.
const HANDLER: u64 = CODE + 0x100;

// The guest. Port 10H takes a trap's data, 14H what the task counted, 18H says that it is done.
global_asm!(
    ".pushsection .rodata.embed_port_guest, \"a\"",
    // Global, since the linker joins several object files; hidden, since nobody else does.
    ".globl embed_port_guest, embed_port_guest_end",
    ".hidden embed_port_guest, embed_port_guest_end",
    "embed_port_guest:",
    "   mov eax, 0x40000101", // Where the port is: its first I/O port, and the tick page.
    "   cpuid",
    "   movzx r8d, cx",
    "   mov ebx, edx",
    "   shl rbx, 12",
    "   mov edi, {page}",
    "   mov edx, r8d", // PAGE: this vCPU's.
    "   mov eax, {page} >> 12",
    "   out dx, eax",
    "   add edx, 4",               // COMMAND, from now on.
    "   mov dword ptr [rdi + 0x80], 1", // CREATE on vCPU 0, with a name.
    "   mov rax, 0x72656b726f77",
    "   mov [rdi + 0x98], rax",
    "   out dx, eax",
    "   mov rax, [rdi + 0x88]", // The task: it runs now, and nobody asks for announcements.
    "   mov [rdi], rax",
    "   mov dword ptr [rdi + 0x80], 16", // OPEN with SIGTRAP and REMOVE_ON_EXEC,
    "   mov qword ptr [rdi + 0x90], 24",
    "   mov [rdi + 0x98], rax", // on the task, on whatever vCPU:
    "   mov qword ptr [rdi + 0xa0], -1",
    "   mov qword ptr [rdi + 0xa8], 0x100", // port.tick, every third, with a 7.
    "   mov qword ptr [rdi + 0xb0], 3",
    "   mov qword ptr [rdi + 0xb8], 7",
    "   out dx, eax",
    "   push {user_data}", // To user mode, with interrupts on.
    "   push {user_stack}",
    "   push 0x202",
    "   push {user_code}",
    "   lea rax, [rip + 2f]",
    "   push rax",
    "   xor ecx, ecx",
    "   xor r9d, r9d",
    "   iretq",
    "2: mov [rbx], eax", // The task: ticks, and counts them.
    "   inc ecx",
    "   jmp 2b",
    ".org embed_port_guest + 0x100, 0xf4",
    "   mov eax, [rdi + 0x60]", // The handler: the record, and TRAP_DONE.
    "   out 0x10, eax",
    "   mov eax, ecx",
    "   out 0x14, eax",
    "   mov dword ptr [rdi + 0x80], 9",
    "   out dx, eax",
    "   inc r9d",
    "   cmp r9d, 3",
    "   je 3f",
    "   iretq", // The kernel makes no ticks: no trap can wait here.
    "3: out 0x18, al",
    "   hlt",
    "embed_port_guest_end:",
    ".popsection",
    page = const PAGE,
    user_data = const machine::USER_DATA,
    user_stack = const USER_STACK,
    user_code = const USER_CODE,
);

unsafe extern "C" {
    static embed_port_guest: u8;
    static embed_port_guest_end: u8;
}

fn guest_code() -> &'static [u8] {
    let (start, end) = (&raw const embed_port_guest, &raw const embed_port_guest_end);
    // SAFETY: the two symbols enclose the bytes assembled above, which nobody writes to.
    unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout().lock())
}

/// Runs the guest and prints its traps to `out`.
pub(crate) fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let Machine { ram, vm, mut vcpus } = Machine::new(1, guest_code())?;
    ram.set_gate(TRAP_VECTOR, HANDLER)?;
    let mut vcpu = vcpus.remove(0);
    vcpu.set_regs(&kvm_regs {
        rip: CODE,
        rsp: KERNEL_STACK,
        rflags: 2,
        ..Default::default()
    })?;

    // PORT: once a VM.
    let memory = Arc::clone(&ram) as Arc<dyn PortMemory>;
    let core = PerfCore::with_port(1, NoObserver, memory, PortLimits::default());
    // PORT: the perf core is what the vCPU counts by.
    let guard = kick::bind(&mut vcpu)?;
    let options = PmuOptions::new(MODEL, vcpu.get_tsc_khz()?, 0);
    let source = core.bind(VcpuId(0), &guard, options.tsc_khz)?;
    let mut pmu = VcpuPmuKvm::with_source(vm, &guard, &options, source)?;

    let (mut calls, mut ticks) = (0, 0);
    loop {
        guard.clear();
        let exit = match pmu.run(&mut vcpu, &*ram)? {
            Exit::Vcpu(exit) => exit,
            // PORT: served already.
            Exit::Handled(Handled::Port) => {
                calls += 1;
                continue;
            }
            Exit::Handled(Handled::Tick) => {
                ticks += 1;
                continue;
            }
            _ => continue,
        };
        match exit {
            VcpuExit::IoOut(0x10, data) => write!(out, "A trap with a {}: ", number(data))?,
            VcpuExit::IoOut(0x14, count) => {
                writeln!(out, "the task had counted {}", number(count))?;
            }
            VcpuExit::IoOut(0x18, _) => break,
            other => return Err(format!("unexpected exit {other:?}").into()),
        }
    }
    let tasks = core.port().map_or_else(Vec::new, |port| port.tasks());
    for task in tasks {
        writeln!(out, "The host knows the task {}", task.name)?;
    }
    writeln!(out, "{calls} calls and {ticks} ticks")?;
    Ok(())
}

/// What the guest wrote to a port.
fn number(data: &[u8]) -> u64 {
    data.iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
