// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a vCPU's own thread records.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vpmu::source::MAX_SLOTS;
use vpmu::{CounterId, EventSelect, Nanos, PmiOutcome, PmuObserver, PmuStats};

use super::hub::{Feed, Hub, now};
use super::record::What;

/// How often counts are plotted, in nanoseconds, besides after each overflow.
const PLOT_EVERY: u64 = 1_000_000;

/// The end of a vCPU's thread.
#[derive(Debug, Default)]
pub(crate) struct VcpuTrace(Option<Vcpu>);

#[derive(Debug)]
struct Vcpu {
    end: End,
    /// When it left the guest last.
    left: u64,
    /// When the counts were plotted last, and which.
    plotted: u64,
    counted: [u64; MAX_SLOTS],
}

/// A vCPU's way into its ring.
#[derive(Clone, Debug)]
struct End {
    hub: Arc<Hub>,
    feed: Arc<Feed>,
}

impl End {
    fn of(hub: Option<&Arc<Hub>>, vcpu: u32) -> Option<Self> {
        let hub = Arc::clone(hub?);
        let feed = hub.feed_of(vcpu)?;
        Some(Self { hub, feed })
    }

    fn record(&self, time: u64, what: What) {
        self.hub.record(&self.feed, time, what);
    }
}

impl VcpuTrace {
    pub(super) fn new(hub: Option<&Arc<Hub>>, vcpu: u32) -> Self {
        Self(End::of(hub, vcpu).map(|end| Vcpu {
            end,
            left: 0,
            plotted: 0,
            counted: [0; MAX_SLOTS],
        }))
    }

    /// The vCPU is on its way into the guest, `now`: what it did about the last exit is done.
    pub(crate) fn enter(&mut self, now: u64) {
        if let Some(vcpu) = &self.0 {
            vcpu.end.record(now, What::Enter);
        }
    }

    /// It was back at `left`, because of `kind`.
    pub(crate) fn exit(&mut self, left: u64, kind: &'static str) {
        if let Some(vcpu) = &mut self.0 {
            vcpu.left = left;
            vcpu.end.record(left, What::Exit(kind));
        }
    }

    /// Whether it is time for [`plot`](Self::plot): after an exit with an overflow, and every
    /// millisecond.
    pub(crate) fn wants_plot(&self) -> bool {
        self.0.as_ref().is_some_and(|vcpu| {
            vcpu.left.saturating_sub(vcpu.plotted) >= PLOT_EVERY
                || vcpu.end.feed.overflowed.load(Ordering::Relaxed)
        })
    }

    /// Plots what the counters counted, those that counted anything since the last time.
    pub(crate) fn plot(&mut self, stats: &PmuStats) {
        let Some(vcpu) = &mut self.0 else {
            return;
        };
        vcpu.plotted = vcpu.left;
        vcpu.end.feed.overflowed.store(false, Ordering::Relaxed);
        for (counter, now) in stats.counters() {
            let before = &mut vcpu.counted[counter.slot()];
            if std::mem::replace(before, now.counted) != now.counted {
                let counted = What::Counted(counter, now.counted);
                vcpu.end.record(vcpu.left, counted);
            }
        }
    }
}

/// Watches the registers of a vCPU's PMU.
#[derive(Clone, Debug, Default)]
pub(crate) struct PmuTrace(Option<End>);

impl PmuTrace {
    pub(super) fn new(hub: Option<&Arc<Hub>>, vcpu: u32) -> Self {
        Self(End::of(hub, vcpu))
    }

    fn record(&self, what: What) {
        if let Some(end) = &self.0 {
            end.record(now(), what);
        }
    }
}

impl PmuObserver for PmuTrace {
    fn not_counted(&mut self, counter: CounterId, select: EventSelect) {
        self.record(What::Still(counter, select, "not counted"));
    }

    fn filtered(&mut self, counter: CounterId, select: EventSelect) {
        self.record(What::Still(counter, select, "filtered"));
    }

    fn overflow(&mut self, counter: CounterId, skid: Option<u64>) {
        if let Some(end) = &self.0 {
            end.feed.overflowed.store(true, Ordering::Relaxed);
            end.record(now(), What::Overflow(counter, skid));
        }
    }

    fn throttled(&mut self, counter: CounterId, until: Nanos) {
        if let Some(end) = &self.0 {
            let now = now();
            let wait = until.0.saturating_sub(now);
            end.record(now, What::Throttled(counter, wait));
        }
    }

    fn pmi(&mut self, now: Nanos, outcome: PmiOutcome) {
        if let Some(end) = &self.0 {
            end.record(now.0, What::Pmi(outcome));
        }
    }
}
