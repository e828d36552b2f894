// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The runtime itself: what the other kernels stand on, and no PMU.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering};

use rt::cpu::{rflags, selector};
use rt::mem::{self, Access};
use rt::tap::Outcome;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{apic, check, check_eq, cpu, msr, session, smp, time};

rt::kernel!(main);

fn main() {
    rt::tap::run(&[
        ("a missing MSR is a #GP that is caught", missing_msr),
        ("user code runs and comes back", user_code),
        ("user code cannot reach supervisor pages", supervisor_page),
        ("an unmapped user page faults", unmapped_page),
        ("registers survive a session", registers),
        ("single steps arrive one by one", single_steps),
        ("INT 13 arrives without an error code", int_13),
        ("all CPUs start", all_cpus),
        ("IPIs arrive on every CPU", ipis),
        ("a halted CPU is woken by its timer", timer),
    ]);
}

global_asm!(
    r#"
    .section .user.text, "ax", @progbits
    .global user_return
user_return:
    int 0x80
    .global user_steps
user_steps:
    nop
    inc rax
    nop
    int 0x80
    .global user_load
user_load:
    mov rax, [rdi]
    int 0x80

    .section .text, "ax", @progbits
    .global kernel_int_13
kernel_int_13:
    int 13
    .global kernel_return
kernel_return:
    int 0x80
    "#
);

unsafe extern "C" {
    fn user_return();
    fn user_steps();
    fn user_load();
    fn kernel_int_13();
    fn kernel_return();
}

fn at(function: unsafe extern "C" fn()) -> u64 {
    function as *const () as u64
}

fn user(function: unsafe extern "C" fn()) -> TrapFrame {
    TrapFrame::user(at(function), session::user_stack())
}

fn missing_msr() -> Outcome {
    // The x2APIC has no such register.
    check_eq!(msr::try_read(0x80c), Err(msr::Gp { error: 0 }), "RDMSR");
    Ok(())
}

fn user_code() -> Outcome {
    let end = session::run(&user(user_return));
    check_eq!(end.vector(), vector::RETURN, "vector");
    check_eq!(end.cs, selector::USER_CODE, "CS");
    check_eq!(end.rip, at(user_return) + 2, "RIP");
    Ok(())
}

fn supervisor_page() -> Outcome {
    let mut start = user(user_load);
    start.rdi = session::trap_stack() - 64;
    let end = session::run(&start);
    check_eq!(
        (end.vector(), end.error),
        (vector::PAGE_FAULT, 5),
        "vector and error"
    );
    check_eq!(cpu::cr2(), start.rdi, "CR2");
    start.rip = at(kernel_return);
    let end = session::run(&start);
    check_eq!(
        end.vector(),
        vector::PAGE_FAULT,
        "vector of a jump into the kernel"
    );
    check_eq!(end.rip, at(kernel_return), "RIP of a jump into the kernel");
    Ok(())
}

fn unmapped_page() -> Outcome {
    let mut start = user(user_load);
    start.rdi = mem::PLAYGROUND;
    mem::set_access(start.rdi, Access::User);
    check_eq!(session::run(&start).vector(), vector::RETURN, "mapped");
    mem::set_access(start.rdi, Access::None);
    check_eq!(
        session::run(&start).vector(),
        vector::PAGE_FAULT,
        "unmapped"
    );
    mem::set_access(start.rdi, Access::Kernel);
    Ok(())
}

fn registers() -> Outcome {
    for start in [
        user(user_return),
        TrapFrame::kernel(at(kernel_return), session::kernel_stack()),
    ] {
        let mut start = start;
        (start.rax, start.rbx, start.rcx, start.rdx) = (1, 2, 3, 4);
        (start.rsi, start.rdi, start.rbp, start.r8) = (5, 6, 7, 8);
        (start.r9, start.r10, start.r11, start.r12) = (9, 10, 11, 12);
        (start.r13, start.r14, start.r15) = (13, 14, 15);
        start.rflags |= rflags::ARITHMETIC | rflags::DF | rflags::AC | rflags::ID;
        let end = session::run(&start);
        start.rip += 2;
        start.vector = u64::from(vector::RETURN);
        check_eq!(end, start, "registers");
    }
    Ok(())
}

static STEPS: AtomicU32 = AtomicU32::new(0);

fn on_step(_: &mut TrapFrame) -> Verdict {
    if cpu::take_dr6() & cpu::DR6_SINGLE_STEP != 0 {
        STEPS.fetch_add(1, Ordering::Relaxed);
    }
    Verdict::Resume
}

fn single_steps() -> Outcome {
    trap::hook(vector::DEBUG, on_step);
    let mut start = user(user_steps);
    start.rflags |= rflags::TF;
    let end = session::run(&start);
    trap::unhook(vector::DEBUG);
    check_eq!(end.vector(), vector::RETURN, "vector");
    check_eq!(STEPS.load(Ordering::Relaxed), 3, "steps");
    Ok(())
}

fn int_13() -> Outcome {
    let start = TrapFrame::kernel(at(kernel_int_13), session::kernel_stack());
    let end = session::run(&start);
    check_eq!(
        (end.vector(), end.rip),
        (13, start.rip + 2),
        "vector and RIP"
    );
    check_eq!(
        (end.rsp, end.ss),
        (start.rsp, selector::KERNEL_DATA),
        "stack"
    );
    Ok(())
}

static SEEN: AtomicU32 = AtomicU32::new(0);

fn all_cpus() -> Outcome {
    smp::together(|| {
        SEEN.fetch_or(1 << cpu::current(), Ordering::Relaxed);
        Ok(())
    })?;
    check_eq!(
        SEEN.load(Ordering::Relaxed),
        (1 << cpu::count()) - 1,
        "CPUs that ran"
    );
    Ok(())
}

static IPIS: AtomicU32 = AtomicU32::new(0);

fn ipis() -> Outcome {
    trap::hook(0x90, |_| {
        IPIS.fetch_add(1, Ordering::Relaxed);
        Verdict::Resume
    });
    smp::on_each(|| {
        for target in 0..cpu::count() {
            let before = IPIS.load(Ordering::Relaxed);
            apic::send_ipi(target, 0x90);
            let arrived = time::wait_ms(5_000, || IPIS.load(Ordering::Relaxed) == before + 1);
            check!(arrived, "no IPI on CPU {target} within 5 s");
        }
        Ok(())
    })
}

fn timer() -> Outcome {
    let before = time::tsc();
    apic::halt_for(10_000_000);
    let passed = time::tsc() - before;
    check!(
        passed >= 9_000_000,
        "woken after {passed} ticks of 10,000,000"
    );
    Ok(())
}
