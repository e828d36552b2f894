// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Cycles from a clock: what can be counted without any counter.

use super::{CounterSource, MAX_SLOTS, NotCounted, Wake};
use crate::{Event, EventConfig};

/// A clock that runs while a vCPU executes guest code.
///
/// It stands still while the vCPU is halted or preempted and while the VMM handles its exits:
/// "unhalted core cycles" are those of the guest. Both events of [`ClockSource`] run at its rate.
pub trait GuestClock {
    /// The vCPU is about to enter the guest; told only while something counts.
    fn enter_guest(&mut self) {}

    /// The vCPU has left the guest.
    fn exit_guest(&mut self) {}

    /// The unhalted in-guest cycles of this vCPU so far.
    ///
    /// A reading below an earlier one is taken for that earlier one.
    fn cycles(&mut self) -> u64;
}

/// Counts core cycles and reference cycles by a [`GuestClock`].
///
/// A clock knows nothing of privilege levels, edges or thresholds, so only a config with USR and OS
/// and without edge, inversion, counter mask and AnyThread is supported.
///
/// ```
/// use vpmu::{ClockSource, CounterSource, EventSelect, GuestClock};
///
/// struct Fake(u64);
/// impl GuestClock for Fake {
///     fn cycles(&mut self) -> u64 {
///         self.0
///     }
/// }
///
/// let mut source = ClockSource::new(Fake(100));
/// let cycles = EventSelect(0x43_003C).decode();
/// source.start(0, &cycles)?;
/// source.clock_mut().0 = 150;
/// assert_eq!(source.take(0), 50);
/// source.clock_mut().0 = 120;
/// assert_eq!(source.take(0), 0, "a clock that goes back counts nothing");
/// source.clock_mut().0 = 160;
/// assert_eq!(source.take(0), 10, "and nothing is counted twice");
/// # Ok::<(), vpmu::NotCounted>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClockSource<C> {
    clock: C,
    /// The highest reading so far: the clock as it is believed.
    highest: u64,
    /// Of a running slot: the reading up to which it was taken.
    taken: [Option<u64>; MAX_SLOTS],
}

impl<C: GuestClock> ClockSource<C> {
    /// A source over `clock`, with no slot running.
    pub const fn new(clock: C) -> Self {
        Self {
            clock,
            highest: 0,
            taken: [None; MAX_SLOTS],
        }
    }

    /// The clock.
    pub const fn clock(&self) -> &C {
        &self.clock
    }

    /// The clock, to be told of entries and exits.
    pub const fn clock_mut(&mut self) -> &mut C {
        &mut self.clock
    }

    fn now(&mut self) -> u64 {
        self.highest = self.highest.max(self.clock.cycles());
        self.highest
    }
}

impl<C: GuestClock> CounterSource for ClockSource<C> {
    fn enter_guest(&mut self) {
        self.clock.enter_guest();
    }

    fn exit_guest(&mut self) {
        self.clock.exit_guest();
    }

    fn supports(&self, config: &EventConfig) -> bool {
        matches!(config.event, Event::CoreCycles | Event::RefCycles)
            && config.usr
            && config.os
            && !config.edge
            && !config.invert
            && config.cmask == 0
            && !config.any_thread
    }

    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted> {
        self.stop(slot);
        if slot >= MAX_SLOTS || !self.supports(config) {
            return Err(NotCounted);
        }
        self.taken[slot] = Some(self.now());
        Ok(())
    }

    fn stop(&mut self, slot: usize) {
        if let Some(taken) = self.taken.get_mut(slot) {
            *taken = None;
        }
    }

    fn take(&mut self, slot: usize) -> u64 {
        let Some(Some(from)) = self.taken.get(slot).copied() else {
            return 0;
        };
        let now = self.now();
        self.taken[slot] = Some(now);
        now - from
    }

    fn arm(&mut self, _slot: usize, distance: u64) -> Wake {
        Wake::InCycles(distance)
    }
}
