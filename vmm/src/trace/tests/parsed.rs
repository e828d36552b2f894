// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A trace read back, as a viewer would.

use std::collections::BTreeMap;

use serde_json::Value;

/// One event, its track by name. Times are in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) track: String,
    pub(super) name: String,
    pub(super) kind: char,
    pub(super) from: u64,
    /// Equal to `from` unless it is a slice.
    pub(super) to: u64,
    pub(super) args: Value,
}

/// The events of a trace that has its end, in the order of the file, less those that name tracks.
pub(super) fn parse(text: &str) -> Vec<Event> {
    let Value::Array(events) = serde_json::from_str(text).unwrap() else {
        panic!("no array: {text}");
    };
    let mut names = BTreeMap::new();
    let mut parsed = Vec::new();
    for event in events {
        assert_eq!(event["pid"], 1);
        let tid = event["tid"].as_u64().unwrap();
        let name = event["name"].as_str().unwrap().to_owned();
        let kind = event["ph"].as_str().unwrap().chars().next().unwrap();
        if kind == 'M' {
            if name == "thread_name" {
                let track = event["args"]["name"].as_str().unwrap().to_owned();
                assert_eq!(names.insert(tid, track), None, "named twice");
            }
            continue;
        }
        let from = nanos(&event["ts"]);
        let to = from + if kind == 'X' { nanos(&event["dur"]) } else { 0 };
        parsed.push(Event {
            track: names.get(&tid).expect("named before it is used").clone(),
            name,
            kind,
            from,
            to,
            args: event["args"].clone(),
        });
    }
    check(&parsed);
    parsed
}

/// Time goes on and slices nest on each track.
fn check(events: &[Event]) {
    let mut tracks: BTreeMap<_, Vec<&Event>> = BTreeMap::new();
    for event in events {
        tracks.entry(&event.track).or_default().push(event);
    }
    for (track, events) in tracks {
        let times: Vec<_> = events.iter().map(|event| event.to).collect();
        assert!(times.is_sorted(), "{track}: {events:?}");
        let mut open = Vec::new();
        let mut last = 0;
        for event in events {
            match event.kind {
                'B' => open.push((&event.name, event.from)),
                'E' => assert_eq!(open.pop().map(|begun| begun.0), Some(&event.name)),
                'X' => {
                    assert!(event.from >= last, "{track}: overlaps {event:?}");
                    last = event.to;
                    if let Some((_, begun)) = open.last() {
                        assert!(event.from >= *begun, "{track}: sticks out {event:?}");
                    }
                    continue;
                }
                _ => continue,
            }
            // What comes later must not have begun before this edge.
            last = last.max(event.from);
        }
        assert_eq!(open, [], "{track}: not ended");
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests run for less than a month"
)]
fn nanos(micros: &Value) -> u64 {
    (micros.as_f64().unwrap() * 1_000.0).round() as u64
}
