// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A source that counts exactly what it is told, for the tests of whoever embeds a PMU.

use super::{CounterSource, MAX_SLOTS, NotCounted, Wake};
use crate::EventConfig;

/// Counts what [`count`](Self::count) tells it, and overflows when [`overflow`](Self::overflow) does.
/// One count takes one cycle.
///
/// It has itself kicked like a clock, or calls the vCPU back like a host's counter
/// ([`by_source`](Self::by_source)). Either way nobody is: the test does, after it has counted what
/// it wants.
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
///
/// source.arm(2, 10);
/// source.count(4);
/// assert_eq!(source.overflow(2), Some(6));
/// assert_eq!(source.take(2), 10);
/// # Ok::<(), vpmu::NotCounted>(())
/// ```
#[derive(Clone, Debug)]
pub struct ScriptSource {
    slots: [Option<Slot>; MAX_SLOTS],
    supports: fn(&EventConfig) -> bool,
    busy: bool,
    wakes: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    config: EventConfig,
    untaken: u64,
    armed: Option<Armed>,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    distance: u64,
    /// Counts until the overflow; 0 if it has happened.
    left: u64,
}

impl Slot {
    /// 2^64 and above stays at the top.
    fn count(&mut self, counts: u64) {
        self.untaken = self.untaken.saturating_add(counts);
        if let Some(armed) = &mut self.armed {
            armed.left = armed.left.saturating_sub(counts);
        }
    }

    /// How far ahead the overflow is.
    fn ahead(&self) -> Option<u64> {
        self.armed.map(|armed| armed.left).filter(|&left| left > 0)
    }
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
            busy: false,
            wakes: false,
        }
    }

    /// The same source, answering [`Wake::BySource`] when it is armed.
    #[must_use]
    pub const fn by_source(mut self) -> Self {
        self.wakes = true;
        self
    }

    /// Whether starting fails for the time being, as if others had all counters.
    pub const fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// `counts` more events happen in every running slot. 2^64 and above stays at the top.
    pub fn count(&mut self, counts: u64) {
        for slot in self.slots.iter_mut().flatten() {
            slot.count(counts);
        }
    }

    /// `counts` more events happen in `slot`, if it runs.
    pub fn count_slot(&mut self, slot: usize, counts: u64) {
        if let Some(Some(slot)) = self.slots.get_mut(slot) {
            slot.count(counts);
        }
    }

    /// As many events happen in `slot` as are missing to the overflow that it is armed for: how many.
    /// `None` if it is not armed, or has overflowed since.
    pub fn overflow(&mut self, slot: usize) -> Option<u64> {
        let slot = self.slots.get_mut(slot)?.as_mut()?;
        let counts = slot.ahead()?;
        slot.count(counts);
        Some(counts)
    }

    /// As many events happen in every running slot as are missing to the nearest overflow: how many.
    /// `None` if there is none ahead.
    pub fn count_to_overflow(&mut self) -> Option<u64> {
        let counts = self.slots.iter().flatten().filter_map(Slot::ahead).min()?;
        self.count(counts);
        Some(counts)
    }

    /// What `slot` counts, if it runs.
    pub fn running(&self, slot: usize) -> Option<EventConfig> {
        self.slots.get(slot)?.map(|slot| slot.config)
    }

    /// The distance to overflow that `slot` was last armed with, if it was armed since it was last
    /// taken.
    pub fn armed(&self, slot: usize) -> Option<u64> {
        let armed = self.slots.get(slot)?.as_ref()?.armed?;
        Some(armed.distance)
    }
}

impl CounterSource for ScriptSource {
    fn supports(&self, config: &EventConfig) -> bool {
        (self.supports)(config)
    }

    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted> {
        self.stop(slot);
        if slot >= MAX_SLOTS || self.busy || !self.supports(config) {
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
            slot.armed = Some(Armed {
                distance,
                left: distance,
            });
        }
        if self.wakes {
            Wake::BySource
        } else {
            Wake::InCycles(distance)
        }
    }
}
