// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the replays look at.

use vcpu_call::VcpuId;
use vpmu::context::{Attr, Event, Retry, Sample, State, Step, Target, Task, TrapCounts};

use crate::rig::*;

pub(crate) const V0: VcpuId = VcpuId(0);
pub(crate) const V1: VcpuId = VcpuId(1);

/// An event that counts and does no more.
pub(crate) fn counting() -> Attr {
    Attr::counting(cycles())
}

/// The same, not enabled.
pub(crate) fn disabled() -> Attr {
    Attr {
        disabled: true,
        ..counting()
    }
}

/// The same as [`trapping`], not enabled.
pub(crate) fn trapping_when_enabled(period: u64, data: u64) -> Attr {
    Attr {
        disabled: true,
        ..trapping(period, data)
    }
}

/// An event that displaces all flexible ones while it is placed.
pub(crate) fn pinned() -> Attr {
    Attr {
        pinned: true,
        ..counting()
    }
}

/// What user code at `addr` was doing.
pub(crate) fn user_at(addr: u64) -> Option<Sample> {
    Some(Sample { addr, user: true })
}

impl Rig {
    /// The vCPUs that calls were sent to, in order.
    pub(crate) fn sent(&self) -> Vec<u32> {
        let sent = self.log.steps().into_iter().filter_map(|step| match step {
            Step::CallSent(VcpuId(vcpu)) => Some(vcpu),
            _ => None,
        });
        sent.collect()
    }

    /// Why operations started over, in order.
    pub(crate) fn retries(&self) -> Vec<Retry> {
        let retries = self.log.steps().into_iter().filter_map(|step| match step {
            Step::Retry(why) => Some(why),
            _ => None,
        });
        retries.collect()
    }

    /// How many functions ran on `vcpu`.
    pub(crate) fn served(&self, vcpu: u32) -> usize {
        let served = self.log.records().into_iter();
        served
            .filter(|record| record.vcpu == Some(VcpuId(vcpu)) && record.step == Step::CallServed)
            .count()
    }

    /// How often the event went onto a counter of each vCPU, and how often it left one.
    pub(crate) fn moves(&self, event: &Event) -> (usize, usize) {
        let records = self.log.records();
        let count = |matches: fn(&Step) -> bool| {
            let own = records.iter().filter(|one| one.event == Some(event.id()));
            own.filter(|one| matches(&one.step)).count()
        };
        (
            count(|step| matches!(step, Step::SlotIn(_))),
            count(|step| matches!(step, Step::SlotOut(_))),
        )
    }

    /// Two tasks whose contexts are copies of each other, the first with these events; both queued
    /// on vCPU 0.
    pub(crate) fn twins(&mut self, attrs: &[Attr]) -> (Task, Task, Vec<Event>) {
        let parent = self.task(0);
        let events = attrs.iter().map(|attr| {
            let attr = Attr {
                inherit: true,
                ..*attr
            };
            self.open(attr, Target::Task(&parent)).unwrap()
        });
        let events = events.collect();
        let child = self.fork(&parent);
        self.log.clear();
        (parent, child, events)
    }

    /// How many times two tasks traded contexts.
    pub(crate) fn swaps(&self) -> usize {
        self.log.count(|step| matches!(step, Step::Swap(_)))
    }

    /// `counts` events happen on `vcpu` while the guest is at `addr` in user mode.
    pub(crate) fn happen_at(&mut self, vcpu: u32, counts: u64, addr: u64) {
        self.cpu(vcpu).source_mut().count(counts);
        self.cpu(vcpu).count(user_at(addr));
    }

    /// The state of the event, its overflows, and that the law holds of them (T5).
    #[track_caller]
    pub(crate) fn check(&self, event: &Event, state: State, overflows: u64, traps: TrapCounts) {
        let status = self.perf.status(event).unwrap();
        assert_eq!(status.state, state, "{status:?}");
        assert_eq!(status.overflows, overflows, "{status:?}");
        assert_eq!(status.traps, traps, "{status:?}");
        let TrapCounts {
            queued,
            merged,
            refused,
            sent,
            dropped,
        } = traps;
        assert_eq!(overflows, queued + merged + refused, "{status:?}");
        let pending = u64::from(status.pending);
        assert_eq!(queued, sent + dropped + pending, "{status:?}");
    }
}
