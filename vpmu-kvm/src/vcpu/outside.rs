// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU of the perf core while it stays out of its guest: parked, removed, added again.

use kvm_ioctls::VcpuFd;
use vcpu_call::{Park, Waker};
use vpmu::PmuObserver;
use vpmu::context::PerfObserver;

use super::VcpuPmuKvm;
use crate::core_source::CoreSource;
use crate::error::Error;
use crate::idle::IdleBackoff;
use crate::rotation::Rotation;

impl<O: PerfObserver, P: PmuObserver> VcpuPmuKvm<CoreSource<O>, P> {
    /// The vCPU is removed: out of its guest and on its own thread.
    ///
    /// In the perf core it goes offline: events of the host that belong to it end and stay readable,
    /// whoever opens one is refused, and so are calls. The PMU is as [`VcpuPmuKvm::new`] makes it: the
    /// registers at reset, no PMI due, no RDPMC trap armed; statistics, filter, re-arm interval and
    /// throttle are the host's and stay. The vCPU itself is left as it is, but for KVM's debug
    /// registers: what was delivered to its APIC is there still.
    ///
    /// Its thread may [`park`](Park::park) then, or end. On a vCPU that is offline it is harmless.
    ///
    /// # Errors
    /// When KVM does not disarm the trap.
    pub fn unplug(&mut self, vcpu: &mut VcpuFd) -> Result<(), Error> {
        // While the counters are there: what they counted belongs into the statistics.
        self.pmu.reset();
        self.pmu.source_mut().offline()?;
        self.trap.disarm(vcpu)?;
        self.timer.stop()?;
        self.idle = IdleBackoff::default();
        self.rotation = Rotation::default();
        self.debug = None;
        (self.arm, self.handed_out) = (false, false);
        (self.kicked, self.unfinished) = (false, false);
        Ok(())
    }

    /// The vCPU is added again: the perf core takes events and calls for it from now on, which the
    /// thread serves in [`run`](VcpuPmuKvm::run) and [`park`](Park::park).
    ///
    /// [`PerfCore::bind`](crate::PerfCore::bind) has done so already for a vCPU that is there from
    /// the beginning. On a vCPU that is online it is harmless.
    ///
    /// # Errors
    /// None today.
    pub fn plug(&mut self) -> Result<(), Error> {
        Ok(self.pmu.source_mut().online()?)
    }
}

/// A vCPU's thread that stays out of its guest, because the vCPU is paused, waits for its start or
/// was removed: calls of the perf core reach it there by themselves.
impl<O: PerfObserver, P: PmuObserver> Park for VcpuPmuKvm<CoreSource<O>, P> {
    fn waker(&self) -> Waker {
        self.pmu.source().waker()
    }

    fn park(&mut self) {
        self.pmu.source_mut().park();
    }
}
