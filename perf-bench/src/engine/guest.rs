// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that uses its PMU.

use core::convert::Infallible;

use vcpu_call::VcpuId;
use vpmu::msr::{IA32_PERFEVTSEL0, IA32_PMC0};
use vpmu::source::script::ScriptSource;
use vpmu::{
    CounterSource, Entry, MsrId, MsrRead, MsrWrite, Nanos, PmiOutcome, PmiSink, PmuModel, VcpuPmu,
};

use super::{Engine, Vcpu};
use crate::measure::Failure;

const MODEL: PmuModel = PmuModel::INTEL_V2;

/// Counts instructions, or cycles, in user and kernel mode; enabled.
const SELECTS: [u64; 2] = [0x43_00C0, 0x43_003C];

/// A guest whose registers stand on the perf core, as they ship, or on a bare source.
///
/// ```
/// use perf_bench::engine::Guest;
///
/// let mut guest = Guest::on_core()?;
/// guest.run_all()?;
/// guest.happen(7);
/// assert_eq!(guest.read_counter()?, 7);
/// # Ok::<(), perf_bench::measure::Failure>(())
/// ```
#[derive(Debug)]
pub struct Guest<S> {
    pmu: VcpuPmu<S>,
    /// Which of the selects is next.
    next: usize,
    /// Tells the source beneath how much happened.
    happen: fn(&mut S, u64),
}

impl Guest<Vcpu> {
    /// With the perf core beneath.
    ///
    /// # Errors
    /// None that a new engine has.
    pub fn on_core() -> Result<Self, Failure> {
        let vcpu = Engine::new(1, |_| ()).vcpu(VcpuId(0))?;
        let happen = |vcpu: &mut Vcpu, counts| vcpu.cpu_mut().source_mut().count(counts);
        Ok(Self::new(vcpu, happen))
    }
}

impl Guest<ScriptSource> {
    /// Without the perf core.
    #[must_use]
    pub fn bare() -> Self {
        Self::new(ScriptSource::new(), ScriptSource::count)
    }
}

impl<S: CounterSource> Guest<S> {
    fn new(source: S, happen: fn(&mut S, u64)) -> Self {
        Self {
            pmu: VcpuPmu::new(MODEL, source),
            next: 0,
            happen,
        }
    }

    /// The guest runs all its general-purpose counters.
    ///
    /// # Errors
    /// When one does not run.
    pub fn run_all(&mut self) -> Result<(), Failure> {
        for n in 0..MODEL.gp_counters() {
            self.write(MsrId(IA32_PERFEVTSEL0.0 + u32::try_from(n)?), SELECTS[1])?;
        }
        Ok(())
    }

    /// `counts` more events happen in the guest.
    pub fn happen(&mut self, counts: u64) {
        (self.happen)(self.pmu.source_mut(), counts);
    }

    /// RDMSR of counter 0.
    ///
    /// # Errors
    /// When there is none.
    pub fn read_counter(&mut self) -> Result<u64, Failure> {
        match self.pmu.read_msr(IA32_PMC0) {
            MsrRead::Value(value) => Ok(value),
            other => Err(format!("RDMSR of a counter gave {other:?}").into()),
        }
    }

    /// WRMSR of counter 0.
    ///
    /// # Errors
    /// When there is none.
    pub fn write_counter(&mut self, value: u64) -> Result<(), Failure> {
        self.write(IA32_PMC0, value)
    }

    /// WRMSR of counter 0's event select: another event than before.
    ///
    /// # Errors
    /// When there is none.
    pub fn select_another(&mut self) -> Result<(), Failure> {
        let select = SELECTS[self.next % SELECTS.len()];
        self.next += 1;
        self.write(IA32_PERFEVTSEL0, select)
    }

    /// What an entry to the guest, and the exit that follows, have to do for the PMU.
    pub fn enter_and_exit(&mut self) -> Entry {
        let Ok(entry) = self.pmu.enter_guest(Nanos(0), &mut Masked);
        self.pmu.exit_guest();
        entry
    }

    fn write(&mut self, msr: MsrId, value: u64) -> Result<(), Failure> {
        match self.pmu.write_msr(msr, value) {
            MsrWrite::Done => Ok(()),
            other => Err(format!("WRMSR to {msr:?} gave {other:?}").into()),
        }
    }
}

/// A local APIC that nobody programmed.
struct Masked;

impl PmiSink for Masked {
    type Error = Infallible;

    fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, Infallible> {
        Ok(PmiOutcome::Masked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<S: CounterSource>(mut guest: Guest<S>) {
        assert_eq!(guest.enter_and_exit(), Entry::default());
        guest.happen(5);
        assert_eq!(guest.read_counter().unwrap(), 0, "nothing runs");
        guest.run_all().unwrap();
        guest.happen(5);
        assert_eq!(guest.read_counter().unwrap(), 5);
        for written in [100, 200] {
            guest.write_counter(written).unwrap();
            guest.happen(5);
            guest.select_another().unwrap();
            guest.happen(5);
            assert_eq!(guest.read_counter().unwrap(), written + 10);
        }
    }

    #[test]
    fn a_guest_on_the_core_counts() {
        counts(Guest::on_core().unwrap());
    }

    #[test]
    fn a_guest_on_a_bare_source_counts() {
        counts(Guest::bare());
    }
}
