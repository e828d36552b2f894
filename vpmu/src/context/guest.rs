// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The counters of the guest's own PMU, as events of the perf core.
//!
//! A vCPU of the perf core is a [`CounterSource`], so that the registers
//! ([`VcpuPmu`](crate::VcpuPmu)) stand on it as on any other source: a counter that runs there is a
//! pinned event of the vCPU here, in the same lists and on the same counters as the host's events
//! (G1 to G5 in `pmu`). A counter that finds none is in the ERROR state, as pinned events are, and
//! the registers are told so.
//!
//! The events behind them are made with the vCPU, one for each slot that the registers can ask for,
//! and programmed anew whenever they are started. So a guest that turns its counters on and off, and
//! counts now this and now that, opens and closes nothing and allocates nothing.

use vcpu_call::VcpuId;

use super::ctx::Ctx;
use super::event::{EventCore, EventId};
use super::observe::PerfObserver;
use super::perf::Clock;
use super::pmu::{Both, Pmu};
use super::slots::{GUESTS, Level};
use super::{Attr, Cpu, VcpuThread};
use crate::sync::Arc;
use crate::{CounterSource, EventConfig, EventSelect, NotCounted, Wake};

/// The event behind one of the guest's counters, which counts nothing yet.
pub(super) fn event(vcpu: VcpuId, counter: usize) -> Arc<EventCore> {
    let id = EventId::of_guest(vcpu, counter);
    Arc::new(EventCore {
        id,
        top: id,
        attr: Attr {
            disabled: true,
            pinned: true,
            ..Attr::counting(EventSelect(0).decode())
        },
        filter: None,
        parent: None,
        family: None,
        traps: None,
        owner: None,
        announcements: None,
    })
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Pmu<S, C, O> {
    /// One of the guest's counters, which is on no counter, is to count `config`; whether it does.
    fn guest_in(&mut self, both: &mut Both<'_>, counter: usize, config: &EventConfig) -> bool {
        let Some(ctx) = both.level(Level::Vcpu) else {
            return false;
        };
        ctx.at(counter).config = *config;
        // Behind all that are pinned already, so that it displaces none of them.
        ctx.attach(counter);
        ctx.enable(counter);
        self.schedule(both, Level::Vcpu, counter);
        let Some(ctx) = both.level(Level::Vcpu) else {
            return false;
        };
        let counts = ctx.at(counter).life.slot().is_some();
        if !counts {
            // It stays in the ERROR state, and in nobody's way.
            ctx.withdraw(counter);
        }
        self.vcpu_events = ctx.attached() > 0;
        counts
    }

    /// One of the guest's counters counts no more. What nobody took is dropped.
    pub(super) fn guest_out(&mut self, ctx: &mut Ctx, counter: usize) {
        if self.slots.of_guest(counter).is_none() {
            return;
        }
        let sight = self.sight(None, true);
        self.event_out(ctx, counter, &sight);
        ctx.disable(counter);
        ctx.withdraw(counter);
        self.vcpu_events = ctx.attached() > 0;
    }
}

/// The counters of the guest's own PMU: pinned events of this vCPU, in front of all others.
///
/// What is running goes on while host events come and go, are switched and take turns. What is
/// started takes a free counter, or one of the current task's events or of the vCPU's flexible ones;
/// if pinned events of the vCPU hold all, it is refused, and starting it again is another attempt.
///
/// An offline vCPU has no counters: it refuses every start, and what was running when it went
/// offline has stopped. Whoever plugs a vCPU resets its registers.
///
/// The registers tell of entries and exits while a counter of theirs runs. Who counts for the host
/// without them tells [`source_mut`](Cpu::source_mut) of them.
///
/// ```
/// use vcpu_call::{Calls, VcpuId};
/// use vpmu::context::{Attr, Open, Perf, PerfConfig, PerfError, State, Target, VcpuThread};
/// use vpmu::msr::{IA32_PERFEVTSEL0, IA32_PMC0};
/// use vpmu::source::script::ScriptSource;
/// use vpmu::{EventSelect, MsrRead, MsrWrite, Nanos, PmuModel, VcpuPmu};
///
/// let calls = Calls::new(1, |_: VcpuId| ());
/// let perf = Perf::new(PerfConfig { slots: 1, ..PerfConfig::new(1) }, || Nanos(0));
/// let cpu = perf.cpu(VcpuId(0), ScriptSource::new())?;
/// let mut vcpu = VcpuThread::new(cpu, calls.vcpu(VcpuId(0)).expect("nobody has it yet"));
/// vcpu.online()?;
/// // The host counts instructions, whatever runs on the vCPU, and uses its only counter.
/// let attr = Attr::counting(EventSelect(0x3_00C0).decode());
/// let event = perf.open(&Open::new(attr, Target::Vcpu(VcpuId(0))), &mut vcpu)?;
///
/// let mut pmu = VcpuPmu::new(PmuModel::INTEL_V2, vcpu);
/// pmu.source_mut().cpu_mut().source_mut().count(1_000);
/// // The guest counts cycles, and goes in front.
/// assert_eq!(pmu.write_msr(IA32_PERFEVTSEL0, 0x43_003C), MsrWrite::Done);
/// assert_eq!(perf.status(&event)?.state, State::Inactive);
/// pmu.source_mut().cpu_mut().source_mut().count(70);
/// assert_eq!(pmu.read_msr(IA32_PMC0), MsrRead::Value(70));
/// let reading = perf.read(&event, pmu.source_mut())?;
/// assert_eq!(reading.map(|reading| reading.count), Some(1_000));
/// # Ok::<(), PerfError>(())
/// ```
impl<S: CounterSource, C: Clock, O: PerfObserver> CounterSource for Cpu<S, C, O> {
    fn enter_guest(&mut self) {
        self.source_mut().enter_guest();
    }

    fn exit_guest(&mut self) {
        self.source_mut().exit_guest();
    }

    fn supports(&self, config: &EventConfig) -> bool {
        self.source().supports(config)
    }

    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted> {
        self.stop(slot);
        // What cannot be counted anyway displaces nobody.
        if slot >= GUESTS || !self.online || !self.supports(config) {
            return Err(NotCounted);
        }
        self.pmu.vcpu_events = true;
        let counts = self.locked(|pmu, both| pmu.guest_in(both, slot, config));
        counts.then_some(()).ok_or(NotCounted)
    }

    fn stop(&mut self, slot: usize) {
        if self.guest_slot(slot).is_none() {
            return;
        }
        let Self { pmu, ctx, .. } = self;
        pmu.look();
        let mut ctx = ctx.lock();
        ctx.tick(pmu.now);
        pmu.guest_out(&mut ctx, slot);
    }

    fn take(&mut self, slot: usize) -> u64 {
        // Where the counter is, this thread knows without the lock (X7).
        match self.guest_slot(slot) {
            Some(slot) => self.pmu.slots.take(slot),
            None => 0,
        }
    }

    fn arm(&mut self, slot: usize, distance: u64) -> Wake {
        match self.guest_slot(slot) {
            Some(slot) => self.pmu.slots.arm(slot, distance),
            None => Wake::InCycles(distance),
        }
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Cpu<S, C, O> {
    /// The slot of the source that counts for `counter` of the guest's own PMU; `None` if it is
    /// stopped. Counters are numbered as the registers number their slots.
    pub fn guest_slot(&self, counter: usize) -> Option<usize> {
        self.pmu.slots.of_guest(counter)
    }
}

/// The same as its [`Cpu`].
///
/// The thread's own [`enter_guest`](VcpuThread::enter_guest) and
/// [`exit_guest`](VcpuThread::exit_guest) are about its mailbox and have nothing to do with those of
/// the source.
impl<S: CounterSource, C: Clock, O: PerfObserver> CounterSource for VcpuThread<S, C, O> {
    fn enter_guest(&mut self) {
        CounterSource::enter_guest(self.cpu_mut());
    }

    fn exit_guest(&mut self) {
        CounterSource::exit_guest(self.cpu_mut());
    }

    fn supports(&self, config: &EventConfig) -> bool {
        self.cpu().supports(config)
    }

    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted> {
        self.cpu_mut().start(slot, config)
    }

    fn stop(&mut self, slot: usize) {
        self.cpu_mut().stop(slot);
    }

    fn take(&mut self, slot: usize) -> u64 {
        self.cpu_mut().take(slot)
    }

    fn arm(&mut self, slot: usize, distance: u64) -> Wake {
        CounterSource::arm(self.cpu_mut(), slot, distance)
    }
}
