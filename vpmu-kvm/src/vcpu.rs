// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One vCPU with a PMU: the loop around `KVM_RUN`.

use std::ptr;
use std::sync::Arc;

use kvm_bindings::kvm_debug_exit_arch;
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use vpmu::{
    ClockSource, MsrId, MsrRead, MsrWrite, Nanos, NoObserver, PmuModel, PmuObserver, PmuStats,
    Recheck, VcpuPmu,
};

use crate::GuestMemory;
use crate::arming::enables;
use crate::clock::{InGuestTime, ns_for};
use crate::error::{Error, REPORT, kvm};
use crate::idle::IdleBackoff;
use crate::kick::KickGuard;
use crate::lapic::{Lapic, Undelivered};
use crate::rotation::Rotation;
use crate::source::{Needs, VcpuSource};
use crate::timer::{KickTimer, monotonic_ns};
use crate::trap::{RdpmcTrap, TrapStats};
use crate::user_trap::{self, Delivered, in_user_mode};

mod outside;

/// When to try a PMI or a trap again that could not be delivered behind another event, if the guest does not
/// exit by itself before. Long enough for the entry that delivers that event to happen: a kick
/// before it would leave everything as it was.
const RETRY_NS: u64 = 500_000;

/// What can be chosen for a vCPU's PMU.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PmuOptions {
    /// The PMU that the guest sees.
    pub model: PmuModel,
    /// The least host time between two PMIs; an overflow due earlier is delayed and counted as
    /// throttled, so that a counter written to -1 in a loop is no storm.
    pub min_rearm: Nanos,
    /// The guest's TSC rate in kHz, from `KVM_GET_TSC_KHZ`; cycles are modelled at this rate.
    pub tsc_khz: u32,
    /// The vCPU's APIC id.
    pub apic_id: u32,
}

impl PmuOptions {
    /// Options for `model` with the usual minimum re-arm interval.
    #[must_use]
    pub fn new(model: PmuModel, tsc_khz: u32, apic_id: u32) -> Self {
        Self {
            model,
            min_rearm: vpmu::vcpu::DEFAULT_MIN_REARM,
            tsc_khz,
            apic_id,
        }
    }
}

/// Why [`VcpuPmuKvm::run`] and [`run_plain`] came back.
#[derive(Debug)]
#[non_exhaustive]
pub enum Exit<'a> {
    /// The guest used its PMU and was served: run again.
    Handled(Handled),
    /// A kick, or the PMU's own timer: look at your request flags, run again.
    Kicked,
    /// An exit for the VMM.
    Vcpu(VcpuExit<'a>),
}

/// The exits that the PMU serves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// RDMSR of a PMU MSR.
    ReadMsr,
    /// WRMSR of a PMU MSR.
    WriteMsr,
    /// A stop at the #GP handler: an RDPMC, another #GP or a debug exception of the guest's own.
    Debug,
    /// OUT to or IN from the perf port.
    Port,
    /// A store to the perf port's tick page.
    Tick,
}

/// The PMU of one vCPU on KVM: registers over the source `S`, watched by a `P`. Lives on the vCPU's
/// thread, beside its `VcpuFd`.
#[derive(Debug)]
pub struct VcpuPmuKvm<S = ClockSource<InGuestTime>, P = NoObserver> {
    pmu: VcpuPmu<S, P>,
    tsc_khz: u32,
    trap: RdpmcTrap,
    lapic: Lapic,
    timer: KickTimer,
    idle: IdleBackoff,
    rotation: Rotation,
    /// A debug exit whose resolution needs the `VcpuFd`, which the exit still borrowed.
    debug: Option<kvm_debug_exit_arch>,
    /// The trap must look at the guest's IDT before the next entry.
    arm: bool,
    /// Somebody may have changed the registers behind the guest's back.
    handed_out: bool,
    /// The last run ended by a kick: perhaps the timer's.
    kicked: bool,
    /// The last exit's instruction is finished only by the next `KVM_RUN`.
    unfinished: bool,
}

