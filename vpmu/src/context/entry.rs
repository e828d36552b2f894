// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a context's lock protects of one event.

use std::vec::Vec;

use super::Attr;
use super::announce::Hold;
use super::ctx::Class;
use super::event::{EventCore, Totals};
use super::life::Life;
use crate::sync::Arc;
use crate::{EventConfig, Nanos};

/// An event as its context holds it.
pub(super) struct Entry {
    pub(super) core: Arc<EventCore>,
    /// What it counts: what it was opened for; or, of a counter of the guest's own, what that is
    /// programmed with. Set while it is on no counter.
    pub(super) config: EventConfig,
    pub(super) life: Life,
    /// It is in the context's lists. Attached once, detached once; a counter of the guest's own is
    /// at each start and each stop.
    pub(super) attached: bool,
    /// Its group's leader: itself, if it leads or is alone.
    pub(super) leader: usize,
    /// The rest of the group that it leads.
    pub(super) siblings: Vec<usize>,
    pub(super) count: u64,
    /// Counts between two overflows; 0 if it never overflows.
    pub(super) period: u64,
    /// Counts until the next overflow. Not positive while one is held back.
    pub(super) left: i64,
    /// Overflows until it is disabled; 0 for no limit.
    pub(super) limit: u64,
    /// When the next overflow may happen.
    pub(super) rearm: Nanos,
    /// An overflow is held back until then.
    pub(super) held: bool,
    /// The limit was reached: it counts no more, and OFF follows as irq work.
    pub(super) pending_disable: bool,
    /// A trap is on its way, with the address of the overflow that queued it.
    pub(super) pending_trap: Option<u64>,
    pub(super) overflows: u64,
    pub(super) hups: u64,
    pub(super) throttled: u64,
    /// It needs the guest's switches to be announced (A4).
    pub(super) announced: Option<Hold>,
}

impl Entry {
    pub(super) fn new(core: Arc<EventCore>, index: usize, leader: Option<usize>) -> Self {
        let Attr {
            config,
            period,
            disabled,
            ..
        } = core.attr;
        let announced = core.announcements.as_ref().map(|all| all.hold());
        Self {
            core,
            config,
            life: Life::new(!disabled),
            attached: false,
            leader: leader.unwrap_or(index),
            siblings: Vec::new(),
            count: 0,
            period,
            left: signed(period),
            limit: 0,
            rearm: Nanos(0),
            held: false,
            pending_disable: false,
            pending_trap: None,
            overflows: 0,
            hups: 0,
            throttled: 0,
            announced,
        }
    }

    /// The class of the group that it leads, if it leads one. What a pinned leader leaves behind is
    /// flexible.
    pub(super) fn own_class(&self) -> Class {
        if self.core.attr.pinned {
            Class::Pinned
        } else {
            Class::Flexible
        }
    }

    /// Whether it has ended and no trap of it is on its way: then it needs no announcements.
    pub(super) fn settle_announced(&mut self) {
        if !self.attached && self.pending_trap.is_none() {
            self.announced = None;
        }
    }

    pub(super) const fn totals(&self) -> Totals {
        Totals {
            count: self.count,
            enabled: self.life.enabled(),
            running: self.life.running(),
        }
    }

    /// Counts from now until the next overflow, if it overflows and may.
    pub(super) fn distance(&self) -> Option<u64> {
        let samples = self.period != 0 && !self.pending_disable;
        samples.then(|| u64::try_from(self.left).unwrap_or(0).max(1))
    }

    /// Overflows every `period` counts, from now on.
    pub(super) fn set_period(&mut self, period: u64) {
        self.period = period;
        self.left = signed(period);
        self.held = false;
    }
}

/// A period or count that is below 2^63, or the largest that is.
pub(super) fn signed(counts: u64) -> i64 {
    i64::try_from(counts).unwrap_or(i64::MAX)
}
