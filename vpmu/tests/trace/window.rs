// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is kept, and what a writer's error does.

use std::io::{self, Write};

use vcpu_call::VcpuId;
use vpmu::Nanos;
use vpmu::context::{ChromeTrace, PerfObserver, Record, Step, TaskId};

use crate::parsed::parse;

fn online(time: u64) -> Record {
    Record {
        time: Nanos(time),
        vcpu: Some(VcpuId(0)),
        task: None,
        event: None,
        step: Step::Online,
    }
}

#[test]
fn the_newest_records_are_kept_and_the_others_counted() {
    let trace = ChromeTrace::new(3);
    for time in 0..10 {
        trace.record(&online(time));
    }
    assert_eq!(trace.dropped(), 7);
    let parsed = parse(&trace);
    let times: Vec<_> = parsed.instants.iter().map(|instant| instant.2).collect();
    assert_eq!(times, [7, 8, 9]);
    assert_eq!(parsed.dropped, 7);
}

#[test]
fn there_is_room_for_one_at_least() {
    let trace = ChromeTrace::new(0);
    trace.record(&online(1));
    trace.record(&online(2));
    assert_eq!(parse(&trace).instants.len(), 1);
    assert_eq!(trace.dropped(), 1);
}

#[test]
fn an_empty_trace_is_json() {
    let parsed = parse(&ChromeTrace::new(1));
    assert_eq!(parsed.slices, []);
    assert_eq!(parsed.instants, []);
    assert_eq!(parsed.dropped, 0);
}

#[test]
fn writing_takes_nothing_away() {
    let trace = ChromeTrace::new(4);
    trace.record(&online(1));
    assert_eq!(parse(&trace).instants, parse(&trace).instants);
    trace.record(&online(2));
    assert_eq!(parse(&trace).instants.len(), 2);
}

#[test]
fn a_slice_whose_end_nobody_recorded_is_open() {
    let trace = ChromeTrace::new(8);
    for (time, task) in [(1, 11), (5, 12)] {
        trace.record(&Record {
            task: Some(TaskId(task)),
            step: Step::SwitchIn,
            ..online(time)
        });
    }
    trace.record(&online(9));
    let slices = parse(&trace).slices;
    let seen: Vec<_> = slices
        .iter()
        .map(|slice| (slice.name.as_str(), slice.begin, slice.end, slice.open))
        .collect();
    assert_eq!(seen, [("task 11", 1, 5, true), ("task 12", 5, 9, true)]);
}

/// Takes so many bytes and no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn errors_of_the_writer_are_handed_on() {
    let trace = ChromeTrace::new(1);
    trace.record(&online(1));
    let error = trace.write_json(Full(20)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    trace.write_json(Full(10_000)).unwrap();
}
