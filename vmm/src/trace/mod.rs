// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a VM did, as a Chrome trace: exits, states, PMIs, steps of the perf core, counts.
//!
//! Whoever has something to tell puts a small record into a bounded ring, one a vCPU and one for all
//! other threads, and goes on; what finds no room is counted. One thread, the writer, makes text of
//! the records and waits for the sink. So
//!
//! 1. recording never waits, never allocates, and asks the host for nothing but the time; when a ring
//!    gets half full, it wakes the writer;
//! 2. a sink that fails, blocks or panics costs records, never the VM;
//! 3. each record is in the sink, or counted as dropped, and where it is missing the trace says so;
//! 4. on each track time goes on and slices nest, whatever was dropped;
//! 5. what the sink has got opens in Perfetto, whether the trace was ended or the process killed;
//! 6. off, it costs a branch, and no look at the clock.

use std::fmt;
use std::io::{self, Write};

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;
use vcpu_life::{VcpuState, Watch};
use vpmu::context::{self, PerfObserver};

use hub::Hub;
use record::What;
pub(crate) use vcpu::{PmuTrace, VcpuTrace};

mod hub;
mod json;
mod record;
mod ring;
mod timeline;
mod vcpu;
mod writer;

#[cfg(test)]
mod tests;

/// How many records each ring holds: 6 MiB a vCPU.
const CAPACITY: usize = 64 << 10;

/// How often the writer looks while no ring fills up.
const PERIOD: Duration = Duration::from_millis(100);

/// How long the writer has to get the rest out when a trace is dropped instead of finished.
const GRACE: Duration = Duration::from_secs(1);

/// What a trace is to be.
#[derive(Clone, Debug)]
pub(crate) struct TraceConfig {
    /// What the VM is called in it.
    name: String,
    /// How many vCPUs it can have.
    vcpus: u32,
    capacity: usize,
    period: Duration,
}

impl TraceConfig {
    /// Of a VM of this name with up to `vcpus` vCPUs.
    pub(crate) fn new(name: impl Into<String>, vcpus: u32) -> Self {
        Self {
            name: name.into(),
            vcpus,
            capacity: CAPACITY,
            period: PERIOD,
        }
    }
}

/// How a trace ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TraceSummary {
    /// How many records are in it.
    pub records: u64,
    /// How many are not: a ring was full, or the sink took them no more.
    pub dropped: u64,
    /// Why it is not whole, if the sink failed.
    pub error: Option<String>,
}

impl TraceSummary {
    /// What the user should know of a trace that is not whole, in one line.
    pub fn complaint(&self) -> Option<String> {
        let dropped = (self.dropped > 0).then(|| {
            let Self {
                records, dropped, ..
            } = self;
            format!("The trace has {records} records, and {dropped} were dropped: it says where")
        });
        self.error.clone().or(dropped)
    }
}

/// A trace that is being written. Dropped, it ends.
pub(crate) struct Tracing {
    hub: Arc<Hub>,
    writer: Option<JoinHandle<()>>,
    ended: Receiver<io::Result<()>>,
}

/// Why a trace is not whole.
#[derive(Debug, thiserror::Error)]
enum SinkError {
    #[error("Cannot write the trace: {0}")]
    Io(#[from] io::Error),
    #[error("What the trace is written to panicked")]
    Panic,
    #[error("What the trace is written to does not take it: given up after {} ms", .0.as_millis())]
    Blocks(Duration),
    #[error("The trace has ended already")]
    Ended,
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing").finish_non_exhaustive()
    }
}

impl Tracing {
    /// Begins a trace into `sink`, on a thread of its own. A sink that never returns is left behind
    /// with that thread.
    ///
    /// # Errors
    /// When the host refuses the thread.
    pub(crate) fn start(mut sink: Box<dyn Write + Send>, config: TraceConfig) -> io::Result<Self> {
        let hub = Arc::new(Hub::new(&config));
        let (end, ended) = mpsc::channel();
        let body = {
            let hub = Arc::clone(&hub);
            move || {
                let result = writer::run(&hub, &config, &mut *sink);
                // Nobody hears it if nobody waited so long.
                let _ = end.send(result);
            }
        };
        let writer = thread::Builder::new().name("trace".into()).spawn(body)?;
        // Set once: the hub is new.
        let _ = hub.writer.set(writer.thread().clone());
        Ok(Self {
            hub,
            writer: Some(writer),
            ended,
        })
    }

    /// What records into it.
    pub(crate) fn tracer(&self) -> Tracer {
        Tracer(Some(Arc::clone(&self.hub)))
    }

    /// Ends it once nobody records any more. The sink has up to `limit` to take the rest; after that,
    /// it is left behind.
    pub(crate) fn finish(mut self, limit: Duration) -> TraceSummary {
        let error = self.end(limit).err();
        TraceSummary {
            records: self.hub.tally.written.load(Ordering::Acquire),
            dropped: self.hub.dropped(),
            error: error.map(|error| error.to_string()),
        }
    }

    fn end(&mut self, limit: Duration) -> Result<(), SinkError> {
        let writer = self.writer.take().ok_or(SinkError::Ended)?;
        self.hub.ending.store(true, Ordering::Release);
        self.hub.wake_writer();
        match self.ended.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => {
                self.hub.abandoned.store(true, Ordering::Relaxed);
                Err(SinkError::Blocks(limit))
            }
            // It said its last word, or the sink's panic took it.
            last => match (last, writer.join()) {
                (Ok(result), Ok(())) => Ok(result?),
                _ => Err(SinkError::Panic),
            },
        }
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.end(GRACE);
    }
}

/// What records into a trace, from any thread; or a trace that is off.
///
/// To others than this crate it is the observer of [`VmHandle::perf`](crate::VmHandle::perf) and no
/// more.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Hub>>);

impl Tracer {
    /// Records nothing.
    pub(crate) const fn off() -> Self {
        Self(None)
    }

    /// The end that belongs to the thread of `vcpu`. The vCPU's ring is made here, the first time.
    pub(crate) fn vcpu(&self, vcpu: u32) -> VcpuTrace {
        VcpuTrace::new(self.0.as_ref(), vcpu)
    }

    /// What watches the registers of the PMU of `vcpu`.
    pub(crate) fn pmu(&self, vcpu: u32) -> PmuTrace {
        PmuTrace::new(self.0.as_ref(), vcpu)
    }
}

impl PerfObserver for Tracer {
    fn looks(&self) -> bool {
        self.0.is_some()
    }

    fn record(&self, record: &context::Record) {
        let Some(hub) = &self.0 else {
            return;
        };
        let context::Record {
            time,
            vcpu,
            task,
            event,
            step,
        } = *record;
        let what = What::Core {
            vcpu,
            task,
            event,
            step,
        };
        hub.record_on(vcpu.map(|vcpu| vcpu.0), time.0, what);
    }
}

impl Watch for Tracer {
    fn changed(&self, vcpu: u32, state: VcpuState) {
        if let Some(hub) = &self.0 {
            hub.record_on(Some(vcpu), hub::now(), What::State(vcpu, state));
        }
    }
}
