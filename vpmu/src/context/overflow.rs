// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Overflows: when they happen, what they set in motion, and the limit.
//!
//! - **V1** An event overflows with every `period` counts. What is found at once is accounted for
//!   at once: `n` periods are `n` overflows.
//! - **V2** An overflow never disables its event, except at its limit: there it counts no more from
//!   that very overflow on, the owner is told [`Notice::Hup`], and OFF follows as irq work.
//! - **V3** Irq work runs on the vCPU that the event is on when it runs. What leaves its counter
//!   before goes OFF there and then, so nothing has to be forwarded.
//! - **V4** Overflows of one event are at least an interval apart. One that comes earlier is held
//!   back until then and counted as throttled; its counts are not lost. What leaves its counter
//!   overflows at once, while its task still is the one to know. An event whose every count costs
//!   the guest an exit ([`PortTick`](crate::Event::PortTick)) is never held back: its guest pays for
//!   each overflow before it happens, so that no interval has to keep them rare.

use super::ctx::Ctx;
use super::entry::signed;
use super::sigtrap::Queued;
use crate::{Event, EventConfig, Nanos};

/// What the VMM knows of the guest when it looks at the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The address to show in traps: of the instruction, or of the data.
    pub addr: u64,
    /// The guest was in user mode.
    pub user: bool,
}

/// What the owner of an event is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// So many overflows happened (POLL_IN).
    Overflow(u64),
    /// No more will come: the limit was reached, or the task exited (POLL_HUP).
    Hup,
}

/// When and where counts were taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) now: Nanos,
    pub(super) sample: Option<Sample>,
    /// The least time between two overflows of an event.
    pub(super) interval: Nanos,
    /// The event leaves its counter: nothing is held back.
    pub(super) leaving: bool,
}

/// What came of new counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absorbed {
    Nothing,
    /// An overflow is held back now, which was not before.
    Throttled,
    Overflow {
        overflows: u64,
        /// The limit was reached.
        hup: bool,
        trap: Option<Queued>,
    },
}

/// Whether each count of it is an exit of the guest's (V4).
fn costs_exits(config: &EventConfig) -> bool {
    config.event == Event::PortTick
}

impl Ctx {
    /// `counts` more events were counted by the event at `index`.
    pub(super) fn absorb(&mut self, index: usize, counts: u64, sight: &Sight) -> Absorbed {
        let entry = self.at(index);
        entry.count = entry.count.wrapping_add(counts);
        if entry.period == 0 || entry.pending_disable {
            return Absorbed::Nothing;
        }
        entry.left = entry.left.saturating_sub(signed(counts));
        if entry.left > 0 {
            return Absorbed::Nothing;
        }
        if !sight.leaving && sight.now < entry.rearm && !costs_exits(&entry.config) {
            let first = !core::mem::replace(&mut entry.held, true);
            entry.throttled += u64::from(first);
            return if first {
                Absorbed::Throttled
            } else {
                Absorbed::Nothing
            };
        }
        entry.held = false;
        entry.rearm = sight.now.saturating_add(sight.interval);

        let overflows = 1 + entry.left.unsigned_abs() / entry.period;
        let (overflows, hup) = match entry.limit {
            0 => (overflows, false),
            limit => (overflows.min(limit), overflows >= limit),
        };
        entry.overflows += overflows;
        if hup {
            entry.limit = 0;
            entry.hups += 1;
            entry.pending_disable = true;
            entry.left = signed(entry.period);
        } else {
            entry.limit = entry.limit.saturating_sub(overflows);
            entry.left = signed(entry.period - entry.left.unsigned_abs() % entry.period);
        }

        let shown = sight
            .sample
            .filter(|sample| sample.user || entry.core.attr.config.os);
        let addr = shown.map_or(0, |sample| sample.addr);
        let traps = entry.core.traps.is_some();
        let trap = traps.then(|| self.queue_trap(index, overflows, addr));
        Absorbed::Overflow {
            overflows,
            hup,
            trap,
        }
    }
}
