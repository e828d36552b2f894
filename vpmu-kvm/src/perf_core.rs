// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf core of a virtual machine on KVM, as the source of its vCPUs' counters.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perf_port_host::{Port, PortLimits, PortMemory, PortVcpu};
use vcpu_call::{Calls, Ipi, VcpuId};
use vpmu::context::{
    Clock, HostThread, Perf, PerfCalls, PerfConfig, PerfError, PerfObserver, VcpuThread,
};
use vpmu::source::MAX_SLOTS;
use vpmu::source::clock::ClockSource;
use vpmu::source::tick::TickSource;
use vpmu::{CounterSource, Event, EventConfig, Nanos, NoObserver};

use crate::InGuestTime;
use crate::core_source::{CoreSource, Counts};
use crate::kick::{KickGuard, Kicker};
use crate::source::{Needs, VcpuSource};
use crate::timer::monotonic_ns;

/// `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> Nanos {
        Nanos(monotonic_ns())
    }
}

/// The perf core of one VM: guest counters are pinned events of their vCPU there, and events that
/// the host opens share the vCPU's counters with them. An `O` sees what it does.
///
/// A vCPU's thread serves the calls of others in [`VcpuPmuKvm::run`](crate::VcpuPmuKvm::run) and, out
/// of its guest, in [`Park::park`](vcpu_call::Park::park). It must wait nowhere else for long.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use kvm_ioctls::{VcpuFd, VmFd};
/// # use vpmu_kvm::{PerfCore, PmuOptions, VcpuPmuKvm, kick};
/// use vcpu_call::VcpuId;
/// use vpmu::context::{Attr, Open, PerfError, Target};
/// use vpmu::{Event, EventConfig};
///
/// # fn vcpu_thread(
/// #     vm: Arc<VmFd>, vcpu: &mut VcpuFd, options: PmuOptions, core: &PerfCore,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// // On the thread of vCPU 0:
/// let guard = kick::bind(vcpu)?;
/// let source = core.bind(VcpuId(0), &guard, options.tsc_khz)?;
/// let mut pmu = VcpuPmuKvm::with_source(vm, &guard, &options, source)?;
/// // ... run it until it is done.
/// # Ok(())
/// # }
/// # fn host(core: &PerfCore) -> Result<(), PerfError> {
/// // On any other thread of the host:
/// let attr = Attr::counting(EventConfig::everywhere(Event::CoreCycles));
/// let mut me = core.host_thread();
/// let cycles = core.perf().open(&Open::new(attr, Target::Vcpu(VcpuId(0))), &mut me)?;
/// println!("{:?}", core.perf().read(&cycles, &mut me)?);
/// # Ok(())
/// # }
/// ```
pub struct PerfCore<O = NoObserver> {
    perf: Perf<Monotonic, O>,
    calls: PerfCalls,
    kickers: Kickers,
    port: Option<Port<Monotonic, O>>,
}

/// How each vCPU is kicked, once a thread has it.
type Kickers = Arc<[Mutex<Option<Kicker>>]>;

impl PerfCore {
    /// The perf core of a VM with at most so many vCPUs, each with as many counters as a PMU can
    /// have.
    pub fn new(vcpus: u32) -> Self {
        Self::with_observer(vcpus, NoObserver)
    }
}

impl<O: PerfObserver> PerfCore<O> {
    /// Like [`PerfCore::new`], with somebody who watches: `observer` sees every step of the core, on
    /// whatever thread it happens.
    pub fn with_observer(vcpus: u32, observer: O) -> Self {
        Self::make(vcpus, observer, None)
    }

    /// Like [`PerfCore::with_observer`], with a perf port, at which the guest tells of its tasks and
    /// opens events on them: in `memory` is the guest's RAM, and `limits` is what it may ask for. The
    /// guest finds the port by [`cpuid::add_port`](crate::cpuid::add_port).
    pub fn with_port(
        vcpus: u32,
        observer: O,
        memory: Arc<dyn PortMemory>,
        limits: PortLimits,
    ) -> Self {
        Self::make(vcpus, observer, Some((memory, limits)))
    }

