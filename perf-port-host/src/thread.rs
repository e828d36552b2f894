// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Whoever runs a vCPU.

use vpmu::CounterSource;
use vpmu::context::{Caller, Clock, Cpu, PerfObserver, VcpuThread};

/// The thread of a vCPU: it has the vCPU's side of the perf core, and can call other vCPUs.
///
/// [`VcpuThread`] is one. A VMM whose mailboxes carry more than the perf core's calls has its own.
pub trait PortThread<C: Clock, O: PerfObserver>: Caller {
    /// What counts there.
    type Source: CounterSource;

    /// The vCPU's side of the perf core.
    fn cpu(&self) -> &Cpu<Self::Source, C, O>;

    /// The vCPU's side of the perf core.
    fn cpu_mut(&mut self) -> &mut Cpu<Self::Source, C, O>;
}

impl<S: CounterSource, C: Clock, O: PerfObserver> PortThread<C, O> for VcpuThread<S, C, O> {
    type Source = S;

    fn cpu(&self) -> &Cpu<S, C, O> {
        self.cpu()
    }

    fn cpu_mut(&mut self) -> &mut Cpu<S, C, O> {
        self.cpu_mut()
    }
}
