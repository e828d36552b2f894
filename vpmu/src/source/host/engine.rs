// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Slots on perf events, whoever lends these.

use std::io;

use libc::pid_t;

use super::HostStats;
use super::pool::Pool;
use super::reading::Reading;
use super::request::Request;
use super::sys::{Backend, NEVER, PerfEvent};
use crate::source::{MAX_SLOTS, NotCounted, Wake};

/// Who knows when the vCPU is in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// The hardware: an event is on for as long as its slot runs.
    Hardware,
    /// Whoever tells of entries and exits: an event is off outside.
    Calls,
}

/// A slot that runs.
#[derive(Debug)]
struct Running {
    /// Its event's place in the pool.
    event: usize,
    reading: Reading,
    /// The reading at which the event will overflow.
    armed: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Engine<B: Backend> {
    backend: B,
    window: Window,
    pool: Pool<B::Event>,
    slots: [Option<Running>; MAX_SLOTS],
    /// Whom the open events count.
    thread: Option<pid_t>,
    inside: bool,
    stats: HostStats,
}

impl<B: Backend> Engine<B> {
    pub(super) const fn new(backend: B, window: Window) -> Self {
        Self {
            backend,
            window,
            pool: Pool::new(),
            slots: [const { None }; MAX_SLOTS],
            thread: None,
            inside: false,
            stats: HostStats {
                opened: 0,
                reused: 0,
                refused: 0,
                stood_still: 0,
            },
        }
    }

    pub(super) const fn stats(&self) -> HostStats {
        self.stats
    }

    pub(super) fn enter_guest(&mut self) {
        self.inside = true;
        self.switch_all(B::Event::enable);
    }

    pub(super) fn exit_guest(&mut self) {
        self.switch_all(B::Event::disable);
        self.inside = false;
    }

    pub(super) fn start(&mut self, slot: usize, request: Request) -> Result<(), NotCounted> {
        self.stop(slot);
        if slot >= MAX_SLOTS {
            return Err(NotCounted);
        }
        self.slots[slot] = self.run(request);
        if self.slots[slot].is_none() {
            self.stats.refused += 1;
            return Err(NotCounted);
        }
        Ok(())
    }

    pub(super) fn stop(&mut self, slot: usize) {
        let on = self.on();
        let Some(running) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let parked = self.pool.event(running.event).is_some_and(|event| {
            let off = if on { event.disable() } else { Ok(()) };
            // Who gets the event next may not want to be woken.
            let disarmed = running.armed.map_or(Ok(()), |_| event.set_period(NEVER));
            off.and(disarmed).is_ok()
        });
        if parked {
            self.pool.release(running.event);
        } else {
            self.pool.close(running.event);
        }
    }

    pub(super) fn take(&mut self, slot: usize) -> u64 {
        let on = self.on();
        let Some(Some(running)) = self.slots.get_mut(slot) else {
            return 0;
        };
        let Some(event) = self.pool.event(running.event) else {
            return 0;
        };
        let Ok(Some(count)) = event.read() else {
            self.stats.stood_still += 1;
            // An event that lost its place asks for one again when it is switched on.
            if on {
                self.stats.refused += u64::from(event.enable().is_err());
            }
            return 0;
        };
        let counted = running.reading.advance(count);
        // Left alone, it would overflow again after as many events, however few.
        if let Some(target) = running.armed
            && running.reading.reached(target)
        {
            running.armed = None;
            self.stats.refused += u64::from(set_period(event, on, NEVER).is_err());
        }
        counted
    }

    pub(super) fn arm(&mut self, slot: usize, distance: u64) -> Wake {
        let on = self.on();
        let by_hand = Wake::InCycles(distance.max(1));
        let Some(Some(running)) = self.slots.get_mut(slot) else {
            return by_hand;
        };
        let Some(event) = self.pool.event(running.event) else {
            return by_hand;
        };
        let period = distance.clamp(1, NEVER);
        let target = running.reading.after(period);
        if running.armed == Some(target) {
            return Wake::BySource;
        }
        running.armed = None;
        if set_period(event, on, period).is_err() {
            self.stats.refused += 1;
            return by_hand;
        }
        running.armed = Some(target);
        Wake::BySource
    }

    /// Whether the events of running slots are on.
    fn on(&self) -> bool {
        self.window == Window::Hardware || self.inside
    }

    /// Finds an event for `request` or opens one, and lets it count from here on.
    fn run(&mut self, request: Request) -> Option<Running> {
        self.follow_thread()?;
        let index = if let Some(index) = self.pool.claim(&request) {
            self.stats.reused += 1;
            index
        } else {
            let event = self.backend.open(&request).ok()?;
            self.stats.opened += 1;
            self.pool.add(request, event)?
        };
        let Some(count) = self.begin(index) else {
            self.pool.close(index);
            return None;
        };
        Some(Running {
            event: index,
            reading: Reading::new(count),
            armed: None,
        })
    }

    /// Switches an event on, if it is time; its count.
    fn begin(&self, index: usize) -> Option<u64> {
        let event = self.pool.event(index)?;
        if self.on() {
            event.enable().ok()?;
        }
        event.read().ok().flatten()
    }

    /// Sees to it that what is idle counts the calling thread. `None` while slots count another.
    fn follow_thread(&mut self) -> Option<()> {
        let thread = self.backend.thread();
        if self.thread != Some(thread) {
            if self.slots.iter().any(Option::is_some) {
                return None;
            }
            self.pool.close_idle();
            self.thread = Some(thread);
        }
        Some(())
    }

    /// Switches the events of all running slots, if they are not the hardware's to switch.
    fn switch_all(&mut self, switch: fn(&B::Event) -> io::Result<()>) {
        if self.window == Window::Hardware {
            return;
        }
        for running in self.slots.iter().flatten() {
            let switched = self.pool.event(running.event).map(switch);
            self.stats.refused += u64::from(!matches!(switched, Some(Ok(()))));
        }
    }
}

/// Sets the period of an event that is `on` or off, exactly.
fn set_period<E: PerfEvent>(event: &E, on: bool, period: u64) -> io::Result<()> {
    if on {
        event.disable()?;
    }
    let set = event.set_period(period);
    if on {
        event.enable()?;
    }
    set
}

#[cfg(test)]
mod tests;
