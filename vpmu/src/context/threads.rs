// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Ready-made callers, for VMMs whose mailboxes carry the perf core's calls and nothing else.

use core::fmt;

use vcpu_call::{Calls, NotRun, Outside, Park, Vcpu, VcpuId, Waker};

use super::call::{Caller, PerfCall, PerfCallRef, PerfReply};
use super::cpu::Cpu;
use super::observe::PerfObserver;
use super::perf::Clock;
use super::{Perf, PerfError};
use crate::{CounterSource, NoObserver};

/// The mailboxes that carry the perf core's calls.
pub type PerfCalls = Calls<PerfCall, PerfReply>;

/// A vCPU's thread: its counters and its mailbox.
pub struct VcpuThread<S: CounterSource, C: Clock, O: PerfObserver = NoObserver> {
    /// The vCPU's side of the engine. In front of the mailbox, so that it goes offline while that
    /// still takes calls.
    cpu: Cpu<S, C, O>,
    mail: Vcpu<PerfCall, PerfReply>,
}

impl<S: CounterSource, C: Clock, O: PerfObserver> VcpuThread<S, C, O> {
    /// Puts the two ends of one vCPU together. It is offline as yet.
    pub const fn new(cpu: Cpu<S, C, O>, mail: Vcpu<PerfCall, PerfReply>) -> Self {
        Self { cpu, mail }
    }

    /// The vCPU's side of the engine.
    pub const fn cpu(&self) -> &Cpu<S, C, O> {
        &self.cpu
    }

    /// The vCPU's side of the engine.
    pub const fn cpu_mut(&mut self) -> &mut Cpu<S, C, O> {
        &mut self.cpu
    }

    /// The engine.
    pub fn perf(&self) -> Perf<C, O> {
        self.cpu.perf().clone()
    }

    /// Takes calls from now on, and events. On a vCPU that is online it is harmless.
    ///
    /// # Errors
    /// None today: the mailbox is its own.
    pub fn online(&mut self) -> Result<(), PerfError> {
        self.mail.go_online();
        self.perf().online(self.cpu.id(), self)
    }

    /// The vCPU's events end, its task is current no more, and calls are refused from now on (D2). On
    /// a vCPU that is offline it is harmless.
    ///
    /// # Errors
    /// None today: the mailbox is its own.
    pub fn offline(&mut self) -> Result<(), PerfError> {
        if !self.mail.is_online() {
            return Ok(());
        }
        self.perf().offline(self.cpu.id(), self)?;
        let Self { cpu, mail } = self;
        mail.go_offline(|call| cpu.run(call.by_ref()));
        // Among those calls may have been one to come online, which nobody can send any more.
        cpu.go_offline();
        Ok(())
    }

    /// Whether somebody calls: the check right before the entry to the guest.
    pub fn pending(&self) -> bool {
        self.mail.pending()
    }

    /// The same check, by a thread that says where it is: whether the guest may be entered. See
    /// [`Vcpu::enter_guest`].
    #[must_use]
    pub fn enter_guest(&mut self) -> bool {
        self.mail.enter_guest()
    }

    /// Says that the thread is out of its guest: calls need no kick now. See [`Vcpu::exit_guest`].
    pub fn exit_guest(&mut self) {
        self.mail.exit_guest();
    }

    /// Runs what others called for; how many calls it was.
    pub fn serve(&mut self) -> usize {
        let Self { cpu, mail } = self;
        mail.serve(|call| cpu.run(call.by_ref()))
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Park for VcpuThread<S, C, O> {
    fn waker(&self) -> Waker {
        self.mail.waker()
    }

    fn park(&mut self) {
        let Self { cpu, mail } = self;
        mail.park(|call| cpu.run(call.by_ref()));
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Caller for VcpuThread<S, C, O> {
    fn here(&self) -> Option<VcpuId> {
        Some(self.cpu.id())
    }

    fn call(&mut self, target: VcpuId, call: PerfCallRef<'_>) -> Result<PerfReply, NotRun> {
        let Self { cpu, mail } = self;
        if target == cpu.id() && mail.is_online() {
            return Ok(cpu.run(call));
        }
        mail.call(target, call.to_call(), |call| cpu.run(call.by_ref()))
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> fmt::Debug for VcpuThread<S, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VcpuThread")
            .field("cpu", &self.cpu)
            .finish_non_exhaustive()
    }
}

/// A thread that is no vCPU's, such as the one that serves a control socket.
pub struct HostThread(Outside<PerfCall, PerfReply>);

impl HostThread {
    /// A caller among `calls`.
    pub fn new(calls: &PerfCalls) -> Self {
        Self(calls.outside())
    }
}

impl Park for HostThread {
    fn waker(&self) -> Waker {
        self.0.waker()
    }

    fn park(&mut self) {
        self.0.park();
    }
}

impl Caller for HostThread {
    fn here(&self) -> Option<VcpuId> {
        None
    }

    fn call(&mut self, target: VcpuId, call: PerfCallRef<'_>) -> Result<PerfReply, NotRun> {
        self.0.call(target, call.to_call())
    }
}

impl fmt::Debug for HostThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostThread").finish_non_exhaustive()
    }
}
