// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The engine's steps as a Chrome trace, which Perfetto and `chrome://tracing` open.

use std::collections::VecDeque;
use std::io;

use super::{PerfObserver, Record};
use crate::Nanos;
use crate::sync::Mutex;
use json::Json;
use slices::Slices;

mod json;
mod slices;

/// Collects what the engine does and writes it as Chrome trace JSON.
///
/// Every vCPU is a process there, with a track for its current task and one for each counter that
/// was used; threads that are no vCPU's share another one. That a task is current and that an event
/// is on a counter are slices, all other steps are instants with what they are about. Times are the
/// engine's clock, in microseconds to the nanosecond.
///
/// It keeps the newest records and counts the others, so a trace can run for as long as the VM does.
/// What the older ones left open is not forgotten: a slice begins where it began. A slice that goes
/// on at the end of the trace says `"open":true`.
///
/// A record takes a lock that all vCPUs share, for the time it takes to store less than a hundred bytes:
/// enough to show what happens, too much to measure how long it takes.
///
/// ```
/// use std::sync::Arc;
/// use vcpu_call::VcpuId;
/// use vpmu::Nanos;
/// use vpmu::context::{ChromeTrace, Perf, PerfConfig};
///
/// let trace = Arc::new(ChromeTrace::new(10_000));
/// let perf = Perf::with_observer(PerfConfig::new(1), || Nanos(2_500), Arc::clone(&trace));
/// let task = perf.create_task(VcpuId(0))?;
/// perf.migrate(&task, VcpuId(0))?;
///
/// let mut json = Vec::new();
/// trace.write_json(&mut json).unwrap();
/// let json = String::from_utf8(json).unwrap();
/// assert!(json.contains(r#""name":"migrate","ph":"i","s":"t","ts":2.500"#));
/// assert_eq!(trace.dropped(), 0);
/// # Ok::<(), vpmu::context::PerfError>(())
/// ```
#[derive(Debug)]
pub struct ChromeTrace(Mutex<Window>);

/// The newest records, and what the older ones come to.
#[derive(Clone, Debug)]
struct Window {
    records: VecDeque<Record>,
    capacity: usize,
    dropped: u64,
    /// What had begun and not ended when the oldest record was made.
    open: Slices,
}

impl ChromeTrace {
    /// A trace of the newest `capacity` records, at least one. Room for all of them is reserved
    /// here, less than a hundred bytes each.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self(Mutex::new(Window {
            records: VecDeque::with_capacity(capacity),
            capacity,
            dropped: 0,
            open: Slices::default(),
        }))
    }

    /// How many records were dropped, the oldest ones, to make room for others.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    /// Writes the trace as it is now. It goes on meanwhile.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: impl io::Write) -> io::Result<()> {
        // A copy: whoever records must not wait for `out`.
        let window = self.0.lock().clone();
        window.write(out)
    }
}

impl PerfObserver for ChromeTrace {
    fn record(&self, record: &Record) {
        self.0.lock().push(*record);
    }
}

impl Window {
    fn push(&mut self, record: Record) {
        if self.records.len() == self.capacity
            && let Some(oldest) = self.records.pop_front()
        {
            self.open.apply(&oldest);
            self.dropped += 1;
        }
        self.records.push_back(record);
    }

    fn write(mut self, out: impl io::Write) -> io::Result<()> {
        let mut json = Json::begin(out)?;
        let mut end = Nanos(0);
        for record in &self.records {
            // Threads race to the lock, so the last record need not be the latest.
            end = end.max(record.time);
            if let Some(slice) = self.open.apply(record) {
                json.slice(&slice)?;
            }
            json.instant(record)?;
        }
        for slice in self.open.close(end) {
            json.slice(&slice)?;
        }
        json.finish(self.dropped)
    }
}
