// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A source that counts exactly what it is told, for the tests of whoever embeds a PMU.

use super::{CounterSource, MAX_SLOTS, NotCounted, Wake};
use crate::EventConfig;

/// Counts what [`count`](Self::count) tells it. One count takes one cycle.
///
/// ```
/// use vpmu::source::script::ScriptSource;
/// use vpmu::{CounterSource, EventSelect};
///
/// let mut source = ScriptSource::new();
/// source.count(7);
/// source.start(2, &EventSelect(0xC0).decode())?;
/// source.count(5);
/// assert_eq!(source.take(2), 5);
/// assert_eq!(source.take(2), 0);
/// # Ok::<(), vpmu::NotCounted>(())
/// ```
#[derive(Clone, Debug)]
pub struct ScriptSource {
    slots: [Option<Slot>; MAX_SLOTS],
    supports: fn(&EventConfig) -> bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    config: EventConfig,
    untaken: u64,
    armed: Option<u64>,
}

impl Default for ScriptSource {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptSource {
    /// A source that supports every event.
    pub const fn new() -> Self {
        Self::supporting(|_| true)
    }

    /// A source that supports the events for which `supports` says so.
    pub const fn supporting(supports: fn(&EventConfig) -> bool) -> Self {
        Self {
            slots: [None; MAX_SLOTS],
            supports,
        }
    }

    /// `counts` more events happen in every running slot. 2^64 and above stays at the top.
    pub fn count(&mut self, counts: u64) {
        for slot in self.slots.iter_mut().flatten() {
            slot.untaken = slot.untaken.saturating_add(counts);
        }
    }

    /// `counts` more events happen in `slot`, if it runs.
    pub fn count_slot(&mut self, slot: usize, counts: u64) {
        if let Some(Some(slot)) = self.slots.get_mut(slot) {
            slot.untaken = slot.untaken.saturating_add(counts);
        }
    }

    /// What `slot` counts, if it runs.
    pub fn running(&self, slot: usize) -> Option<EventConfig> {
        self.slots.get(slot)?.map(|slot| slot.config)
    }

    /// The distance to overflow that `slot` was last armed with, if it was armed since it was last
    /// taken.
    pub fn armed(&self, slot: usize) -> Option<u64> {
        self.slots.get(slot)?.as_ref()?.armed
    }
}

impl CounterSource for ScriptSource {
    fn supports(&self, config: &EventConfig) -> bool {
        (self.supports)(config)
    }

    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted> {
        if slot >= MAX_SLOTS || !self.supports(config) {
            return Err(NotCounted);
        }
        self.slots[slot] = Some(Slot {
            config: *config,
            untaken: 0,
            armed: None,
        });
        Ok(())
    }

    fn stop(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = None;
        }
    }

    fn take(&mut self, slot: usize) -> u64 {
        let Some(Some(slot)) = self.slots.get_mut(slot) else {
            return 0;
        };
        slot.armed = None;
        core::mem::take(&mut slot.untaken)
    }

    fn arm(&mut self, slot: usize, distance: u64) -> Wake {
        if let Some(Some(slot)) = self.slots.get_mut(slot) {
            slot.armed = Some(distance);
        }
        Wake::InCycles(distance)
    }
}
