// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Single steps and ICEBP.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use rt::cpu::{self, rflags};
use rt::probe::{self, BOTH, Cpl};
use rt::tap::Outcome;
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{check, check_eq, session};

use crate::common::*;

pub(crate) const MAX_STEPS: usize = 16;

pub(crate) static STEPS: [AtomicU64; MAX_STEPS] = [const { AtomicU64::new(0) }; MAX_STEPS];

pub(crate) static STEP_COUNT: AtomicUsize = AtomicUsize::new(0);

/// DR6 bits of all steps, or'ed and and'ed.
pub(crate) static DR6_ANY: AtomicU64 = AtomicU64::new(0);

pub(crate) static DR6_ALL: AtomicU64 = AtomicU64::new(0);

pub(crate) fn on_debug(frame: &mut TrapFrame) -> Verdict {
    let dr6 = cpu::take_dr6();
    DR6_ANY.fetch_or(dr6, Relaxed);
    DR6_ALL.fetch_and(dr6, Relaxed);
    let step = STEP_COUNT.fetch_add(1, Relaxed);
    if step < MAX_STEPS {
        STEPS[step].store(frame.rip, Relaxed);
        return Verdict::Resume;
    }
    // A step that repeats for ever ends here.
    Verdict::Pass
}

/// Runs until the end while #DBs are logged; checks that they came at `rips` and why.
pub(crate) fn debug_traps(start: &TrapFrame, rips: &[u64], bits: u64) -> Outcome {
    let _ = cpu::take_dr6();
    STEP_COUNT.store(0, Relaxed);
    DR6_ANY.store(0, Relaxed);
    DR6_ALL.store(u64::MAX, Relaxed);
    trap::hook(vector::DEBUG, on_debug);
    let end = session::run(start);
    trap::unhook(vector::DEBUG);
    let count = STEP_COUNT.load(Relaxed);
    for (step, want) in rips.iter().enumerate() {
        check!(step < count, "{count} #DBs, not {}", rips.len());
        let rip = STEPS[step].load(Relaxed);
        let (is, want) = (rip.wrapping_sub(start.rip), want.wrapping_sub(start.rip));
        check_eq!(is, want, "offset of RIP at #DB {step}");
    }
    check_eq!(count, rips.len(), "#DBs");
    check_eq!(end.vector(), vector::RETURN, "vector at the end");
    let causes = 0xf | cpu::DR6_SINGLE_STEP;
    check_eq!(
        DR6_ANY.load(Relaxed) & causes,
        bits,
        "causes in DR6 of any #DB"
    );
    check_eq!(
        DR6_ALL.load(Relaxed) & causes,
        bits,
        "causes in DR6 of every #DB"
    );
    check_eq!(
        (end.cs, end.ss, end.rsp),
        (start.cs, start.ss, start.rsp),
        "CS, SS, RSP"
    );
    Ok(())
}

pub(crate) fn single_steps() -> Outcome {
    prepare();
    for _ in 0..10 {
        for cpl in BOTH {
            let mut start = patterned(probe::STEPS, cpl);
            start.rcx = 0;
            start.rflags |= rflags::TF;
            let rips = probe::STEP_ENDS.map(|end| start.rip + end);
            debug_traps(&start, &rips, cpu::DR6_SINGLE_STEP)
                .map_err(|why| at(format_args!("at CPL {cpl:?}"), why))?;
        }
    }
    read_all(Cpl::Three)
}

pub(crate) fn icebp() -> Outcome {
    prepare();
    for _ in 0..10 {
        for cpl in BOTH {
            let start = patterned(probe::ICEBP, cpl);
            debug_traps(&start, &[start.rip + 1], 0)
                .map_err(|why| at(format_args!("at CPL {cpl:?}"), why))?;
        }
    }
    read_all(Cpl::Three)
}
