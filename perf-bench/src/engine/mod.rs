// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf core, set up as a VMM would: the host's clock, nobody who watches its steps, and a
//! source that costs next to nothing, so that the figures are the core's own.

mod guest;
mod overflowing;
mod switching;

use libc::timespec;
use vcpu_call::{Calls, Ipi, VcpuId};
use vpmu::context::{
    Attr, Caller, Clock, Event, HostThread, Leaves, Open, Perf, PerfCalls, PerfConfig, PerfError,
    Target, Task, VcpuThread,
};
use vpmu::source::MAX_SLOTS;
use vpmu::source::script::ScriptSource;
use vpmu::{EventConfig, EventSelect, Nanos};

use crate::measure::Failure;

pub use guest::Guest;
pub use overflowing::Overflowing;
pub use switching::Switching;

/// `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> Nanos {
        let mut time = timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the time is a valid local, and every Linux has this clock.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        // Neither is negative, nor is an uptime of centuries to be feared.
        Nanos(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
    }
}

/// A vCPU's thread, with a counter for every slot there can be.
pub type Vcpu = VcpuThread<ScriptSource, Monotonic>;

/// Core cycles in user and kernel mode.
#[must_use]
pub fn cycles() -> EventConfig {
    EventSelect(0x43_003C).decode()
}

/// The perf core of one machine, and the calls among its threads.
///
/// ```
/// use perf_bench::engine::{self, Engine};
/// use vcpu_call::VcpuId;
/// use vpmu::context::{Attr, Leaves, Target};
///
/// let engine = Engine::new(1, |_| ());
/// let mut vcpu = engine.vcpu(VcpuId(0))?;
/// let task = engine.perf().create_task(VcpuId(0))?;
/// vcpu.cpu_mut().switch(None, Leaves::Queued, Some(task.clone()))?;
/// let event = engine.open(Attr::counting(engine::cycles()), &task, &mut vcpu)?;
/// vcpu.cpu_mut().source_mut().count(7);
/// assert_eq!(engine.perf().read(&event, &mut vcpu)?.unwrap().count, 7);
/// # Ok::<(), perf_bench::measure::Failure>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    perf: Perf<Monotonic>,
    calls: PerfCalls,
}

impl Engine {
    /// For so many vCPUs, which `ipi` kicks. Overflows may follow each other at once, as those of
    /// the breakpoints do that they are compared with.
    pub fn new(vcpus: u32, ipi: impl Ipi + 'static) -> Self {
        let config = PerfConfig {
            slots: MAX_SLOTS,
            interval: Nanos(0),
            ..PerfConfig::new(vcpus)
        };
        Self {
            perf: Perf::new(config, Monotonic),
            calls: Calls::new(vcpus, ipi),
        }
    }

    /// The perf core.
    #[must_use]
    pub fn perf(&self) -> &Perf<Monotonic> {
        &self.perf
    }

    /// The thread's end of a vCPU, online.
    ///
    /// # Errors
    /// When there is no such vCPU, or its thread has its end already.
    pub fn vcpu(&self, id: VcpuId) -> Result<Vcpu, Failure> {
        let cpu = self.perf.cpu(id, ScriptSource::new())?;
        let mut vcpu = VcpuThread::new(cpu, self.calls.vcpu(id)?);
        vcpu.online()?;
        Ok(vcpu)
    }

    /// An end for a thread that is no vCPU's.
    #[must_use]
    pub fn host(&self) -> HostThread {
        HostThread::new(&self.calls)
    }

    /// Opens an event on a task.
    ///
    /// # Errors
    /// As [`Perf::open`].
    pub fn open(&self, attr: Attr, task: &Task, by: &mut impl Caller) -> Result<Event, PerfError> {
        self.perf.open(&Open::new(attr, Target::Task(task)), by)
    }

    /// Opens a counting event on a task, which installs it, and closes it.
    ///
    /// # Errors
    /// As [`Perf::open`] and [`Perf::close`].
    pub fn open_close(&self, task: &Task, by: &mut impl Caller) -> Result<(), PerfError> {
        let event = self.open(Attr::counting(cycles()), task, by)?;
        self.perf.close(&event, by)
    }

    /// A new task that is the current one of `vcpu`, which had none.
    ///
    /// # Errors
    /// When the vCPU has a current task.
    pub fn current(&self, vcpu: &mut Vcpu) -> Result<Task, PerfError> {
        let task = self.perf.create_task(vcpu.cpu().id())?;
        vcpu.cpu_mut()
            .switch(None, Leaves::Queued, Some(task.clone()))?;
        Ok(task)
    }

    /// A new task that ran on `vcpu`, which has no current one, and is blocked since.
    ///
    /// # Errors
    /// When the vCPU has a current task.
    pub fn blocked(&self, vcpu: &mut Vcpu) -> Result<Task, PerfError> {
        let task = self.current(vcpu)?;
        vcpu.cpu_mut().switch(Some(&task), Leaves::Blocked, None)?;
        Ok(task)
    }
}

/// What a vCPU's thread does between an exit and the next entry in which nothing happened.
pub fn before_entry(vcpu: &mut Vcpu) {
    vcpu.exit_guest();
    loop {
        vcpu.serve();
        let cpu = vcpu.cpu_mut();
        cpu.count(None);
        cpu.irq_work();
        cpu.arm();
        if vcpu.enter_guest() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use vpmu::context::State;
    use vpmu::context::order::Place;

    use super::*;

    const VCPU: VcpuId = VcpuId(0);

    #[test]
    fn the_clock_is_the_monotonic_one() {
        let first = Monotonic.now();
        let mut second = Monotonic.now();
        while second == first {
            second = Monotonic.now();
        }
        assert!(first < second && first > Nanos(0));
    }

    #[test]
    fn tasks_are_where_they_are_said_to_be() {
        let engine = Engine::new(1, |_| panic!("nobody has to be kicked"));
        let mut vcpu = engine.vcpu(VCPU).unwrap();
        let blocked = engine.blocked(&mut vcpu).unwrap();
        let current = engine.current(&mut vcpu).unwrap();
        assert_eq!(blocked.place(), Place::Blocked(VCPU));
        assert_eq!(current.place(), Place::Current(VCPU));
        let attr = Attr::counting(cycles());
        let event = engine.open(attr, &blocked, &mut engine.host()).unwrap();
        assert_eq!(state(&engine, &event), State::Inactive);
        let event = engine.open(attr, &current, &mut vcpu).unwrap();
        assert_eq!(state(&engine, &event), State::Active(VCPU));
        engine.open_close(&blocked, &mut engine.host()).unwrap();
        before_entry(&mut vcpu);
        assert_eq!(vcpu.cpu().source().armed(0), None, "it only counts");
    }

    fn state(engine: &Engine, event: &Event) -> State {
        engine.perf().status(event).unwrap().state
    }
}
