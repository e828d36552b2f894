// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From those who record to the sink, through the real threads.

use std::convert::Infallible;
use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::json;
use vcpu_call::VcpuId;
use vcpu_life::{VcpuState, Watch};
use vpmu::context::{Perf, PerfConfig, PerfObserver};
use vpmu::msr::{IA32_PERFEVTSEL0, IA32_PMC0};
use vpmu::source::script::ScriptSource;
use vpmu::{MsrWrite, Nanos, PmiOutcome, PmiSink, PmuModel, PmuObserver, VcpuPmu};
use vpmu_kvm::Monotonic;

use super::parsed::{Event, parse};
use super::sinks::{Blocked, Breaks, Kept};
use crate::trace::hub::now;
use crate::trace::{TraceConfig, Tracer, Tracing};

/// Long enough for any machine; nothing waits for it unless it fails.
const LIMIT: Duration = Duration::from_secs(20);

/// A trace whose writer looks only when it is woken.
fn start(sink: impl Write + Send + 'static, capacity: usize) -> Tracing {
    let config = TraceConfig {
        capacity,
        period: Duration::MAX,
        ..TraceConfig::new("vm", 4)
    };
    Tracing::start(Box::new(sink), config).unwrap()
}

fn named<'a>(events: &'a [Event], name: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.name == name).collect()
}

#[test]
fn all_that_is_recorded_comes_out_on_its_track() {
    let kept = Kept::default();
    let tracing = start(kept.clone(), 1_000);
    let tracer = tracing.tracer();
    let perf = Perf::with_observer(PerfConfig::new(4), Monotonic, tracer.clone());
    perf.create_task(VcpuId(0)).unwrap();
    thread::scope(|threads| {
        for vcpu in 0..4 {
            let tracer = &tracer;
            threads.spawn(move || {
                tracer.changed(vcpu, VcpuState::Running);
                let mut trace = tracer.vcpu(vcpu);
                for _ in 0..100 {
                    trace.enter(now());
                    trace.exit(now(), "io-out");
                }
                tracer.pmu(vcpu).pmi(Nanos(0), PmiOutcome::Nmi);
            });
        }
    });
    let summary = tracing.finish(LIMIT);
    assert_eq!(
        (summary.records, summary.dropped, summary.error),
        (1 + 4 * 202, 0, None)
    );
    let events = parse(&kept.text());
    for vcpu in 0..4 {
        let own: Vec<_> = events
            .iter()
            .filter(|event| event.track == format!("vCPU {vcpu}"))
            .cloned()
            .collect();
        assert_eq!(named(&own, "guest").len(), 100);
        assert_eq!(named(&own, "PMI").len(), 1);
        assert_eq!(own[0].name, "running");
    }
    assert_eq!(named(&events, "created")[0].track, "host");
    let end = &events.last().unwrap().args;
    assert_eq!(*end, json!({"records": summary.records, "dropped": 0}));
}

#[test]
fn a_sink_that_blocks_costs_records_and_is_left_behind() {
    let (sink, blocks, _let_go) = Blocked::new();
    let tracing = start(sink, 8);
    blocks.recv_timeout(LIMIT).expect("the writer begins");
    let mut trace = tracing.tracer().vcpu(0);
    for _ in 0..10 {
        trace.enter(now());
        trace.exit(now(), "io-out");
    }
    let (end, ended) = mpsc::channel();
    thread::spawn(move || end.send(tracing.finish(Duration::ZERO)));
    let summary = ended.recv_timeout(LIMIT).expect("it waits for the sink");
    assert_eq!((summary.records, summary.dropped), (0, 20));
    let error = summary.error.unwrap();
    assert!(error.contains("given up after 0 ms"), "{error}");
}

