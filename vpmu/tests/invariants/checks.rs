// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the tests ask for and look at.

use std::sync::{Arc, Mutex};

use vcpu_call::VcpuId;
use vpmu::Nanos;
use vpmu::context::{
    Attr, Event, EventId, Notice, Open, Owner, PerfError, Reading, Sample, State, Status, Step,
    Target, Task, TrapCounts,
};

use crate::rig::ground::Ground;
use crate::rig::*;

pub(crate) const V0: VcpuId = VcpuId(0);
pub(crate) const V1: VcpuId = VcpuId(1);

/// An event that counts and does no more.
pub(crate) fn counting() -> Attr {
    Attr::counting(cycles())
}

/// One that always counts, or says that it cannot.
pub(crate) fn pinned() -> Attr {
    Attr {
        pinned: true,
        ..counting()
    }
}

/// One that overflows every `period` counts.
pub(crate) fn sampling(period: u64) -> Attr {
    Attr::sampling(cycles(), period)
}

pub(crate) fn disabled(attr: Attr) -> Attr {
    Attr {
        disabled: true,
        ..attr
    }
}

pub(crate) fn inherited(attr: Attr) -> Attr {
    Attr {
        inherit: true,
        ..attr
    }
}

/// User code at `addr`.
pub(crate) fn user_at(addr: u64) -> Option<Sample> {
    Some(Sample { addr, user: true })
}

/// Somebody who writes down what they are told.
#[derive(Default)]
pub(crate) struct Diary(Mutex<Vec<(EventId, Notice)>>);

impl Owner for Diary {
    fn notify(&self, event: EventId, notice: Notice) {
        self.0.lock().unwrap().push((event, notice));
    }
}

impl Diary {
    /// What was written since the last look.
    pub(crate) fn read(&self) -> Vec<(EventId, Notice)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Rig {
    pub(crate) fn status(&self, event: &Event) -> Status {
        self.perf.status(event).unwrap()
    }

    /// Enabled or more: neither stopped nor ended.
    pub(crate) fn is_on(&self, event: &Event) -> bool {
        self.state(event) >= State::Inactive
    }

    pub(crate) fn open_owned(
        &mut self,
        attr: Attr,
        target: Target<'_>,
        owner: &Arc<Diary>,
    ) -> Event {
        let open = Open {
            owner: Some(Arc::clone(owner) as Arc<dyn Owner>),
            ..Open::new(attr, target)
        };
        self.perf.clone().open(&open, self).unwrap()
    }

    pub(crate) fn reset(&mut self, event: &Event) -> Result<(), PerfError> {
        self.perf.clone().reset(event, self)
    }

    pub(crate) fn set_period(&mut self, event: &Event, period: u64) -> Result<(), PerfError> {
        self.perf.clone().set_period(event, period, self)
    }

    /// Count, time enabled and time running.
    pub(crate) fn totals(&mut self, event: &Event) -> (u64, Nanos, Nanos) {
        let Reading {
            count,
            time_enabled,
            time_running,
            ..
        } = self.read(event).unwrap();
        (count, time_enabled, time_running)
    }

    /// Time enabled and time running, in nanoseconds.
    pub(crate) fn times(&mut self, event: &Event) -> (u64, u64) {
        let (_, enabled, running) = self.totals(event);
        (enabled.0, running.0)
    }

    /// All vCPUs could enter the guest now.
    #[track_caller]
    pub(crate) fn audit(&self) {
        for cpu in self.cpus.iter().flatten() {
            assert_eq!(cpu.audit(), Ok(()));
        }
    }

    /// The event is on a counter of `vcpu` for the engine and for the log, or on none for both.
    #[track_caller]
    pub(crate) fn is_placed(&self, ground: &mut Ground, event: &Event, vcpu: Option<u32>) {
        ground.follow(self);
        let vcpu = vcpu.map(VcpuId);
        assert_eq!(ground.vcpu(event.id()), vcpu, "the log of {event:?}");
        let says = match self.state(event) {
            State::Active(vcpu) => Some(vcpu),
            _ => None,
        };
        assert_eq!(says, vcpu, "the engine of {event:?}");
    }

    /// The law of traps, to the unit, for one that is not inherited (T5); what it speaks of.
    #[track_caller]
    pub(crate) fn law(&self, event: &Event) -> TrapCounts {
        let status = self.status(event);
        let traps = status.traps;
        let found = traps.queued + traps.merged + traps.refused;
        assert_eq!(status.overflows, found, "{status:?}");
        let gone = traps.sent + traps.dropped + u64::from(status.pending);
        assert_eq!(traps.queued, gone, "{status:?}");
        traps
    }

    /// A parent with these events and its child, both queued on vCPU 0.
    pub(crate) fn family(&mut self, attrs: &[Attr]) -> (Task, Task, Vec<Event>) {
        let parent = self.task(0);
        let events = attrs
            .iter()
            .map(|attr| self.open_task(inherited(*attr), &parent))
            .collect();
        let child = self.fork(&parent);
        self.log.clear();
        (parent, child, events)
    }

    /// How many times two tasks traded contexts.
    pub(crate) fn swaps(&self) -> usize {
        self.log.count(|step| matches!(step, Step::Swap(_)))
    }
}