    fn make(vcpus: u32, observer: O, port: Option<(Arc<dyn PortMemory>, PortLimits)>) -> Self {
        let kickers: Kickers = (0..vcpus).map(|_| Mutex::new(None)).collect();
        let config = PerfConfig {
            slots: MAX_SLOTS,
            supports: if port.is_some() {
                counts
            } else {
                counts_no_ticks
            },
            pages: port.is_some(),
            ..PerfConfig::new(vcpus)
        };
        let ipi = Kicks(Arc::clone(&kickers));
        let perf = Perf::with_observer(config, Monotonic, observer);
        Self {
            calls: Calls::new(vcpus, ipi),
            kickers,
            port: port.map(|(memory, limits)| Port::new(perf.clone(), memory, limits)),
            perf,
        }
    }

    /// The perf port, if there is one: it knows the guest's tasks.
    #[must_use]
    pub const fn port(&self) -> Option<&Port<Monotonic, O>> {
        self.port.as_ref()
    }

    /// The engine: what opens, reads and closes events.
    #[must_use]
    pub const fn perf(&self) -> &Perf<Monotonic, O> {
        &self.perf
    }

    /// The caller that a thread has to be which is no vCPU's.
    #[must_use]
    pub fn host_thread(&self) -> HostThread {
        HostThread::new(&self.calls)
    }

    /// On the thread of `vcpu`, which `guard` has bound: its source, online until
    /// [`VcpuPmuKvm::unplug`](crate::VcpuPmuKvm::unplug). `tsc_khz` is the rate of the guest's TSC, by
    /// which cycles are modelled.
    ///
    /// # Errors
    /// [`PerfError::NoSuchVcpu`] if there is no vCPU of that number, [`PerfError::Attached`] while
    /// another thread has it.
    pub fn bind(
        &self,
        vcpu: VcpuId,
        guard: &KickGuard,
        tsc_khz: u32,
    ) -> Result<CoreSource<O>, PerfError> {
        let cpu = self.perf.cpu(vcpu, source(tsc_khz))?;
        let mail = self.calls.vcpu(vcpu);
        let mail = mail.map_err(|_| PerfError::Attached(vcpu))?;
        let kicker = self.kickers.get(vcpu.index());
        let mut kicker = lock(kicker.ok_or(PerfError::NoSuchVcpu(vcpu))?);
        *kicker = Some(guard.kicker());
        drop(kicker);
        let port = self.port.as_ref().map(|port| PortVcpu::new(port, vcpu));
        let mut source = CoreSource::new(VcpuThread::new(cpu, mail), port);
        source.online()?;
        Ok(source)
    }
}

impl<O> fmt::Debug for PerfCore<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerfCore")
            .field("perf", &self.perf)
            .finish_non_exhaustive()
    }
}

fn lock(kicker: &Mutex<Option<Kicker>>) -> MutexGuard<'_, Option<Kicker>> {
    kicker.lock().unwrap_or_else(PoisonError::into_inner)
}

fn source(tsc_khz: u32) -> Counts {
    TickSource::new(ClockSource::new(InGuestTime::new(tsc_khz)))
}

/// What the sources of a VM with a perf port count: all of them the same.
fn counts(config: &EventConfig) -> bool {
    source(1).supports(config)
}

/// What they count without one: nobody makes a tick there.
fn counts_no_ticks(config: &EventConfig) -> bool {
    config.event != Event::PortTick && counts(config)
}

/// Kicks vCPUs by their signal.
struct Kicks(Kickers);

impl Ipi for Kicks {
    fn send(&self, target: VcpuId) {
        let kicker = self.0.get(target.index());
        if let Some(kicker) = kicker.and_then(|kicker| lock(kicker).clone()) {
            // Refused only while the host's queue of signals is full: the call then waits for the
            // vCPU's next exit.
            let _ = kicker.kick();
        }
    }
}

impl<S: VcpuSource, C: Clock, O: PerfObserver> VcpuSource for VcpuThread<S, C, O> {
    fn in_guest_ns(&self) -> Option<u64> {
        self.cpu().source().in_guest_ns()
    }

    fn before_entry(&mut self) -> Needs {
        while !VcpuThread::enter_guest(self) {
            self.serve();
        }
        let cpu = self.cpu_mut();
        cpu.irq_work();
        let armed = cpu.arm();
        Needs {
            counts: cpu.counts(),
            in_cycles: armed.in_cycles,
            at: armed.at,
            rotate: armed.rotate,
            trap: false,
        }
    }

    fn after_exit(&mut self) {
        VcpuThread::exit_guest(self);
        self.cpu_mut().count(None);
    }

    fn rotate(&mut self) {
        self.cpu_mut().rotate();
    }
}