impl VcpuPmuKvm {
    /// A PMU in its reset state for the vCPU that `guard` is bound to. It counts cycles by the
    /// time that the vCPU spends in the guest.
    ///
    /// # Errors
    /// When the host refuses the timer.
    pub fn new(vm: Arc<VmFd>, guard: &KickGuard, options: &PmuOptions) -> Result<Self, Error> {
        let clock = InGuestTime::new(options.tsc_khz);
        Self::with_source(vm, guard, options, ClockSource::new(clock))
    }
}

impl<S: VcpuSource> VcpuPmuKvm<S> {
    /// Like [`VcpuPmuKvm::new`], on any source: the perf core's, by which events of the host share
    /// the vCPU's counters with the guest (see [`PerfCore`](crate::PerfCore)), or one of your own.
    ///
    /// # Errors
    /// When the host refuses the timer.
    pub fn with_source(
        vm: Arc<VmFd>,
        guard: &KickGuard,
        options: &PmuOptions,
        source: S,
    ) -> Result<Self, Error> {
        Self::with_source_and_observer(vm, guard, options, source, NoObserver)
    }
}

impl<S: VcpuSource, P: PmuObserver> VcpuPmuKvm<S, P> {
    /// Like [`VcpuPmuKvm::with_source`], with somebody who watches the registers.
    ///
    /// # Errors
    /// When the host refuses the timer.
    pub fn with_source_and_observer(
        vm: Arc<VmFd>,
        guard: &KickGuard,
        options: &PmuOptions,
        source: S,
        observer: P,
    ) -> Result<Self, Error> {
        let mut pmu = VcpuPmu::with_observer(options.model, source, observer);
        pmu.set_min_rearm(options.min_rearm);
        Ok(Self {
            pmu,
            tsc_khz: options.tsc_khz,
            trap: RdpmcTrap::default(),
            lapic: Lapic::new(vm, options.apic_id),
            timer: KickTimer::new(guard)?,
            idle: IdleBackoff::default(),
            rotation: Rotation::default(),
            debug: None,
            arm: false,
            handed_out: false,
            kicked: false,
            unfinished: false,
        })
    }

    /// The registers, for what is the VMM's to do with them: snapshot and restore, reset, filter.
    pub const fn registers(&mut self) -> &mut VcpuPmu<S, P> {
        self.handed_out = true;
        &mut self.pmu
    }

