// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Counts by the host's own hardware, through Linux's perf events.
//!
//! For hosts that have a PMU and lend it. Each slot that runs is a pinned perf event of the vCPU's
//! thread that counts while the CPU is in a guest (`exclude_host`), at the privilege levels that are
//! asked for. Its overflow is a signal to that thread: one whose handler makes the vCPU leave the
//! guest, such as the VMM's kick, brings it back in time.
//!
//! # What is counted
//!
//! Events that Linux has a name for are asked for by that name, so that any guest may have them on any
//! host: cycles, instructions, reference cycles (at the rate of the TSC), branches and mispredicted
//! branches; references and misses of the last-level cache on Intel's hosts alone, because these
//! names are about another level on AMD's. Everything else, edge, inversion and counter masks
//! included, is asked for by number: the host's own number for an event with a meaning; the guest's
//! for any other event, if host and guest are of one vendor. AnyThread is not counted.
//!
//! That a counter counts is not believed but tried: [`HostSource::probe`] lets each event count the
//! probing thread and refuses those that do not move. It cannot try that a *guest* is counted, since
//! there is none yet; it makes sure that Linux accepts the event that leaves out the host.
//!
//! # What it costs
//!
//! Reading a slot is one system call, as are starting and stopping one. An event is opened when a
//! slot is first started with it, which can take Linux milliseconds, and kept: a slot that is
//! started with what has counted before gets that event back. Arming is free while the overflow
//! ahead stays the same, and three system calls when it moves.
//!
//! An overflow of hardware is not exact: the host notices it some instructions late. If a guest
//! makes overflows come faster than `kernel.perf_event_max_sample_rate`, Linux stops its counter for
//! the rest of a tick; the throttle of [`registers`](crate::registers) (P19) is to stay far below.
//!
//! # Plumbing
//!
//! [`HostSource::software`] does the same with events that Linux counts itself and that need no
//! hardware. They know no guests: they count what the thread does between
//! [`enter_guest`](CounterSource::enter_guest) and [`exit_guest`](CounterSource::exit_guest). On
//! machines without a PMU, which is where this project is developed and tested, that is all that can
//! be shown of this source: opening, reading, overflows, signals, reuse. The mapping of events to
//! hardware is tested against what Linux is asked for, not against a CPU.
//!
//! ```
//! use std::sync::Arc;
//!
//! use vpmu::source::host::HostSource;
//! use vpmu::{CounterSource, EventConfig, Vendor};
//!
//! # let kick = libc::SIGURG; // ignored unless somebody handles it
//! // At start-up.
//! let source = match HostSource::probe() {
//!     Ok(probe) => HostSource::new(Arc::new(probe), Vendor::Intel, kick),
//!     Err(no_hardware) => {
//!         eprintln!("{no_hardware}");
//!         match HostSource::software(kick) {
//!             Ok(source) => source,
//!             Err(refused) => return eprintln!("{refused}"),
//!         }
//!     }
//! };
//! // On the vCPU's thread: the registers do this.
//! let mut source = source;
//! let faults = EventConfig::everywhere(HostSource::PAGE_FAULTS);
//! if source.supports(&faults) && source.start(0, &faults).is_ok() {
//!     source.enter_guest();
//!     source.exit_guest();
//!     println!("{} page faults", source.take(0));
//! }
//! ```

use alloc::sync::Arc;

use libc::c_int;

use self::engine::{Engine, Window};
use self::probe::Work;
use self::request::Request;
use self::sys::Linux;
use super::{CounterSource, NotCounted, Wake};
use crate::{Event, EventConfig, Vendor};

mod engine;
mod error;
mod pool;
mod probe;
mod reading;
mod request;
mod sys;
#[cfg(test)]
mod test_host;

pub use error::HostError;
pub use probe::{Probe, Probed};

/// What a [`HostSource`] asked of Linux so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostStats {
    /// Events that were opened.
    pub opened: u64,
    /// Slots that were started with an event that was open already.
    pub reused: u64,
    /// What Linux refused: events, switching one on or off, periods.
    pub refused: u64,
    /// Reads of events that had lost their counter to somebody more important. What happened until
    /// they got it back was not counted.
    pub stood_still: u64,
}