#[test]
fn what_was_lost_is_told_where_it_is_missing() {
    let kept = Kept::default();
    let (sink, blocks, let_go) = Blocked::new();
    let tracing = start(BlockedFirst(sink, kept.clone()), 8);
    blocks.recv().unwrap();
    let tracer = tracing.tracer();
    let mut trace = tracer.vcpu(0);
    for _ in 0..10 {
        trace.enter(now());
        trace.exit(now(), "io-out");
    }
    drop(let_go);
    let summary = tracing.finish(LIMIT);
    assert_eq!((summary.records, summary.dropped), (8, 12));
    let events = parse(&kept.text());
    assert_eq!(named(&events, "guest").len(), 4);
    let end = &events.last().unwrap().args;
    assert_eq!(*end, json!({"records": 8, "dropped": 12}));
}

/// Blocks first, and keeps everything all the same.
struct BlockedFirst(Blocked, Kept);

impl Write for BlockedFirst {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_fails_or_panics_costs_records_and_is_told() {
    for (panics, error) in [(false, "Cannot write the trace: "), (true, "panicked")] {
        let (kept, heard) = Kept::telling();
        let sink = Breaks {
            kept: kept.clone(),
            panics,
        };
        let tracing = start(sink, 100);
        heard.recv().unwrap();
        let mut trace = tracing.tracer().vcpu(0);
        for _ in 0..200 {
            trace.enter(now());
        }
        let summary = tracing.finish(LIMIT);
        assert_eq!((summary.records, summary.dropped), (0, 200), "{panics}");
        let told = summary.error.unwrap();
        assert!(told.contains(error), "{told}");
    }
}

#[test]
fn whenever_the_process_is_killed_the_trace_can_be_read() {
    let kept = Kept::default();
    let tracing = start(kept.clone(), 4_000);
    let mut trace = tracing.tracer().vcpu(1);
    for _ in 0..1_500 {
        trace.enter(now());
        trace.exit(now(), "mmio-read");
    }
    assert_eq!(tracing.finish(LIMIT).dropped, 0);
    let writes = kept.writes();
    assert!(writes.len() > 4, "{} writes are no test", writes.len());
    let mut so_far = String::new();
    for write in &writes[..writes.len() - 1] {
        so_far += write;
        let read: serde_json::Value = serde_json::from_str(&format!("{so_far}]")).unwrap();
        assert!(read.is_array());
    }
}

#[test]
fn a_ring_that_fills_up_wakes_the_writer() {
    let (kept, heard) = Kept::telling();
    let tracing = start(kept.clone(), 100);
    heard.recv().unwrap();
    let tracer = tracing.tracer();
    let mut trace = tracer.vcpu(0);
    for _ in 0..26 {
        trace.enter(now());
        trace.exit(now(), "io-out");
    }
    heard.recv_timeout(LIMIT).expect("the writer is woken");
    let so_far = format!("{}]", kept.text());
    assert!(so_far.contains("guest"), "{so_far}");
}

#[test]
fn a_sink_that_waits_does_not_keep_the_writer_from_being_woken() {
    let (kept, heard) = Kept::telling();
    let (sink, blocks, let_go) = Blocked::new();
    let tracing = start(BlockedFirst(sink, kept.clone()), 100);
    blocks.recv().unwrap();
    let tracer = tracing.tracer();
    let mut trace = tracer.vcpu(0);
    for _ in 0..26 {
        trace.enter(now());
        trace.exit(now(), "io-out");
    }
    drop(let_go);
    // What it blocked in, and what was recorded meanwhile.
    for write in ["the first", "the second"] {
        heard.recv_timeout(LIMIT).expect(write);
    }
    assert!(kept.text().contains("guest"), "{}", kept.text());
}

#[test]
fn that_a_vcpu_is_started_is_drawn_before_what_it_does() {
    let kept = Kept::default();
    let tracing = start(kept.clone(), 100);
    let tracer = tracing.tracer();
    // No thread of its own yet.
    tracer.changed(2, VcpuState::Starting);
    let mut trace = tracer.vcpu(2);
    tracer.changed(2, VcpuState::Running);
    trace.enter(now());
    trace.exit(now(), "io-in");
    tracing.finish(LIMIT);
    let events = parse(&kept.text());
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names[..5],
        ["starting", "starting", "running", "guest", "io-in"]
    );
}

