// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The runtime itself: what the other kernels stand on, and no PMU.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use rt::cpu::{rflags, selector};
use rt::mem::{self, Access};
use rt::probe::{self, BOTH, Cpl};
use rt::tap::Outcome;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{apic, check, check_eq, cpu, fail, ioapic, msr, session, smp, time};

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
        ("a CPU stops and starts again", stop_and_start),
        ("a stopped CPU's outcome can still be had", last_outcome),
        ("a halted CPU is woken by its timer", timer),
        ("the I/O APIC brings a device's interrupt", device_interrupt),
    ]);
}

fn missing_msr() -> Outcome {
    // The x2APIC has no such register.
    check_eq!(msr::try_read(0x80c), Err(msr::Gp { error: 0 }), "RDMSR");
    Ok(())
}

fn user_code() -> Outcome {
    let start = probe::RETURN.start(Cpl::Three);
    let end = session::run(&start);
    check_eq!(end.vector(), vector::RETURN, "vector");
    check_eq!(end.cs, selector::USER_CODE, "CS");
    check_eq!(end.rip, start.rip + 2, "RIP");
    Ok(())
}

fn supervisor_page() -> Outcome {
    let mut start = probe::LOAD.start(Cpl::Three);
    start.r9 = session::trap_stack() - 64;
    let end = session::run(&start);
    check_eq!(
        (end.vector(), end.error),
        (vector::PAGE_FAULT, 5),
        "vector and error"
    );
    check_eq!(cpu::cr2(), start.r9, "CR2");
    start = probe::JUMP.start(Cpl::Three);
    start.r15 = probe::RETURN.address(Cpl::Zero);
    let end = session::run(&start);
    check_eq!(
        end.vector(),
        vector::PAGE_FAULT,
        "vector of a jump into the kernel"
    );
    check_eq!(end.rip, start.r15, "RIP of a jump into the kernel");
    Ok(())
}

fn unmapped_page() -> Outcome {
    let mut start = probe::LOAD.start(Cpl::Three);
    start.r9 = mem::PLAYGROUND;
    mem::set_access(start.r9, Access::User);
    check_eq!(session::run(&start).vector(), vector::RETURN, "mapped");
    mem::set_access(start.r9, Access::None);
    check_eq!(
        session::run(&start).vector(),
        vector::PAGE_FAULT,
        "unmapped"
    );
    mem::set_access(start.r9, Access::Kernel);
    Ok(())
}

fn registers() -> Outcome {
    for cpl in BOTH {
        let mut start = probe::RETURN.start(cpl);
        start.set_patterns();
        start.rflags |= rflags::ARITHMETIC | rflags::DF | rflags::AC | rflags::ID;
        let end = session::run(&start);
        start.rip += 2;
        start.vector = u64::from(vector::RETURN);
        check_eq!(end, start, "registers at CPL {cpl:?}");
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
    let mut start = probe::SPIN.start(Cpl::Three);
    start.r8 = 2;
    start.rflags |= rflags::TF;
    let end = session::run(&start);
    trap::unhook(vector::DEBUG);
    check_eq!(end.vector(), vector::RETURN, "vector");
    check_eq!(STEPS.load(Ordering::Relaxed), 4, "steps");
    Ok(())
}

fn int_13() -> Outcome {
    let start = probe::INT_13.start(Cpl::Zero);
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

static SELF_IPIS: AtomicU32 = AtomicU32::new(0);

fn stop_and_start() -> Outcome {
    let cpus = smp::start_all()?;
    check!(cpus >= 2, "only {cpus}: this kernel wants two");
    trap::hook(0x91, |_| {
        SELF_IPIS.fetch_add(1, Ordering::Relaxed);
        Verdict::Resume
    });
    for round in 0..50 {
        smp::stop_cpu(1)?;
        check!(!smp::is_online(1), "online after round {round}'s stop");
        check_eq!(smp::online().count(), cpus - 1, "CPUs online");
        smp::start_cpu(1)?;
        smp::run_on(1, || {
            check_eq!(cpu::current(), 1, "the CPU");
            // Traps from CPL 3 need the task state segment; interrupts, the APIC.
            user_code()?;
            let before = SELF_IPIS.load(Ordering::Relaxed);
            apic::send_ipi(1, 0x91);
            let came = time::wait_ms(5_000, || SELF_IPIS.load(Ordering::Relaxed) != before);
            check!(came, "no IPI to itself within 5 s");
            Ok(())
        })?;
    }
    Ok(())
}

fn last_outcome() -> Outcome {
    smp::start_all()?;
    smp::start(1, || {
        time::busy(time::ticks_ms(5));
        fail!("as it should")
    });
    smp::stop_cpu(1)?;
    let outcome = smp::finish(1);
    smp::start_cpu(1)?;
    check!(outcome.is_err(), "the outcome was lost");
    smp::run_on(1, || Ok(()))
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

/// COM1: its interrupt, and its interrupt enable and interrupt identification registers.
const COM1_PIN: u8 = 4;
const COM1_ENABLE: u16 = 0x3f9;
const COM1_IDENTIFY: u16 = 0x3fa;
const TRANSMITTER_EMPTY: u8 = 1 << 1;

static FROM_COM1: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

fn device_interrupt() -> Outcome {
    smp::start_all()?;
    trap::hook(0x92, |_| {
        FROM_COM1[cpu::current()].fetch_add(1, Ordering::Relaxed);
        Verdict::Resume
    });
    let seen = || [0, 1].map(|cpu: usize| FROM_COM1[cpu].load(Ordering::Relaxed));
    let raise = || {
        // SAFETY: the serial port does no DMA.
        unsafe {
            cpu::out8(COM1_ENABLE, TRANSMITTER_EMPTY);
            cpu::out8(COM1_ENABLE, 0);
            // Reading acknowledges: else there is no next one.
            _ = cpu::in8(COM1_IDENTIFY);
        }
    };
    for (cpu, expected) in [(0, [1, 0]), (1, [1, 1])] {
        ioapic::route_edge(COM1_PIN, 0x92, cpu);
        raise();
        let came = time::wait_ms(5_000, || seen() == expected);
        check!(came, "interrupts after that on CPU {cpu}: {:?}", seen());
    }
    ioapic::mask(COM1_PIN);
    raise();
    time::busy(time::ticks_ms(5));
    check_eq!(seen(), [1, 1], "interrupts after the mask");
    Ok(())
}