    /// Runs the guest until its next exit, PMIs and overflows included.
    ///
    /// Call [`KickGuard::clear`] and look at the VMM's own requests before each call. On the vCPU's
    /// own thread only.
    ///
    /// # Errors
    /// A failed ioctl; the VM cannot go on then.
    pub fn run<'a>(
        &mut self,
        vcpu: &'a mut VcpuFd,
        mem: &impl GuestMemory,
    ) -> Result<Exit<'a>, Error> {
        if let Some(exit) = self.debug.take() {
            self.resolve(vcpu, mem, &exit)?;
        }
        if std::mem::take(&mut self.handed_out) {
            // A counter that was restored as enabled can be read by RDPMC as well.
            self.arm |= self.pmu.counters().any(|counter| counter.select.enabled());
        }
        if std::mem::take(&mut self.arm) {
            self.trap.arm(vcpu, mem)?;
        }
        if self.rotation.is_on() && self.rotation.is_over(monotonic_ns()) {
            self.pmu.source_mut().rotate();
        }
        let mut needs = self.pmu.source_mut().before_entry();
        if needs.trap {
            self.deliver_trap(vcpu, &mut needs)?;
        }
        self.enter(vcpu, &needs)?;
        // The registers tell the source of entries while a counter of the guest runs.
        let directly = needs.counts && !self.pmu.counting();
        if directly {
            self.pmu.source_mut().enter_guest();
        }
        let again = ptr::from_mut(vcpu);
        // SAFETY: what the exit borrows is either returned, and `again` not used any more, or gone
        // before `again` is used: the borrow checker cannot tell the two ways apart.
        let result = unsafe { &mut *again }.run();
        if directly {
            self.pmu.source_mut().exit_guest();
        }
        self.pmu.exit_guest();
        self.pmu.source_mut().after_exit();
        let exit = interrupted(result)?;
        self.kicked = exit.is_none();
        self.unfinished = !self.kicked;
        match exit {
            None => Ok(Exit::Kicked),
            Some(VcpuExit::MmioWrite(gpa, _)) if self.pmu.source().is_tick(gpa) => {
                // SAFETY: as above; of the exit only a number is left.
                let user = in_user_mode(unsafe { &*again })?;
                self.pmu.source_mut().tick(gpa, user);
                Ok(Exit::Handled(Handled::Tick))
            }
            Some(VcpuExit::MmioRead(gpa, data)) if self.pmu.source().is_tick(gpa) => {
                data.fill(0);
                Ok(Exit::Handled(Handled::Tick))
            }
            Some(VcpuExit::IoOut(port, data)) if self.pmu.source().is_port(port) => {
                let data = ptr::from_ref(data);
                // SAFETY: as above; the data lies in the mapping behind `kvm_run`, of which only the
                // width is read, and stays as it is until the vCPU runs again.
                let (width, data) = unsafe { (io_width(&mut *again), &*data) };
                for piece in data.chunks(width) {
                    self.pmu.source_mut().port_write(port, piece);
                }
                Ok(Exit::Handled(Handled::Port))
            }
            Some(VcpuExit::IoIn(port, data)) if self.pmu.source().is_port(port) => {
                let data = ptr::from_mut(data);
                // SAFETY: as above.
                let (width, data) = unsafe { (io_width(&mut *again), &mut *data) };
                for piece in data.chunks_mut(width) {
                    self.pmu.source().port_read(port, piece);
                }
                Ok(Exit::Handled(Handled::Port))
            }
            Some(exit) => Ok(self.dispatch(exit)),
        }
    }

    /// Delivers the trap of the guest's current task. An exit that is not finished is finished first,
    /// by a `KVM_RUN` that comes back at once: the caller does as after any kick, and runs again.
    fn deliver_trap(&mut self, vcpu: &mut VcpuFd, needs: &mut Needs) -> Result<(), Error> {
        if self.unfinished {
            vcpu.set_kvm_immediate_exit(1);
            return Ok(());
        }
        let delivered = user_trap::deliver(vcpu, self.pmu.source_mut())?;
        if delivered == Delivered::NotNow {
            let retry = monotonic_ns().saturating_add(RETRY_NS);
            needs.at = sooner(needs.at, Some(Nanos(retry)));
        }
        Ok(())
    }

    /// Commits what overflowed, delivers the PMI and arms the timer for whatever comes next.
    fn enter(&mut self, vcpu: &mut VcpuFd, needs: &Needs) -> Result<(), Error> {
        let counting = self.pmu.counting();
        if !counting && needs.is_idle() {
            return Ok(());
        }
        let now = Nanos(monotonic_ns());
        let turn = self.rotation.waiting(now.0, needs.rotate).map(Nanos);
        let (mut at, mut in_cycles) = (sooner(needs.at, turn), needs.in_cycles);
        if counting {
            let trap_due = self.trap.is_due(vcpu);
            let mut sink = self.lapic.sink(vcpu, trap_due);
            match self.pmu.enter_guest(now, &mut sink) {
                Ok(entry) => match entry.recheck {
                    None => {}
                    Some(Recheck::At(then)) => at = sooner(at, Some(then)),
                    Some(Recheck::InCycles(n)) => in_cycles = sooner(in_cycles, Some(n)),
                },
                Err(Undelivered::NotNow) => {
                    let retry = now.0.saturating_add(RETRY_NS);
                    at = sooner(at, Some(Nanos(retry)));
                }
                Err(Undelivered::Failed(error)) => return Err(error),
            }
        }
        if let Some(cycles) = in_cycles {
            let wait = self.wait_for(now.0, cycles);
            at = sooner(at, Some(Nanos(now.0.saturating_add(wait))));
        }
        match at {
            Some(at) => self.timer.fire_by(now.0, at.0),
            None => Ok(()),
        }
    }

    /// How long to wait, in nanoseconds, before `cycles` can have passed in the guest.
    fn wait_for(&mut self, now: u64, cycles: u64) -> u64 {
        let needed = ns_for(cycles, self.tsc_khz);
        // A source that does not say how much the guest ran is believed to have run it all the time.
        let in_guest = self.pmu.source().in_guest_ns().unwrap_or(now);
        if self.kicked && self.timer.expired(now) {
            self.idle.after_expiry(now, in_guest, needed)
        } else {
            self.idle.while_active(now, in_guest, needed)
        }
    }

    fn dispatch<'a>(&mut self, exit: VcpuExit<'a>) -> Exit<'a> {
        match exit {
            VcpuExit::X86Rdmsr(exit) => match self.pmu.read_msr(MsrId(exit.index)) {
                MsrRead::Value(value) => {
                    *exit.data = value;
                    Exit::Handled(Handled::ReadMsr)
                }
                MsrRead::GeneralProtection => {
                    *exit.error = 1;
                    Exit::Handled(Handled::ReadMsr)
                }
                MsrRead::NotHandled => Exit::Vcpu(VcpuExit::X86Rdmsr(exit)),
            },
            VcpuExit::X86Wrmsr(exit) => match self.pmu.write_msr(MsrId(exit.index), exit.data) {
                MsrWrite::Done => {
                    self.arm |= enables(MsrId(exit.index), exit.data);
                    Exit::Handled(Handled::WriteMsr)
                }
                MsrWrite::GeneralProtection => {
                    *exit.error = 1;
                    Exit::Handled(Handled::WriteMsr)
                }
                MsrWrite::NotHandled => Exit::Vcpu(VcpuExit::X86Wrmsr(exit)),
            },
            VcpuExit::Debug(exit) => {
                self.debug = Some(exit);
                Exit::Handled(Handled::Debug)
            }
            exit => Exit::Vcpu(exit),
        }
    }

    fn resolve(
        &mut self,
        vcpu: &mut VcpuFd,
        mem: &impl GuestMemory,
        exit: &kvm_debug_exit_arch,
    ) -> Result<(), Error> {
        let Self { trap, pmu, .. } = self;
        trap.resolve(vcpu, mem, exit, |index| pmu.read_pmc(index))
    }

    /// What the PMU did, for reports.
    #[must_use]
    pub fn stats(&self) -> VcpuPmuStats {
        VcpuPmuStats {
            pmu: *self.pmu.stats(),
            trap: self.trap.stats(),
            counted_ns: self.pmu.source().in_guest_ns(),
        }
    }
}

