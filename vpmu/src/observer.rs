// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What happened in a PMU, told as it happens.

use crate::{EventSelect, Nanos, PmiOutcome};

/// Sees what a [`VcpuPmu`](crate::VcpuPmu) does. Every method does nothing by default.
pub trait PmuObserver {
    /// Counter `counter` was enabled with a select that the source cannot count: it stands still.
    /// Told once for each distinct select.
    fn not_counted(&mut self, counter: usize, select: EventSelect) {
        let _ = (counter, select);
    }

    /// An overflow of `counter` became visible; `skid` is for one with interrupt, in counts.
    fn overflow(&mut self, counter: usize, skid: Option<u64>) {
        let _ = (counter, skid);
    }

    /// An overflow of `counter` is held back until `until`.
    fn throttled(&mut self, counter: usize, until: Nanos) {
        let _ = (counter, until);
    }

    /// The sink was asked for a PMI at `now` and did this.
    fn pmi(&mut self, now: Nanos, outcome: PmiOutcome) {
        let _ = (now, outcome);
    }
}

/// The observer that looks away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoObserver;

impl PmuObserver for NoObserver {}
