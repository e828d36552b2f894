// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events: the handle, and what of an event never changes or needs no context.

use core::fmt;
use std::boxed::Box;
use std::vec::Vec;

use vcpu_call::{ServingLock, VcpuId};

use super::announce::Announcements;
use super::ctx::Context;
use super::sigtrap::TrapTally;
use super::{Attr, Notice, TrapCounts};
use crate::Nanos;
use crate::sync::{Arc, Weak};

/// Which event: unique in its engine, never used again. Numbers of 2^63 and above are the events
/// behind the counters of a guest's own PMU.
///
/// ```
/// use vcpu_call::VcpuId;
/// use vpmu::context::EventId;
///
/// assert_eq!(EventId(7).guest_counter(), None);
/// let guests = EventId(1 << 63 | 2 << 8 | 9);
/// assert_eq!(guests.guest_counter(), Some((VcpuId(2), 9)));
/// assert_eq!(guests.to_string(), "of the guest's counter 9 on vCPU 2");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

impl EventId {
    /// Names from here on are not dealt: they are those of the guest's own counters.
    const GUESTS: u64 = 1 << 63;

    /// The event behind a counter of the guest's own PMU: for ever the same.
    pub(super) fn of_guest(vcpu: VcpuId, counter: usize) -> Self {
        let counter = u8::try_from(counter).expect("fewer than MAX_SLOTS");
        Self(Self::GUESTS | u64::from(vcpu.0) << 8 | u64::from(counter))
    }

    /// Whose counter it is, if it is one of a guest's own PMU: of which vCPU, and on which slot as
    /// the registers number them.
    pub fn guest_counter(self) -> Option<(VcpuId, usize)> {
        if self.0 & Self::GUESTS == 0 {
            return None;
        }
        let [counter, a, b, c, d, ..] = self.0.to_le_bytes();
        let vcpu = VcpuId(u32::from_le_bytes([a, b, c, d]));
        Some((vcpu, usize::from(counter)))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.guest_counter() {
            None => self.0.fmt(f),
            Some((vcpu, counter)) => write!(f, "of the guest's counter {counter} on vCPU {vcpu}"),
        }
    }
}

/// Who wants to know of an event's overflows.
///
/// Told of an overflow on the vCPU's thread, between exit and entry; of the end of its target by the
/// thread that asked for that, or the vCPU's. No context is locked then, but its gate may be held (L3
/// of [`context`](super)): an owner notes what it is told and leaves the engine alone.
pub trait Owner: Send + Sync {
    /// Something happened to `event`, or to one that was inherited from it.
    fn notify(&self, event: EventId, notice: Notice);
}

/// An open event: a handle, cheap to clone. All handles of an event are the same event; once one
/// of them was closed, all are.
///
/// Dropping handles closes nothing: an event that is not closed goes on until its task exits.
#[derive(Clone)]
pub struct Event {
    pub(super) core: Arc<EventCore>,
    /// The context it belongs to, for ever.
    pub(super) ctx: Arc<Context>,
    /// Its entry there.
    pub(super) index: usize,
}

pub(super) struct EventCore {
    pub(super) id: EventId,
    /// The event at the top of its family, which is the one that users know: itself, if it was not
    /// inherited.
    pub(super) top: EventId,
    pub(super) attr: Attr,
    /// Counts only while its task runs on this vCPU.
    pub(super) filter: Option<VcpuId>,
    /// The event that it was inherited from, at the top.
    pub(super) parent: Option<Weak<EventCore>>,
    /// The events inherited from it; none for one that is not inherited, or is an inherited one.
    pub(super) family: Option<Box<ServingLock<Family>>>,
    /// What became of its overflows, if they trap. Shared with the events inherited from it.
    pub(super) traps: Option<Arc<TrapTally>>,
    pub(super) owner: Option<Arc<dyn Owner>>,
    /// Where it asks for announcements, if it is a task's and guests make them only then.
    pub(super) announcements: Option<Arc<Announcements>>,
}

/// The events that were inherited from one.
#[derive(Default)]
pub(super) struct Family {
    /// No more are inherited: the event was closed.
    pub(super) closed: bool,
    pub(super) children: Vec<Event>,
    /// What those counted whose tasks have exited.
    pub(super) dead: Totals,
}

/// A count with its times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) count: u64,
    pub(super) enabled: Nanos,
    pub(super) running: Nanos,
}

impl EventCore {
    pub(super) fn traps(&self) -> TrapCounts {
        let tally = self.traps.as_deref();
        tally.map(TrapTally::counts).unwrap_or_default()
    }
}

impl Totals {
    pub(super) fn add(&mut self, other: Self) {
        self.count = self.count.wrapping_add(other.count);
        self.enabled = self.enabled.saturating_add(other.enabled);
        self.running = self.running.saturating_add(other.running);
    }
}

impl Event {
    /// Which event it is.
    pub fn id(&self) -> EventId {
        self.core.id
    }

    /// What it was opened as. The period may have been set anew since.
    pub fn attr(&self) -> &Attr {
        &self.core.attr
    }

    /// What became of its overflows so far, those of inherited events included.
    pub fn traps(&self) -> TrapCounts {
        self.core.traps()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.core.id)
            .field("attr", &self.core.attr)
            .finish_non_exhaustive()
    }
}
