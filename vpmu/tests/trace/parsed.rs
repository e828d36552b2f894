// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A trace as a viewer reads it.

use std::collections::BTreeMap;

use serde_json::Value;
use vpmu::context::{ChromeTrace, PerfObserver, Record, Step};

/// A slice, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) track: String,
    pub(crate) name: String,
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) open: bool,
}

/// An instant: track, name, nanoseconds, arguments.
pub(crate) type Instant = (String, String, u64, Value);

#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) slices: Vec<Slice>,
    pub(crate) instants: Vec<Instant>,
    pub(crate) dropped: u64,
}

/// The trace of `records`, of which the newest `capacity` are kept.
pub(crate) fn traced(records: &[Record], capacity: usize) -> Parsed {
    let trace = ChromeTrace::new(capacity);
    for record in records {
        trace.record(record);
    }
    let parsed = parse(&trace);
    assert_eq!(parsed.dropped, trace.dropped());
    parsed
}

pub(crate) fn parse(trace: &ChromeTrace) -> Parsed {
    let mut json = Vec::new();
    trace.write_json(&mut json).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    let tracks = tracks(events);
    let track = |event: &Value| tracks[&ids(event)].clone();
    let of_phase = |phase| {
        events
            .iter()
            .filter(move |event| event["ph"].as_str() == Some(phase))
    };
    let name = |event: &Value| event["name"].as_str().unwrap().to_owned();
    let parsed = Parsed {
        slices: of_phase("X")
            .map(|event| Slice {
                track: track(event),
                name: name(event),
                begin: nanos(&event["ts"]),
                end: nanos(&event["ts"]) + nanos(&event["dur"]),
                open: event["args"]["open"].as_bool().unwrap_or(false),
            })
            .collect(),
        instants: of_phase("i")
            .map(|event| {
                let args = event["args"].clone();
                (track(event), name(event), nanos(&event["ts"]), args)
            })
            .collect(),
        dropped: json["otherData"]["dropped"].as_u64().unwrap(),
    };
    let known = parsed.slices.len() + parsed.instants.len() + of_phase("M").count();
    assert_eq!(known, events.len(), "events of an unknown phase");
    parsed
}

fn ids(event: &Value) -> (u64, u64) {
    (
        event["pid"].as_u64().unwrap(),
        event["tid"].as_u64().unwrap(),
    )
}

/// The names of all tracks: each has one, and no thread is in two processes.
fn tracks(events: &[Value]) -> BTreeMap<(u64, u64), String> {
    let mut processes = BTreeMap::new();
    let mut threads = BTreeMap::new();
    for event in events {
        let (pid, tid) = ids(event);
        let name = || event["args"]["name"].as_str().unwrap().to_owned();
        match event["name"].as_str().unwrap() {
            "process_name" => assert_eq!(processes.insert(pid, name()), None),
            "thread_name" => assert_eq!(threads.insert(tid, (pid, name())), None),
            _ => {}
        }
    }
    threads
        .into_iter()
        .map(|(tid, (pid, name))| ((pid, tid), format!("{}: {name}", processes[&pid])))
        .collect()
}

/// A number of microseconds with three digits behind the point, exactly.
fn nanos(micros: &Value) -> u64 {
    let micros = micros.to_string();
    let (whole, fraction) = micros.split_once('.').unwrap();
    whole.parse::<u64>().unwrap() * 1_000 + format!("{fraction:0<3}").parse::<u64>().unwrap()
}

/// Whether a step begins a slice.
pub(crate) fn begins(record: &&Record) -> bool {
    matches!(record.step, Step::SwitchIn | Step::SlotIn(_))
}

/// Whether a step ends a slice.
pub(crate) fn ends(record: &&Record) -> bool {
    matches!(record.step, Step::SwitchOut(_) | Step::SlotOut(_))
}