/// Counts by perf events of the vCPU's thread; see the [module](self).
///
/// It counts the thread that starts its slots. It may move to another thread, as a vCPU does that
/// is taken away and added again, while none of its slots run; slots still running on the old thread
/// keep new ones from starting.
///
/// The signal should be a real-time one whose handler makes the vCPU leave the guest, installed
/// before the first slot is armed: by default a signal ends the process.
#[derive(Debug)]
pub struct HostSource {
    engine: Engine<Linux>,
    lends: Lends,
}

/// What is counted.
#[derive(Debug)]
enum Lends {
    Hardware { probe: Arc<Probe>, guest: Vendor },
    Software { kernel: bool },
}

impl HostSource {
    /// Nanoseconds of the thread's CPU time, at all privilege levels: an event of
    /// [`software`](Self::software). Event select FFH, unit mask 01H.
    pub const TASK_CLOCK: Event = request::TASK_CLOCK;

    /// Page faults of the thread, a host's kind of event: one of [`software`](Self::software). Event
    /// select FFH, unit mask 02H.
    pub const PAGE_FAULTS: Event = request::PAGE_FAULTS;

    /// Finds out what the host's hardware counts for this program, by counting. Takes some
    /// milliseconds for each event.
    ///
    /// # Errors
    /// If nothing is counted: why. A permission that is missing is named with the setting and the
    /// capability that grant it.
    pub fn probe() -> Result<Probe, HostError> {
        // No event of a probe overflows.
        Probe::run(&mut Linux::new(0), request::host_vendor())
    }

    /// A source for a guest whose PMU is of the vendor `guest`, on hardware that was probed.
    ///
    /// An overflow is the signal `kick` to the vCPU's thread.
    pub const fn new(probe: Arc<Probe>, guest: Vendor, kick: c_int) -> Self {
        Self {
            engine: Engine::new(Linux::new(kick), Window::Hardware),
            lends: Lends::Hardware { probe, guest },
        }
    }

    /// A source that counts [`TASK_CLOCK`](Self::TASK_CLOCK) and [`PAGE_FAULTS`](Self::PAGE_FAULTS)
    /// and nothing else: for tests of what surrounds it, on hosts without a PMU.
    ///
    /// Counts what the thread does between [`enter_guest`](CounterSource::enter_guest) and
    /// [`exit_guest`](CounterSource::exit_guest), be it in a guest or not. An overflow is the signal
    /// `kick`; of the clock, in a guest, only if this program may count the host's kernel.
    ///
    /// # Errors
    /// If the host refuses even these, or does not count them.
    pub fn software(kick: c_int) -> Result<Self, HostError> {
        let mut linux = Linux::new(kick);
        let kernel = request::software(&EventConfig::everywhere(Self::PAGE_FAULTS), true)
            .is_some_and(|faults| sys::Backend::open(&mut linux, &faults).is_ok());
        let clock = EventConfig::everywhere(Self::TASK_CLOCK);
        let clock = request::software(&clock, kernel).ok_or(HostError::NoCounter)?;
        probe::counts(&clock, &mut linux, &mut Work::new())?;
        Ok(Self {
            engine: Engine::new(linux, Window::Calls),
            lends: Lends::Software { kernel },
        })
    }

    /// What was asked of Linux so far.
    pub const fn stats(&self) -> HostStats {
        self.engine.stats()
    }

    /// What Linux is to be asked for, if it counts that.
    fn request(&self, config: &EventConfig) -> Option<Request> {
        match &self.lends {
            Lends::Hardware { probe, guest } => probe.request(config, *guest),
            Lends::Software { kernel } => request::software(config, *kernel),
        }
    }
}

impl CounterSource for HostSource {
    fn enter_guest(&mut self) {
        self.engine.enter_guest();
    }

    fn exit_guest(&mut self) {
        self.engine.exit_guest();
    }

    fn supports(&self, config: &EventConfig) -> bool {
        self.request(config).is_some()
    }

    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted> {
        let Some(request) = self.request(config) else {
            self.engine.stop(slot);
            return Err(NotCounted);
        };
        self.engine.start(slot, request)
    }

    fn stop(&mut self, slot: usize) {
        self.engine.stop(slot);
    }

    fn take(&mut self, slot: usize) -> u64 {
        self.engine.take(slot)
    }

    fn arm(&mut self, slot: usize, distance: u64) -> Wake {
        self.engine.arm(slot, distance)
    }
}
