// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Who is on which counter, told by the log alone: a second opinion on what the engine says of
//! itself.

use std::collections::BTreeMap;

use vcpu_call::VcpuId;
use vpmu::context::{EventId, Step};

use super::Rig;

/// An event on a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seat {
    vcpu: VcpuId,
    slot: usize,
    /// It reached its limit there: the counter stands still.
    halted: bool,
}

/// The counters of all vCPUs, as the log tells of them. Inherited events are events of their own.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    seats: BTreeMap<EventId, Seat>,
    counted: BTreeMap<EventId, u64>,
    overflows: BTreeMap<EventId, u64>,
    seen: usize,
}

impl Ground {
    /// Everything that the log tells from now on.
    pub(crate) fn new(rig: &Rig) -> Self {
        Self {
            seen: rig.log.records().len(),
            ..Self::default()
        }
    }

    /// Reads on, and holds every step against I6: an event is on at most one counter, and a counter
    /// has at most one event.
    pub(crate) fn follow(&mut self, rig: &Rig) {
        for record in rig.log.since(self.seen) {
            self.seen += 1;
            let Some(event) = record.event else {
                continue;
            };
            match record.step {
                Step::SlotIn(slot) => {
                    let vcpu = record.vcpu.expect("a vCPU does it");
                    let taken = |seat: &Seat| (seat.vcpu, seat.slot) == (vcpu, slot);
                    assert!(!self.seats.values().any(taken), "I6: {record:?} is taken");
                    let seat = Seat {
                        vcpu,
                        slot,
                        halted: false,
                    };
                    let before = self.seats.insert(event, seat);
                    assert_eq!(before, None, "I6: {record:?} twice");
                }
                Step::SlotOut(slot) => {
                    let seat = self.seats.remove(&event).expect("it was on one");
                    assert_eq!((Some(seat.vcpu), seat.slot), (record.vcpu, slot));
                }
                Step::Limit => {
                    self.seats.get_mut(&event).expect("it counted").halted = true;
                }
                Step::Overflow(overflows) => {
                    *self.overflows.entry(event).or_default() += overflows;
                }
                _ => {}
            }
        }
    }

    /// `counts` events happen on `vcpu`: in the source, and here. Nobody looks yet.
    pub(crate) fn happen(&mut self, rig: &mut Rig, vcpu: u32, counts: u64) {
        self.follow(rig);
        rig.cpu(vcpu).source_mut().count(counts);
        for (event, seat) in &self.seats {
            if seat.vcpu == VcpuId(vcpu) && !seat.halted {
                *self.counted.entry(*event).or_default() += counts;
            }
        }
    }

    /// The vCPU that the event is on a counter of.
    pub(crate) fn vcpu(&self, event: EventId) -> Option<VcpuId> {
        self.seats.get(&event).map(|seat| seat.vcpu)
    }

    /// How many events are on counters.
    pub(crate) fn on_counters(&self) -> usize {
        self.seats.len()
    }

    /// What the event counted, without those inherited from it.
    pub(crate) fn counted_by(&self, event: EventId) -> u64 {
        self.counted.get(&event).copied().unwrap_or_default()
    }

    /// What all events together counted.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.values().sum()
    }

    /// How often all events together overflowed.
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows.values().sum()
    }
}