#[test]
fn a_vcpu_that_is_added_again_goes_on_with_its_ring() {
    let kept = Kept::default();
    let tracing = start(kept.clone(), 100);
    for _ in 0..3 {
        tracing.tracer().vcpu(1).enter(now());
        tracing.tracer().vcpu(1).exit(now(), "kick");
    }
    assert_eq!(tracing.finish(LIMIT).records, 6);
    assert_eq!(named(&parse(&kept.text()), "guest").len(), 3);
}

#[test]
fn a_vcpu_that_is_not_possible_records_nothing() {
    let tracing = start(Kept::default(), 100);
    tracing.tracer().vcpu(4).enter(now());
    assert_eq!(tracing.finish(LIMIT).records, 0);
}

/// An interrupt controller that takes everything.
struct Takes;

impl PmiSink for Takes {
    type Error = Infallible;

    fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, Infallible> {
        Ok(PmiOutcome::Fixed(0x21))
    }
}

#[test]
fn a_pmu_is_watched_and_what_it_counted_is_plotted() {
    let kept = Kept::default();
    let tracing = start(kept.clone(), 100);
    let tracer = tracing.tracer();
    let mut trace = tracer.vcpu(0);
    let source = ScriptSource::new();
    let mut pmu = VcpuPmu::with_observer(PmuModel::INTEL_V2, source, tracer.pmu(0));
    trace.exit(now(), "io-out");
    assert!(trace.wants_plot(), "never plotted yet");
    trace.plot(pmu.stats());
    assert!(!trace.wants_plot(), "just plotted");

    assert_eq!(
        pmu.write_msr(IA32_PMC0, u64::from(u32::MAX)),
        MsrWrite::Done
    );
    assert_eq!(pmu.write_msr(IA32_PERFEVTSEL0, 0x53_003c), MsrWrite::Done);
    pmu.enter_guest(Nanos(1), &mut Takes).unwrap();
    pmu.source_mut().count(6);
    pmu.exit_guest();
    pmu.enter_guest(Nanos(2), &mut Takes).unwrap();
    assert!(trace.wants_plot(), "after an overflow");
    trace.plot(pmu.stats());
    assert!(!trace.wants_plot());
    trace.plot(pmu.stats());

    assert_eq!(tracing.finish(LIMIT).dropped, 0);
    let events = parse(&kept.text());
    let plots: Vec<_> = events.iter().filter(|event| event.kind == 'C').collect();
    assert_eq!(plots.len(), 1, "once: {plots:?}");
    assert_eq!(plots[0].name, "vCPU 0 PMC0");
    assert_eq!(plots[0].args, json!({"counted": 6}));
    assert_eq!(named(&events, "guest overflow")[0].args["counter"], "PMC0");
    assert_eq!(named(&events, "PMI")[0].args["vector"], 0x21);
}

#[test]
fn off_it_does_nothing_and_does_not_look() {
    let tracer = Tracer::off();
    assert!(!tracer.looks());
    assert!(start(Kept::default(), 1).tracer().looks());
    let mut trace = tracer.vcpu(0);
    trace.enter(now());
    trace.exit(now(), "io-out");
    assert!(!trace.wants_plot());
    tracer.pmu(0).pmi(Nanos(0), PmiOutcome::Nmi);
    tracer.changed(0, VcpuState::Running);
}

#[test]
fn dropped_it_ends() {
    let (kept, heard) = Kept::telling();
    let tracing = start(kept.clone(), 10);
    heard.recv().unwrap();
    tracing.tracer().vcpu(0).exit(now(), "io-in");
    drop(tracing);
    let events = parse(&kept.text());
    assert_eq!(events.last().unwrap().name, "end of the trace");
}
