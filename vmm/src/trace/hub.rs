// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What those who record and the writer share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use vpmu::context::Clock;
use vpmu_kvm::Monotonic;

use super::TraceConfig;
use super::record::What;
use super::ring::{Added, Ring};

/// The rings of a VM.
#[derive(Debug)]
pub(super) struct Hub {
    /// When the trace began.
    pub(super) origin: u64,
    /// Of all threads that are no vCPU's.
    pub(super) host: Feed,
    /// Of the vCPUs, each there once its vCPU was added for the first time.
    vcpus: Box<[OnceLock<Arc<Feed>>]>,
    capacity: usize,
    pub(super) writer: OnceLock<Thread>,
    /// The writer is to look at the rings. That it is unparked does not say so: a sink that waits
    /// may have used that up.
    wanted: AtomicBool,
    /// Nobody records any more.
    pub(super) ending: AtomicBool,
    /// Nobody waits for the writer any more.
    pub(super) abandoned: AtomicBool,
    pub(super) tally: Tally,
}

/// What the writer is fed by: a ring and what belongs to it.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) ring: Ring,
    /// Something overflowed since the counters were last looked at.
    pub(super) overflowed: AtomicBool,
}

/// What became of the records that the writer has taken, kept by it alone.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How many it took.
    pub(super) taken: AtomicU64,
    /// How many of these the sink has.
    pub(super) written: AtomicU64,
    /// How many were lost that these told of.
    pub(super) lost: AtomicU64,
}

impl Hub {
    pub(super) fn new(config: &TraceConfig) -> Self {
        Self {
            origin: now(),
            host: Feed::new(config.capacity),
            vcpus: (0..config.vcpus).map(|_| OnceLock::new()).collect(),
            capacity: config.capacity,
            writer: OnceLock::new(),
            wanted: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    /// The feed of a vCPU, made if need be; none for one that is not possible.
    pub(super) fn feed_of(&self, vcpu: u32) -> Option<Arc<Feed>> {
        let feed = self.vcpus.get(usize::try_from(vcpu).ok()?)?;
        Some(Arc::clone(
            feed.get_or_init(|| Arc::new(Feed::new(self.capacity))),
        ))
    }

    /// The feeds of the vCPUs that were added so far.
    pub(super) fn feeds(&self) -> impl Iterator<Item = (u32, &Feed)> {
        (0..)
            .zip(&*self.vcpus)
            .filter_map(|(vcpu, feed)| Some((vcpu, &**feed.get()?)))
    }

    /// Records something of a vCPU, or of another thread.
    pub(super) fn record_on(&self, vcpu: Option<u32>, time: u64, what: What) {
        let feed = vcpu.and_then(|vcpu| self.vcpus.get(usize::try_from(vcpu).ok()?)?.get());
        self.record(feed.map_or(&self.host, Arc::as_ref), time, what);
    }

    pub(super) fn record(&self, feed: &Feed, time: u64, what: What) {
        // Else the ring could be full before the writer looks again by itself.
        if feed.ring.add(time, what) == Added::HalfFull {
            self.wake_writer();
        }
    }

    /// The writer has nothing to do: it waits until it is woken, or for `period`.
    pub(super) fn rest(&self, period: Duration) {
        if !self.wanted.swap(false, Ordering::Acquire) {
            thread::park_timeout(period);
        }
    }

    pub(super) fn wake_writer(&self) {
        self.wanted.store(true, Ordering::Release);
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// How many records were lost or not written, as of now.
    pub(super) fn dropped(&self) -> u64 {
        let of = |feed: &Feed| {
            let waiting = u64::try_from(feed.ring.len()).unwrap_or(u64::MAX);
            waiting + feed.ring.lost()
        };
        let in_rings: u64 = of(&self.host) + self.feeds().map(|(_, feed)| of(feed)).sum::<u64>();
        let tally = &self.tally;
        let written = tally.written.load(Ordering::Acquire);
        let taken = tally.taken.load(Ordering::Relaxed).saturating_sub(written);
        in_rings + taken + tally.lost.load(Ordering::Relaxed)
    }
}

impl Feed {
    fn new(capacity: usize) -> Self {
        Self {
            ring: Ring::new(capacity),
            overflowed: AtomicBool::new(false),
        }
    }
}

/// The clock of all records: the perf core's and the PMU's.
pub(super) fn now() -> u64 {
    Monotonic.now().0
}