/// What one vCPU's PMU did.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct VcpuPmuStats {
    /// Overflows, PMIs, throttles and their skid.
    pub pmu: PmuStats,
    /// The RDPMC trap.
    pub trap: TrapStats,
    /// In-guest time while something counted, in nanoseconds; `None` if the source does not measure
    /// it.
    pub counted_ns: Option<u64>,
}

/// What a port access moves at a time, in bytes; a string instruction moves many such units.
fn io_width(vcpu: &mut VcpuFd) -> usize {
    // SAFETY: the last exit was KVM_EXIT_IO, for which this is the union's field.
    let io = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.io };
    usize::from(io.size).max(1)
}

/// Runs a vCPU that has no PMU; beside [`VcpuPmuKvm::run`] for a VMM that offers both.
///
/// # Errors
/// A failed `KVM_RUN`.
pub fn run_plain(vcpu: &mut VcpuFd) -> Result<Exit<'_>, Error> {
    Ok(interrupted(vcpu.run())?.map_or(Exit::Kicked, Exit::Vcpu))
}

/// `EINTR` is a kick; `EAGAIN` comes after an INIT and wants another try.
fn interrupted(
    result: Result<VcpuExit<'_>, kvm_ioctls::Error>,
) -> Result<Option<VcpuExit<'_>>, Error> {
    match result {
        Ok(exit) => Ok(Some(exit)),
        Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => Ok(None),
        Err(error) => Err(kvm("KVM_RUN", REPORT)(error)),
    }
}

/// The smaller of two, as far as they are there.
fn sooner<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.into_iter().chain(b).min()
}
