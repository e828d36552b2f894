// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The local APIC in x2APIC mode.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::msr::{read, write};
use crate::sync::PerCpu;
use crate::trap::{self, TrapFrame, Verdict, vector};
use crate::{MAX_CPUS, cpu, time};

const APIC_BASE: u32 = 0x1b;
const APIC_BASE_ENABLE: u64 = 1 << 11;
const APIC_BASE_X2APIC: u64 = 1 << 10;

const EOI: u32 = 0x80b;
const SPURIOUS: u32 = 0x80f;
const ICR: u32 = 0x830;
const LVT_TIMER: u32 = 0x832;
const LVT_LINT0: u32 = 0x835;
const LVT_LINT1: u32 = 0x836;
const TIMER_INITIAL: u32 = 0x838;
const TIMER_CURRENT: u32 = 0x839;
const TIMER_DIVIDE: u32 = 0x83e;
const DIVIDE_BY_1: u64 = 0xb;

/// The performance counter LVT's MSR.
pub const LVTPC: u32 = 0x834;
/// The mask bit of every LVT.
pub const LVT_MASKED: u64 = 1 << 16;
/// Delivery as NMI, in an LVT or an IPI.
pub const DELIVER_NMI: u64 = 4 << 8;

const ICR_ASSERT: u64 = 1 << 14;
const ICR_INIT: u64 = 5 << 8;
const ICR_STARTUP: u64 = 6 << 8;

static FOUND_BASE: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; MAX_CPUS]);
static FOUND_LVTPC: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; MAX_CPUS]);

/// A local APIC as this runtime found it at the CPU's last start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// IA32_APIC_BASE.
    pub base: u64,
    /// [`LVTPC`].
    pub lvtpc: u64,
}

/// This CPU's local APIC as it was found.
#[must_use]
pub fn found() -> Found {
    Found {
        base: FOUND_BASE.load(Ordering::Relaxed),
        lvtpc: FOUND_LVTPC.load(Ordering::Relaxed),
    }
}

/// Switches this CPU's APIC to x2APIC mode, on, with nothing but IPIs coming in.
pub(crate) fn enable() {
    assert!(cpu::cpuid(1, 0).ecx & 1 << 21 != 0, "CPUID has no x2APIC");
    let base = read(APIC_BASE);
    write(APIC_BASE, base | APIC_BASE_ENABLE);
    write(APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    FOUND_BASE.store(base, Ordering::Relaxed);
    FOUND_LVTPC.store(read(LVTPC), Ordering::Relaxed);
    mask_sources();
    write(SPURIOUS, 0x100 | u64::from(vector::SPURIOUS));
}

/// Masks all that this CPU's APIC can interrupt it with by itself; IPIs still come.
pub(crate) fn mask_sources() {
    for lvt in [LVT_TIMER, LVTPC, LVT_LINT0, LVT_LINT1] {
        write(lvt, LVT_MASKED);
    }
}

pub(crate) fn end_of_interrupt() {
    write(EOI, 0);
}

fn send(cpu: usize, command: u64) {
    // The APIC id is the CPU's number. x2APIC MSR writes do not order earlier stores.
    core::sync::atomic::fence(Ordering::SeqCst);
    write(ICR, (cpu as u64) << 32 | ICR_ASSERT | command);
}

/// Sends a fixed interrupt to a CPU.
pub fn send_ipi(cpu: usize, vector: u8) {
    send(cpu, u64::from(vector));
}

/// Sends an NMI to a CPU.
pub fn send_nmi(cpu: usize) {
    send(cpu, DELIVER_NMI);
}

pub(crate) fn send_init(cpu: usize) {
    send(cpu, ICR_INIT);
}

pub(crate) fn send_startup(cpu: usize, address: u64) {
    send(cpu, ICR_STARTUP | address >> 12);
}

/// How the performance counters interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PmiDelivery {
    /// As the interrupt [`vector::PMI`].
    Vector,
    /// As NMI.
    Nmi,
}

impl PmiDelivery {
    /// The LVTPC that asks for it, not masked.
    #[must_use]
    pub fn lvtpc(self) -> u64 {
        match self {
            Self::Vector => u64::from(vector::PMI),
            Self::Nmi => DELIVER_NMI,
        }
    }

    /// The vector that arrives.
    #[must_use]
    pub fn vector(self) -> u8 {
        match self {
            Self::Vector => vector::PMI,
            Self::Nmi => vector::NMI,
        }
    }
}

/// Timer ticks per 65,536 TSC ticks, once measured.
static TIMER_RATE: AtomicU64 = AtomicU64::new(0);
static TIMER_FIRED: PerCpu<AtomicBool> = PerCpu([const { AtomicBool::new(false) }; MAX_CPUS]);

fn timer_rate() -> u64 {
    let known = TIMER_RATE.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    write(LVT_TIMER, LVT_MASKED);
    write(TIMER_INITIAL, 0xffff_ffff);
    let (timer, tsc) = (read(TIMER_CURRENT), time::tsc());
    time::spin(20_000_000);
    let ticks = timer - read(TIMER_CURRENT);
    let rate = ((ticks << 16) / (time::tsc() - tsc)).max(1);
    write(TIMER_INITIAL, 0);
    TIMER_RATE.store(rate, Ordering::Relaxed);
    rate
}

fn on_timer(_: &mut TrapFrame) -> Verdict {
    TIMER_FIRED.store(true, Ordering::Relaxed);
    Verdict::Resume
}

/// Halts this CPU for at least this many TSC ticks, by its local timer; other interrupts are
/// served meanwhile.
pub fn halt_for(tsc_ticks: u64) {
    let rate = timer_rate();
    trap::hook(vector::TIMER, on_timer);
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    write(LVT_TIMER, u64::from(vector::TIMER));
    cpu::without_interrupts(|| {
        TIMER_FIRED.store(false, Ordering::Relaxed);
        write(
            TIMER_INITIAL,
            ((tsc_ticks * rate) >> 16).clamp(1, 0xffff_ffff),
        );
        while !TIMER_FIRED.load(Ordering::Relaxed) {
            cpu::halt_once();
        }
    });
    write(LVT_TIMER, LVT_MASKED);
}
