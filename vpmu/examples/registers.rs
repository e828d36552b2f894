// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The registers alone, without KVM and without the perf core: what a VMM calls, and when.
//!
//! The guest is a few lines of Rust that do what a guest's kernel does: it programs a counter, is
//! interrupted every 10,000 cycles, and reads the counter at the end. Everything that a VMM has to
//! bring along is here: a clock, a local APIC, and a loop.
//!
//! ```text
//! cargo run -p vpmu --no-default-features --example registers
//! ```
//!
//! docs/embedding.md walks through it.

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Write};

use vpmu::msr::{PERF_CNTR_GLOBAL_STATUS, PERF_CNTR_GLOBAL_STATUS_CLR, PERF_CTL0, PERF_CTR0};
use vpmu::{
    ClockSource, Delivery, GuestClock, Lvtpc, MsrId, MsrRead, MsrWrite, Nanos, PmiOutcome, PmiSink,
    PmuModel, Recheck, VcpuPmu,
};

/// Which PMU the guest sees.
const MODEL: PmuModel = PmuModel::AMD_V2;
/// A PMI after so many cycles.
const PERIOD: u64 = 10_000;
/// How long the guest computes, in cycles.
const WORK: u64 = 35_000;
/// How late the VMM's kick ends the guest's run, in cycles: its skid.
const LATE: u64 = 120;
/// The guest's clock.
const CYCLES_PER_MICRO: u64 = 2_600;

/// Cycles that the guest ran. A VMM measures them around each entry.
#[derive(Debug, Default)]
struct InGuest(u64);

impl GuestClock for InGuest {
    fn cycles(&mut self) -> u64 {
        self.0
    }
}

/// The local APIC, as far as PMIs are concerned.
#[derive(Debug)]
struct Apic {
    lvtpc: Lvtpc,
    /// An NMI is on its way to the guest.
    nmi: bool,
}

impl PmiSink for Apic {
    type Error = Infallible;

    fn pmi(&mut self, model: PmuModel) -> Result<PmiOutcome, Infallible> {
        if self.lvtpc.masked() {
            return Ok(PmiOutcome::Masked);
        }
        if self.lvtpc.delivery() != Delivery::Nmi {
            return Ok(PmiOutcome::Undeliverable);
        }
        if model.masks_lvtpc_on_pmi() {
            self.lvtpc = self.lvtpc.with_mask();
        }
        self.nmi = true;
        Ok(PmiOutcome::Nmi)
    }
}

/// The VMM's side of a vCPU.
#[derive(Debug)]
struct Vcpu {
    pmu: VcpuPmu<ClockSource<InGuest>>,
    apic: Apic,
    now: Nanos,
}

impl Vcpu {
    /// Enters the guest, which would run for `cycles`; returns for how long it did.
    fn enter(&mut self, cycles: u64) -> Result<u64, Infallible> {
        // Right before the entry, on the vCPU's thread: overflows become visible here.
        let entry = self.pmu.enter_guest(self.now, &mut self.apic)?;
        let ran = match entry.recheck {
            // A VMM sets a timer that kicks the vCPU. It comes a little late.
            Some(Recheck::InCycles(kick)) => cycles.min(kick + LATE),
            // Two PMIs would come too soon one after the other: the VMM looks again at that time.
            Some(Recheck::At(then)) => {
                let micros = then.0.saturating_sub(self.now.0) / 1_000;
                cycles.min(micros * CYCLES_PER_MICRO + LATE)
            }
            None => cycles,
        };
        self.pmu.source_mut().clock_mut().0 += ran;
        self.now = self
            .now
            .saturating_add(Nanos(ran * 1_000 / CYCLES_PER_MICRO));
        self.pmu.exit_guest();
        Ok(ran)
    }

    /// The guest's WRMSR exits to the VMM.
    fn wrmsr(&mut self, msr: MsrId, value: u64) -> Result<(), String> {
        match self.pmu.write_msr(msr, value) {
            MsrWrite::Done => Ok(()),
            // The VMM injects #GP, or gives it to whoever has this MSR.
            answer => Err(format!("WRMSR {msr:?}: {answer:?}")),
        }
    }

    /// The guest's RDMSR exits to the VMM.
    fn rdmsr(&mut self, msr: MsrId) -> Result<u64, String> {
        match self.pmu.read_msr(msr) {
            MsrRead::Value(value) => Ok(value),
            answer => Err(format!("RDMSR {msr:?}: {answer:?}")),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout().lock())
}

/// Runs the guest and prints what it counts to `out`.
pub(crate) fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut vcpu = Vcpu {
        pmu: VcpuPmu::new(MODEL, ClockSource::new(InGuest::default())),
        apic: Apic {
            lvtpc: Lvtpc(0x400),
            nmi: false,
        },
        now: Nanos(0),
    };
    // The guest's time passes faster here than a PMI takes to be handled: let them come as they do.
    vcpu.pmu.set_min_rearm(Nanos(0));
    writeln!(out, "The guest has the PMU {MODEL}")?;

    // The guest: cycles in user and kernel mode, an interrupt on overflow, enabled.
    let start = PERIOD.wrapping_neg();
    vcpu.wrmsr(PERF_CTR0, start)?;
    vcpu.wrmsr(PERF_CTL0, 0x53_0076)?;
    let mut counted = 0;
    let mut left = WORK;
    while left > 0 {
        left -= vcpu.enter(left)?;
        // The VMM enters again, and the guest may find an NMI at once.
        vcpu.enter(0)?;
        if std::mem::take(&mut vcpu.apic.nmi) {
            // The guest's handler.
            let status = vcpu.rdmsr(PERF_CNTR_GLOBAL_STATUS)?;
            let since = vcpu.pmu.read_pmc(0).ok_or("RDPMC 0 takes #GP")?;
            counted += PERIOD + since;
            writeln!(out, "A PMI, with status {status:#x}, {since} cycles late")?;
            vcpu.wrmsr(PERF_CTR0, start)?;
            vcpu.wrmsr(PERF_CNTR_GLOBAL_STATUS_CLR, status)?;
        }
    }
    let rest = vcpu.rdmsr(PERF_CTR0)? & !(u64::MAX << MODEL.counter_width());
    counted += rest.wrapping_sub(start) & !(u64::MAX << MODEL.counter_width());
    writeln!(out, "{counted} cycles")?;

    let stats = vcpu.pmu.stats();
    writeln!(
        out,
        "The host saw {} overflows and delivered {} PMIs, at most {} cycles late",
        stats.overflows, stats.pmis, stats.skid.max
    )?;
    Ok(())
}
