// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What lasts: from the step that begins it to the step that ends it.

use std::collections::BTreeMap;

use vcpu_call::VcpuId;

use crate::Nanos;
use crate::context::{Edge, EventId, Lane, Leaves, Record, Step, TaskId};

/// Where a slice is drawn.
pub(super) type Track = (VcpuId, Lane);

/// Somebody used a lane for some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) track: Track,
    pub(super) task: Option<TaskId>,
    pub(super) event: Option<EventId>,
    pub(super) begin: Nanos,
    pub(super) end: End,
}

/// How a slice ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// Not yet, as of this time.
    Open(Nanos),
    /// A task stopped being current.
    Left(Nanos, Leaves),
    /// An event left its counter.
    Off(Nanos),
}

/// The slices that have begun and not ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Slices(BTreeMap<Track, Slice>);

impl Slices {
    /// Goes one step on; the slice that ends with it, if one does.
    pub(super) fn apply(&mut self, record: &Record) -> Option<Slice> {
        let vcpu = record.vcpu?;
        let now = record.time;
        match (record.step.edge()?, record.step) {
            (Edge::Begin(lane), _) => self.begin((vcpu, lane), record),
            (Edge::End(lane), Step::SwitchOut(how)) => self.end((vcpu, lane), End::Left(now, how)),
            (Edge::End(lane), _) => self.end((vcpu, lane), End::Off(now)),
        }
    }

    /// Everything that is open, as of `now`.
    pub(super) fn close(self, now: Nanos) -> impl Iterator<Item = Slice> {
        let open = self.0.into_values();
        open.map(move |slice| Slice {
            end: End::Open(now),
            ..slice
        })
    }

    fn begin(&mut self, track: Track, record: &Record) -> Option<Slice> {
        // The engine ends each slice before it begins the next one on the same lane. If whoever
        // records does not, the earlier one is not lost.
        self.0
            .insert(
                track,
                Slice {
                    track,
                    task: record.task,
                    event: record.event,
                    begin: record.time,
                    end: End::Open(record.time),
                },
            )
            .map(|slice| Slice {
                end: End::Open(record.time),
                ..slice
            })
    }

    fn end(&mut self, track: Track, end: End) -> Option<Slice> {
        let slice = self.0.remove(&track)?;
        Some(Slice { end, ..slice })
    }
}

impl End {
    pub(super) const fn time(self) -> Nanos {
        match self {
            Self::Open(time) | Self::Left(time, _) | Self::Off(time) => time,
        }
    }
}
