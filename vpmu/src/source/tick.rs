// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest's own ticks: what can be counted to the unit on any host.

use super::{CounterSource, MAX_SLOTS, NotCounted, Wake};
use crate::{Event, EventConfig};

/// Counts [`Event::PortTick`] as it is told of it, and everything else by an `S`.
///
/// A tick is a store that leaves the guest, so the VMM knows of each of them, and of the privilege
/// level that it was made at: user and kernel mode are told apart exactly. Edges, inversion, counter
/// masks and AnyThread are not supported, as a tick takes no cycles. Who looks at the counters after
/// each [`tick`](Self::tick) finds an overflow at the very tick that it happened at: nothing has to
/// be timed, and nobody to be kicked.
///
/// ```
/// use vpmu::source::script::ScriptSource;
/// use vpmu::source::tick::TickSource;
/// use vpmu::{CounterSource, Event, EventConfig, Wake};
///
/// let mut source = TickSource::new(ScriptSource::new());
/// let ticks = EventConfig::everywhere(Event::PortTick);
/// source.start(0, &EventConfig { os: false, ..ticks })?;
/// source.start(1, &EventConfig::everywhere(Event::Instructions))?;
/// source.inner_mut().count(500);
/// source.tick(true);
/// source.tick(false);
/// assert_eq!(source.take(0), 1, "one was made in user mode");
/// assert_eq!(source.take(1), 500);
/// assert_eq!(source.arm(0, 10), Wake::BySource);
/// # Ok::<(), vpmu::NotCounted>(())
/// ```
#[derive(Clone, Debug)]
pub struct TickSource<S> {
    inner: S,
    /// The slots that count ticks; the others are the inner source's.
    slots: [Option<Slot>; MAX_SLOTS],
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    usr: bool,
    os: bool,
    untaken: u64,
}

impl<S> TickSource<S> {
    /// A source that counts ticks beside what `inner` counts. No slot of either runs.
    pub const fn new(inner: S) -> Self {
        Self {
            inner,
            slots: [None; MAX_SLOTS],
        }
    }

    /// What counts everything else.
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    /// What counts everything else, to be told what happened.
    pub const fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The guest made a tick: in user mode (CPL 3), or else in kernel mode. 2^64 of them stay at the
    /// top.
    pub fn tick(&mut self, user: bool) {
        for slot in self.slots.iter_mut().flatten() {
            if if user { slot.usr } else { slot.os } {
                slot.untaken = slot.untaken.saturating_add(1);
            }
        }
    }

    fn own(&mut self, slot: usize) -> Option<&mut Slot> {
        self.slots.get_mut(slot)?.as_mut()
    }
}

impl<S: CounterSource> CounterSource for TickSource<S> {
    fn enter_guest(&mut self) {
        self.inner.enter_guest();
    }

    fn exit_guest(&mut self) {
        self.inner.exit_guest();
    }

    fn supports(&self, config: &EventConfig) -> bool {
        if config.event != Event::PortTick {
            return self.inner.supports(config);
        }
        !config.edge && !config.invert && config.cmask == 0 && !config.any_thread
    }

    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted> {
        // Whoever has the slot: it may change hands here.
        self.stop(slot);
        if config.event != Event::PortTick {
            return self.inner.start(slot, config);
        }
        if !self.supports(config) {
            return Err(NotCounted);
        }
        let own = self.slots.get_mut(slot).ok_or(NotCounted)?;
        *own = Some(Slot {
            usr: config.usr,
            os: config.os,
            untaken: 0,
        });
        Ok(())
    }

    fn stop(&mut self, slot: usize) {
        if let Some(own) = self.slots.get_mut(slot) {
            *own = None;
        }
        self.inner.stop(slot);
    }

    fn take(&mut self, slot: usize) -> u64 {
        match self.own(slot) {
            Some(own) => core::mem::take(&mut own.untaken),
            None => self.inner.take(slot),
        }
    }

    fn arm(&mut self, slot: usize, distance: u64) -> Wake {
        match self.own(slot) {
            Some(_) => Wake::BySource,
            None => self.inner.arm(slot, distance),
        }
    }
}
