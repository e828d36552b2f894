// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU of the perf core on KVM: counters, mailbox, and the perf port's registers.

use std::fmt;
use std::ops::Range;

use perf_port::{io, page};
use perf_port_host::PortVcpu;
use vcpu_call::{NotRun, Park, VcpuId, Waker};
use vpmu::context::{
    Caller, Perf, PerfCallRef, PerfError, PerfObserver, PerfReply, Sample, VcpuThread,
};
use vpmu::source::clock::ClockSource;
use vpmu::source::tick::TickSource;
use vpmu::{CounterSource, EventConfig, NoObserver, NotCounted, Wake};

use crate::InGuestTime;
use crate::perf_core::Monotonic;
use crate::source::{Needs, VcpuSource};

/// What counts on a vCPU of the perf core: cycles by the time that it spends in the guest, ticks of
/// the perf port by themselves.
pub(crate) type Counts = TickSource<ClockSource<InGuestTime>>;

/// A vCPU's thread in the perf core.
type Thread<O> = VcpuThread<Counts, Monotonic, O>;

/// A vCPU of the perf core as the source of its guest's counters, made by
/// [`PerfCore::bind`](crate::PerfCore::bind); the core's steps are told to an `O`.
pub struct CoreSource<O: PerfObserver = NoObserver> {
    thread: Thread<O>,
    /// The perf port's registers, if the VM has the port.
    port: Option<PortVcpu<Monotonic, O>>,
}

impl<O: PerfObserver> CoreSource<O> {
    pub(crate) const fn new(thread: Thread<O>, port: Option<PortVcpu<Monotonic, O>>) -> Self {
        Self { thread, port }
    }

    /// The engine.
    pub fn perf(&self) -> Perf<Monotonic, O> {
        self.thread.perf()
    }

    pub(crate) fn online(&mut self) -> Result<(), PerfError> {
        self.thread.online()
    }

    /// The vCPU is removed; its page of the port goes with it.
    pub(crate) fn offline(&mut self) -> Result<(), PerfError> {
        if let Some(port) = &mut self.port {
            port.unplug(&mut self.thread);
        }
        self.thread.offline()
    }
}

impl<O: PerfObserver> VcpuSource for CoreSource<O> {
    fn in_guest_ns(&self) -> Option<u64> {
        self.thread.in_guest_ns()
    }

    fn before_entry(&mut self) -> Needs {
        let needs = self.thread.before_entry();
        let Self { thread, port } = self;
        Needs {
            trap: port.as_mut().is_some_and(|port| port.trap_waits(thread)),
            ..needs
        }
    }

    fn after_exit(&mut self) {
        self.thread.after_exit();
    }

    fn rotate(&mut self) {
        VcpuSource::rotate(&mut self.thread);
    }

    fn is_port(&self, port: u16) -> bool {
        self.port.is_some() && (io::BASE..io::BASE + io::SIZE).contains(&port)
    }

    fn port_write(&mut self, port: u16, data: &[u8]) {
        if let Some(own) = &mut self.port {
            own.write(port.wrapping_sub(io::BASE), data, &mut self.thread);
        }
    }

    fn port_read(&self, port: u16, data: &mut [u8]) {
        if let Some(own) = &self.port {
            own.read(port.wrapping_sub(io::BASE), data);
        }
    }

    fn is_tick(&self, gpa: u64) -> bool {
        self.port.is_some() && gpa / page::SIZE == u64::from(io::TICK_FRAME)
    }

    fn tick(&mut self, gpa: u64, user: bool) {
        let cpu = self.thread.cpu_mut();
        cpu.source_mut().tick(user);
        // At once: whoever counts to it overflows at this very store.
        cpu.count(Some(Sample { addr: gpa, user }));
    }

    fn hand_over(&mut self) -> bool {
        let Self { thread, port } = self;
        port.as_mut().is_some_and(|port| port.hand_over(thread))
    }

    fn raise_trap(&mut self) -> Option<Range<u64>> {
        let port = self.port.as_mut()?;
        port.raise();
        port.window()
    }
}

/// The guest's own counters, as pinned events of the vCPU.
impl<O: PerfObserver> CounterSource for CoreSource<O> {
    fn enter_guest(&mut self) {
        CounterSource::enter_guest(&mut self.thread);
    }

    fn exit_guest(&mut self) {
        CounterSource::exit_guest(&mut self.thread);
    }

    fn supports(&self, config: &EventConfig) -> bool {
        self.thread.supports(config)
    }

    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted> {
        self.thread.start(slot, config)
    }

    fn stop(&mut self, slot: usize) {
        self.thread.stop(slot);
    }

    fn take(&mut self, slot: usize) -> u64 {
        self.thread.take(slot)
    }

    fn arm(&mut self, slot: usize, distance: u64) -> Wake {
        self.thread.arm(slot, distance)
    }
}

impl<O: PerfObserver> Park for CoreSource<O> {
    fn waker(&self) -> Waker {
        self.thread.waker()
    }

    fn park(&mut self) {
        self.thread.park();
    }
}

/// Its thread asks the engine for something.
impl<O: PerfObserver> Caller for CoreSource<O> {
    fn here(&self) -> Option<VcpuId> {
        self.thread.here()
    }

    fn call(&mut self, target: VcpuId, call: PerfCallRef<'_>) -> Result<PerfReply, NotRun> {
        self.thread.call(target, call)
    }
}

impl<O: PerfObserver> fmt::Debug for CoreSource<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreSource")
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}
