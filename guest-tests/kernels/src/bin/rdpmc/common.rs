// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How an RDPMC is run, and a fault, and what must not change.

use rt::cpu::{self, rflags};
use rt::pmu::{self, COUNTERS, counter, select, set_counter, set_select};
use rt::probe::{self, Cpl};
use rt::tap::Outcome;
use rt::text::Text;
use rt::trap::{TrapFrame, vector};
use rt::{check, check_eq, session};

/// Values that show a wrong half, a lost sign or a wrong counter.
pub(crate) const VALUES: [u64; 4] = [0x7654_3210, 0xffff_89ab_cdef, 0, 0xffff_ffff_fffe];

/// Stopped counters with these values. They ran before, so that the host knows that the guest
/// uses its PMU.
pub(crate) fn prepare() {
    cpu::allow_user_rdpmc(true);
    pmu::reset();
    set_select(0, select::CYCLES);
    set_select(0, 0);
    for (n, value) in (0..COUNTERS).zip(VALUES) {
        set_counter(n, value);
    }
}

pub(crate) fn value_of(frame: &TrapFrame) -> u64 {
    frame.rax | frame.rdx << 32
}

/// Runs one RDPMC and checks everything there is to see of it.
pub(crate) fn read_one(start: &TrapFrame, length: u64, want: u64) -> Outcome {
    let mut start = *start;
    start.vector = u64::from(vector::RETURN);
    let end = session::run(&start);
    check_eq!(
        end.vector(),
        vector::RETURN,
        "vector at the end (error {:#x})",
        end.error
    );
    check_eq!(value_of(&end), want, "value");
    check!(
        end.rax >> 32 == 0 && end.rdx >> 32 == 0,
        "RAX {:#x}, RDX {:#x}",
        end.rax,
        end.rdx
    );
    start.rip += length + 2;
    (start.rax, start.rdx) = (end.rax, end.rdx);
    check_eq!(end, start, "all other registers");
    Ok(())
}

pub(crate) fn start_read(cpl: Cpl, n: u32) -> TrapFrame {
    let mut start = probe::RDPMC.start(cpl);
    start.set_patterns();
    start.rcx = u64::from(n);
    start
}

pub(crate) fn read_all(cpl: Cpl) -> Outcome {
    for (n, want) in (0..COUNTERS).zip(VALUES) {
        check_eq!(counter(n), want, "RDMSR of counter {n}");
        read_one(&start_read(cpl, n), 2, want)
            .map_err(|why| at(format_args!("counter {n} at CPL {cpl:?}"), why))?;
    }
    Ok(())
}

/// A reason, with the place in front.
pub(crate) fn at(place: core::fmt::Arguments<'_>, why: Text) -> Text {
    Text::format(format_args!("{place}: {why}"))
}

/// A #GP(0) at the probe's first instruction, with nothing else changed.
pub(crate) fn faults_at(start: &TrapFrame, error: u64) -> Outcome {
    let mut start = *start;
    let end = session::run(&start);
    check_eq!(end.vector(), vector::GENERAL_PROTECTION, "vector");
    check_eq!(end.error, error, "error code");
    check_eq!(end.rip, start.rip, "RIP");
    start.vector = u64::from(vector::GENERAL_PROTECTION);
    start.error = error;
    // The CPU may push RF set for a fault.
    start.rflags = start.rflags & !rflags::RF | end.rflags & rflags::RF;
    check_eq!(end, start, "registers");
    Ok(())
}

pub(crate) fn patterned(probe: probe::Probe, cpl: Cpl) -> TrapFrame {
    let mut start = probe.start(cpl);
    start.set_patterns();
    start
}
