// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What an observer sees of the guest's counters, and a trace shows.

use serde_json::Value;
use vpmu::NotCounted;
use vpmu::context::{ChromeTrace, PerfObserver, Step};

use crate::checks::*;
use crate::rig::ground::Ground;
use crate::rig::*;

#[test]
fn i06_the_log_tells_who_is_on_which_counter() {
    let mut rig = Rig::new(1, 2);
    let mut ground = Ground::new(&rig);
    rig.open_on_vcpu(counting());
    rig.start(0).unwrap();
    ground.follow(&rig);
    assert_eq!(ground.on_counters(), 2);
    rig.start(1).unwrap();
    ground.follow(&rig);
    assert_eq!(ground.on_counters(), 2, "the host's had to go");
    rig.stop(0);
    rig.stop(1);
    ground.follow(&rig);
    assert_eq!(ground.on_counters(), 0);
}

#[test]
fn a_trace_names_the_guests_counters() {
    let mut rig = Rig::new(1, 1);
    rig.start(9).unwrap();
    rig.pass(2_000);
    rig.stop(9);
    let host = rig.open_on_vcpu(pinned());
    assert_eq!(rig.start(3), Err(NotCounted));
    let trace = ChromeTrace::new(100);
    rig.log
        .records()
        .iter()
        .for_each(|record| trace.record(record));
    let mut json = Vec::new();
    trace.write_json(&mut json).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    let named = |name: &str| {
        let mut named = events.iter().filter(|event| event["name"] == name);
        named
            .next()
            .unwrap_or_else(|| panic!("no {name} in {events:?}"))
    };
    let slice = named("guest counter 9");
    assert_eq!((&slice["ph"], &slice["dur"]), (&"X".into(), &2.0.into()));
    assert_eq!(slice["args"]["guest counter"], 9);
    assert_eq!(slice["args"]["event"], Value::Null);
    assert_eq!(named("failed")["args"]["guest counter"], 3);
    let other = named(&format!("event {}", host.id()));
    assert_eq!(other["args"]["event"], host.id().0);
    assert!(rig.log.steps().contains(&Step::Failed));
}
