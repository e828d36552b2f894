// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the run loop asks of a vCPU's source beside counts.

use std::ops::Range;

use vpmu::source::clock::ClockSource;
use vpmu::source::tick::TickSource;
use vpmu::{CounterSource, Nanos};

use crate::InGuestTime;

/// A [`CounterSource`] behind a vCPU on KVM.
///
/// Every source can be one: a source that only counts takes the defaults. One that counts for others
/// than the guest as well, such as the perf core, does its own part of each entry and exit here.
///
/// ```
/// use vpmu::{CounterSource, EventConfig, NotCounted, Wake};
/// use vpmu_kvm::VcpuSource;
///
/// /// Counts nothing, and says so.
/// struct Nothing;
///
/// impl CounterSource for Nothing {
///     fn supports(&self, _config: &EventConfig) -> bool {
///         false
///     }
///
///     fn start(&mut self, _slot: usize, _config: &EventConfig) -> Result<(), NotCounted> {
///         Err(NotCounted)
///     }
///
///     fn stop(&mut self, _slot: usize) {}
///
///     fn take(&mut self, _slot: usize) -> u64 {
///         0
///     }
///
///     fn arm(&mut self, _slot: usize, distance: u64) -> Wake {
///         Wake::InCycles(distance)
///     }
/// }
///
/// impl VcpuSource for Nothing {}
///
/// assert!(Nothing.before_entry().is_idle());
/// ```
pub trait VcpuSource: CounterSource {
    /// The vCPU's unhalted time inside the guest so far, in nanoseconds; `None` if the source does
    /// not measure that. It may stand still while nothing counts.
    ///
    /// By it a halted vCPU is told from a busy one, and looked at more rarely while it waits for an
    /// overflow that its cycles are to bring.
    fn in_guest_ns(&self) -> Option<u64> {
        None
    }

    /// The thread is about to enter the guest, and the VMM has forgotten earlier kicks: does what
    /// others wait for and what the source needs for itself, and says what that is. Who wants
    /// something from here on has to kick.
    fn before_entry(&mut self) -> Needs {
        Needs::default()
    }

    /// The thread is back from the guest; [`CounterSource::exit_guest`] was called before, if
    /// anything counted.
    fn after_exit(&mut self) {}

    /// What waits for a counter gets its turn; called every few milliseconds while
    /// [`Needs::rotate`] says so.
    fn rotate(&mut self) {}

    /// Whether accesses to this I/O port are the source's own.
    fn is_port(&self, _port: u16) -> bool {
        false
    }

    /// The guest writes to a port of the source's.
    fn port_write(&mut self, _port: u16, _data: &[u8]) {}

    /// The guest reads a port of the source's.
    fn port_read(&self, _port: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    /// Whether stores to this guest-physical address, where no RAM is, are ticks that the source
    /// counts.
    fn is_tick(&self, _gpa: u64) -> bool {
        false
    }

    /// The guest made a tick, in user mode or not.
    fn tick(&mut self, _gpa: u64, _user: bool) {}

    /// The vCPU is in user mode and [`Needs::trap`] says that a trap waits: takes it, and says whether
    /// there is one. It is delivered then.
    fn hand_over(&mut self) -> bool {
        false
    }

    /// The vCPU is in kernel mode and a trap waits: tells the guest's kernel. Returns the code with
    /// which that looks for the last time before it returns to user mode, as linear addresses.
    fn raise_trap(&mut self) -> Option<Range<u64>> {
        None
    }
}

impl VcpuSource for ClockSource<InGuestTime> {
    fn in_guest_ns(&self) -> Option<u64> {
        Some(self.clock().total_ns())
    }
}

/// Ticks need nothing of the run loop: each is an exit by itself.
impl<S: VcpuSource> VcpuSource for TickSource<S> {
    fn in_guest_ns(&self) -> Option<u64> {
        self.inner().in_guest_ns()
    }

    fn before_entry(&mut self) -> Needs {
        self.inner_mut().before_entry()
    }

    fn after_exit(&mut self) {
        self.inner_mut().after_exit();
    }

    fn rotate(&mut self) {
        self.inner_mut().rotate();
    }
}

/// Counts by the host's own hardware need nothing of the run loop: their overflow is the kick itself,
/// if the source is made with [`kick::signal`](crate::kick::signal).
#[cfg(feature = "host")]
impl VcpuSource for vpmu::source::host::HostSource {}

/// What a source needs of the run loop, beside what the guest's counters do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// It counts something of its own: it is to be told of the entry even if no counter of the
    /// guest runs.
    pub counts: bool,
    /// It is to be asked again after this many unhalted guest cycles, at the latest.
    pub in_cycles: Option<u64>,
    /// It is to be asked again at this moment of `CLOCK_MONOTONIC`, at the latest.
    pub at: Option<Nanos>,
    /// Something waits for a counter: [`VcpuSource::rotate`] is to be called.
    pub rotate: bool,
    /// The guest's current task has a trap to take before it goes on in user mode.
    pub trap: bool,
}

impl Needs {
    /// Whether it needs nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}
