// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Requests that take long, clients that leave or read nothing: others do not notice.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use vmm::control::Limits;

use crate::rig::{Rig, kind, until};

const PAUSE: &str = r#"{"do":"pause","id":"p"}"#;
const INFO: &str = r#"{"do":"info"}"#;

#[test]
fn a_request_that_takes_too_long_is_answered_and_its_client_busy() {
    let rig = Rig::with(Limits {
        request: Duration::ZERO,
        ..Limits::default()
    });
    let held = rig.machine.hold();
    let mut client = rig.client();
    let answer = client.ask(PAUSE);
    held.entered();
    assert_eq!((&*kind(&answer), &answer["id"]), ("timeout", &"p".into()));
    assert_eq!(client.error(INFO), "busy");
    assert_eq!(client.error("?"), "bad-json");
    held.open();
    // Until its thread is back. Even that one may be late: nothing takes no time.
    until("its thread is back", || client.error(INFO) != "busy");
    // The late pause was done, and its answer is nobody's.
    let mut patient = Rig::client(&rig);
    let answer = patient.ask(r#"{"do":"wait","state":"paused"}"#);
    assert_eq!(answer["ok"]["state"], "paused");
}

#[test]
fn while_one_client_waits_another_is_served() {
    let rig = Rig::new();
    let held = rig.machine.hold();
    let (mut waits, mut other) = (rig.client(), rig.client());
    waits.send(PAUSE);
    waits.send(INFO);
    held.entered();
    assert_eq!(other.ok(INFO)["state"], "running");
    held.open();
    assert_eq!(waits.answer().unwrap()["ok"]["state"], "paused");
    assert_eq!(waits.answer().unwrap()["ok"]["state"], "paused");
}

#[test]
fn a_client_that_dies_in_a_request_harms_nobody() {
    let rig = Rig::with(Limits {
        clients: 2,
        ..Limits::default()
    });
    let held = rig.machine.hold();
    let (mut dies, mut other) = (rig.client(), rig.client());
    dies.ok(r#"{"do":"events-open","vcpu":0,"event":"cycles"}"#);
    dies.send(PAUSE);
    // Not begun when it is gone, so not done.
    dies.send(r#"{"do":"stop"}"#);
    held.entered();
    drop(dies);
    assert_eq!(other.ok(INFO)["events"], 1);
    // What it asked for goes on, and keeps its place.
    assert_eq!(kind(&rig.client().answer().unwrap()), "busy");
    held.open();
    other.ok(r#"{"do":"wait","state":"paused"}"#);
    until("its event is closed", || other.ok(INFO)["events"] == 0);
    until("its place is free", || rig.client().error(INFO) != "busy");
    assert_eq!(other.ok(INFO)["state"], "paused");
}

#[test]
fn a_client_that_reads_nothing_is_dropped() {
    let rig = Rig::with(Limits {
        unread: Duration::from_millis(20),
        ..Limits::default()
    });
    let (mut deaf, mut other) = (rig.client(), rig.client());
    // Until nobody takes it: at first because it is not listened to, then because it is dropped.
    let over = loop {
        if let Err(error) = deaf.stream.write_all(b"?\n") {
            break error.kind();
        }
    };
    assert_ne!(over, ErrorKind::WouldBlock, "it is kept");
    assert_eq!(other.ok(INFO)["state"], "running");
}

#[test]
fn a_client_that_sends_nothing_more_gets_all_its_answers() {
    let rig = Rig::new();
    let mut client = rig.client();
    for _ in 0..100 {
        client.send(INFO);
    }
    client.hush();
    assert_eq!(client.rest().lines().count(), 100);
}

#[test]
fn a_wait_ends_when_its_state_is_there_or_its_time_is_up() {
    let rig = Rig::new();
    let (mut waits, mut other) = (rig.client(), rig.client());
    let there = waits.ok(r#"{"do":"wait","state":"running","limit_ms":0}"#);
    assert_eq!(there, serde_json::json!({ "state": "running" }));
    let answer = waits.ask(r#"{"do":"wait","state":"paused","limit_ms":0}"#);
    assert_eq!(kind(&answer), "timeout");
    assert_eq!(
        answer["error"]["message"],
        "The VM is not paused after 0 ms: it is running"
    );
    let answer = waits.ask(r#"{"do":"wait","state":"offline","vcpu":1,"limit_ms":1}"#);
    assert_eq!(
        answer["error"]["message"],
        "vCPU 1 is not offline after 1 ms: it is running"
    );
    waits.send(r#"{"do":"wait","state":"offline","vcpu":1}"#);
    other.ok(r#"{"do":"cpus-remove","vcpu":1}"#);
    let answer = waits.answer().unwrap();
    assert_eq!(
        answer["ok"],
        serde_json::json!({ "vcpu": 1, "state": "offline" })
    );
    assert_eq!(
        waits.error(r#"{"do":"wait","state":"offline","vcpu":9}"#),
        "no-such-vcpu"
    );
}

#[test]
fn a_host_that_panics_is_a_bug_and_no_end() {
    let rig = Rig::new();
    // A pause whose test is gone panics.
    drop(rig.machine.hold());
    let mut client = rig.client();
    let answer = client.ask(PAUSE);
    assert_eq!((&*kind(&answer), &answer["id"]), ("internal", &"p".into()));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("pause failed inside: the test waits for it"),
        "{message}"
    );
    assert_eq!(client.ok(INFO)["state"], "running");
}
