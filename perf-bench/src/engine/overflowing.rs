// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A task whose event overflows whenever it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vcpu_call::VcpuId;
use vpmu::context::{Attr, EventId, Notice, Open, Owner, Sample, Target, Trap};

use super::{Engine, Vcpu, cycles};
use crate::measure::Failure;

const VCPU: VcpuId = VcpuId(0);

const SAMPLE: Sample = Sample {
    addr: 0x40_1000,
    user: true,
};

/// A vCPU whose current task has an event that overflows with every count.
///
/// ```
/// use perf_bench::engine::Overflowing;
///
/// let mut overflowing = Overflowing::trapping()?;
/// overflowing.overflow();
/// assert!(overflowing.to_user()?.is_some());
/// # Ok::<(), perf_bench::measure::Failure>(())
/// ```
#[derive(Debug)]
pub struct Overflowing {
    vcpu: Vcpu,
    notices: Arc<Notices>,
}

/// An owner that only counts.
#[derive(Debug, Default)]
struct Notices(AtomicU64);

impl Owner for Notices {
    fn notify(&self, _event: EventId, _notice: Notice) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Overflowing {
    /// Each overflow is a SIGTRAP to the task.
    ///
    /// # Errors
    /// None but the core's faults.
    pub fn trapping() -> Result<Self, Failure> {
        Self::start(Attr {
            sigtrap: Some(7),
            remove_on_exec: true,
            ..Attr::sampling(cycles(), 1)
        })
    }

    /// Only the owner is told.
    ///
    /// # Errors
    /// None but the core's faults.
    pub fn telling() -> Result<Self, Failure> {
        Self::start(Attr::sampling(cycles(), 1))
    }

    fn start(attr: Attr) -> Result<Self, Failure> {
        let engine = Engine::new(1, |_| ());
        let mut vcpu = engine.vcpu(VCPU)?;
        let task = engine.current(&mut vcpu)?;
        let notices = Arc::new(Notices::default());
        let owner: Arc<dyn Owner> = notices.clone();
        let open = Open {
            // An owner that must be told of every trap would be in the price of one.
            owner: attr.sigtrap.is_none().then_some(owner),
            ..Open::new(attr, Target::Task(&task))
        };
        engine.perf().open(&open, &mut vcpu)?;
        Ok(Self { vcpu, notices })
    }

    /// An exit from the guest with one more count: the event overflows.
    pub fn overflow(&mut self) {
        let cpu = self.vcpu.cpu_mut();
        cpu.source_mut().count(1);
        cpu.count(Some(SAMPLE));
        cpu.irq_work();
    }

    /// The entry to user mode: the trap, which the guest takes and acknowledges.
    ///
    /// # Errors
    /// None but the core's faults.
    pub fn to_user(&mut self) -> Result<Option<Trap>, Failure> {
        let cpu = self.vcpu.cpu_mut();
        let trap = cpu.return_to_user();
        cpu.arm();
        if trap.is_some() {
            cpu.trap_done()?;
        }
        Ok(trap)
    }

    /// How often the owner was told of overflows.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.notices.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_traps() {
        let mut overflowing = Overflowing::trapping().unwrap();
        for _ in 0..3 {
            overflowing.overflow();
            let trap = overflowing.to_user().unwrap().unwrap();
            assert_eq!((trap.addr, trap.data), (SAMPLE.addr, 7));
            assert_eq!(overflowing.to_user().unwrap(), None);
        }
        assert_eq!(overflowing.told(), 0);
    }

    #[test]
    fn every_count_is_told() {
        let mut overflowing = Overflowing::telling().unwrap();
        for told in 1..=3 {
            overflowing.overflow();
            assert_eq!(overflowing.told(), told);
            assert_eq!(overflowing.to_user().unwrap(), None);
        }
    }
}
