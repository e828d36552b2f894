// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PMIs that the guest has just forbidden.

use core::arch::global_asm;
use core::sync::atomic::Ordering::Relaxed;

use rt::apic::{LVT_MASKED, LVTPC};
use rt::pmu::{self, select, set_counter, set_select};
use rt::random::Random;
use rt::tap::Outcome;
use rt::{check, check_eq, diag, time};

use crate::log::*;

// edi: MSR; rsi: value; rdx: where to tell how far this got
global_asm!(
    r#"
    .section .text, "ax", @progbits
    .global forbid
forbid:
    mov ecx, edi
    mov eax, esi
    mov r8, rdx
    mov rdx, rsi
    shr rdx, 32
    wrmsr
    .global forbid_end
forbid_end:
    mov dword ptr [r8], {forbidden}
    ret
    "#,
    forbidden = const FORBIDDEN,
);

unsafe extern "C" {
    fn forbid(msr: u32, value: u64, phase: *mut u32);
    pub(crate) fn forbid_end();
}

/// The write that forbids PMIs is complete.
pub(crate) const FORBIDDEN: u32 = 1;

/// Ways to forbid the PMI of a running counter.
pub(crate) const DISABLE: u8 = 0;

pub(crate) const GLOBAL: u8 = 1;

pub(crate) const MASK: u8 = 2;

pub(crate) const REWRITE: u8 = 3;

/// Not one: the counter runs on, and an overflow after the write has its PMI. But that PMI finds
/// its status bit.
pub(crate) const CLEAR: u8 = 4;

pub(crate) const LATE_ROUNDS: u64 = 40;

pub(crate) fn late<const WAY: u8, const HOW: bool>() -> Outcome {
    let how = delivery::<HOW>();
    let (msr, value) = match WAY {
        DISABLE => (pmu::PERFEVTSEL0, 0),
        GLOBAL => (pmu::GLOBAL_CTRL, 0),
        MASK => (LVTPC, how.lvtpc() | LVT_MASKED),
        REWRITE => (pmu::PMC0, 0),
        _ => (pmu::GLOBAL_OVF_CTRL, 1),
    };
    let seed = time::tsc();
    let mut random = Random::new(seed);
    let mut before = 0;
    for round in 0..LATE_ROUNDS {
        let log = prepare(how);
        let period = short() / 2;
        pmu::set_period(0, period);
        set_select(0, select::CYCLES_INT);
        // Another counter keeps the PMU at work when the first stops.
        set_select(1, select::CYCLES);
        // Around the moment of the overflow, the exits of the set-up being no guest time.
        time::spin(period / 2 + random.below(period));
        // SAFETY: writes a PMU MSR and the phase.
        unsafe { forbid(msr, value, log.phase.as_ptr()) };
        let count = log.count.load(Relaxed);
        before += count;
        time::busy(period);
        let after = log.count.load(Relaxed);
        let status = pmu::status();
        if WAY == CLEAR {
            let came = time::wait_ms(5_000, || log.count.load(Relaxed) == 1);
            check!(came, "seed {seed:#x}, round {round}: no PMI within 5 s");
        } else {
            check_eq!(
                log.late.load(Relaxed),
                0,
                "seed {seed:#x}, round {round}: late PMIs"
            );
            check_eq!(after, count, "seed {seed:#x}, round {round}: PMIs");
        }
        if WAY == DISABLE || WAY == GLOBAL || WAY == REWRITE {
            check_eq!(
                status,
                0,
                "seed {seed:#x}, round {round}: STATUS without a PMI"
            );
        }
        no_oddities(log)?;
    }
    diag!("{before} of {LATE_ROUNDS} overflows came before the write");
    pmu::reset();
    set_counter(0, 0);
    Ok(())
}
