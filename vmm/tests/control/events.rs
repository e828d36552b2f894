// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events by the socket, down to the perf core.

use serde_json::{Value, json};

use crate::rig::{Client, Rig, kind, until};

fn open(client: &mut Client, more: &str) -> u64 {
    let line = format!(r#"{{"do":"events-open","vcpu":1,"event":"cycles"{more}}}"#);
    client.ok(&line)["event"].as_u64().unwrap()
}

fn read(client: &mut Client, event: u64) -> Value {
    client.ok(&format!(r#"{{"do":"events-read","event":{event}}}"#))
}

fn change(client: &mut Client, verb: &str, event: u64) -> String {
    let line = format!(r#"{{"do":"events-{verb}","event":{event}}}"#);
    let state = client.ok(&line);
    assert_eq!(state["event"], event);
    state["state"].as_str().unwrap().to_owned()
}

#[test]
fn an_event_counts_from_the_moment_it_is_open() {
    let rig = Rig::new();
    let mut client = rig.client();
    let opened = client.ok(r#"{"do":"events-open","vcpu":1,"event":"cycles"}"#);
    assert_eq!(
        opened,
        json!({ "event": 1, "installed": true, "rounds": 1, "state": "active" })
    );
    rig.machine.core.ticks.pass(500);
    rig.machine.core.count(1, 700);
    rig.machine.core.count(0, 9);
    let expected = json!({
        "event": 1, "vcpu": 1, "name": "cycles", "source": "script: as told", "count": 700, "enabled_ns": 500, "running_ns": 500, "scaled": 700,
        "state": "active", "overflows": 0, "left": null
    });
    assert_eq!(read(&mut client, 1), expected);
}

#[test]
fn it_is_enabled_disabled_and_reset() {
    let rig = Rig::new();
    let (mut client, core) = (rig.client(), &rig.machine.core);
    let event = open(&mut client, r#","disabled":true"#);
    core.count(1, 5);
    assert_eq!(read(&mut client, event)["count"], 0);
    assert_eq!(change(&mut client, "enable", event), "active");
    core.count(1, 7);
    assert_eq!(change(&mut client, "disable", event), "off");
    core.count(1, 9);
    assert_eq!(read(&mut client, event)["count"], 7);
    assert_eq!(change(&mut client, "reset", event), "off");
    assert_eq!(read(&mut client, event)["count"], 0);
}

#[test]
fn a_limit_disables_it_and_more_overflows_enable_it_again() {
    let rig = Rig::new();
    let (mut client, core) = (rig.client(), &rig.machine.core);
    let event = open(&mut client, r#","period":100,"limit":2"#);
    core.count(1, 150);
    let reading = read(&mut client, event);
    assert_eq!(
        (&reading["overflows"], &reading["left"]),
        (&1.into(), &1.into())
    );
    core.count(1, 100);
    let reading = read(&mut client, event);
    assert_eq!(
        (&reading["overflows"], &reading["left"]),
        (&2.into(), &json!(null))
    );
    assert_eq!(reading["state"], "off");
    let more = format!(r#"{{"do":"events-refresh","event":{event},"overflows":1}}"#);
    assert_eq!(client.ok(&more)["state"], "active");
    core.count(1, 200);
    let reading = read(&mut client, event);
    assert_eq!(
        (&reading["overflows"], &reading["state"]),
        (&3.into(), &"off".into())
    );
}

#[test]
fn a_pinned_one_without_a_counter_is_in_error_and_has_no_count() {
    let rig = Rig::new();
    let mut client = rig.client();
    for _ in 0..4 {
        open(&mut client, r#","pinned":true"#);
    }
    let line = r#"{"do":"events-open","vcpu":1,"event":"cycles","pinned":true}"#;
    let fifth = client.ok(line);
    assert_eq!(fifth["state"], "error");
    let reading = read(&mut client, 5);
    assert_eq!(
        (&reading["count"], &reading["enabled_ns"]),
        (&json!(null), &json!(null))
    );
    client.ok(r#"{"do":"events-close","event":1}"#);
    assert_eq!(change(&mut client, "enable", 5), "active");
}

#[test]
fn what_cannot_be_says_which_errno_and_why() {
    let rig = Rig::new();
    let mut client = rig.client();
    for (line, kind_of, errno, message) in [
        (
            r#"{"do":"events-open","vcpu":2,"event":"cycles"}"#,
            "perf",
            json!("ENODEV"),
            "vCPU 2 is offline or absent",
        ),
        (
            r#"{"do":"events-open","vcpu":77,"event":"cycles"}"#,
            "perf",
            json!("ENODEV"),
            "vCPU 77 is offline or absent",
        ),
        (
            r#"{"do":"events-open","vcpu":0,"event":"branches"}"#,
            "perf",
            json!("ENOENT"),
            "The source cannot count this event",
        ),
        (
            r#"{"do":"events-read","event":1}"#,
            "no-such-event",
            json!(null),
            "No event 1 is open: events-list tells which are",
        ),
    ] {
        let answer = client.ask(line);
        assert_eq!(kind(&answer), kind_of, "{line}");
        assert_eq!(answer["error"]["errno"], errno, "{line}");
        assert_eq!(answer["error"]["message"], message, "{line}");
    }
    let unknown = client.ask(r#"{"do":"events-open","vcpu":0,"event":"cycels"}"#);
    assert_eq!(kind(&unknown), "bad-request");
    let event = open(&mut client, "");
    let refresh = client.ask(&format!(
        r#"{{"do":"events-refresh","event":{event},"overflows":1}}"#
    ));
    assert_eq!(
        (&*kind(&refresh), &refresh["error"]["errno"]),
        ("perf", &"EINVAL".into())
    );
}

#[test]
fn events_go_with_their_client_unless_they_are_kept() {
    let rig = Rig::new();
    let (mut first, mut second) = (rig.client(), rig.client());
    let gone = open(&mut first, "");
    let kept = open(&mut first, r#","keep":true"#);
    let others = open(&mut second, "");
    rig.machine.core.count(1, 10);
    assert_eq!(
        read(&mut second, gone)["count"],
        10,
        "any client may read any event"
    );
    drop(first);
    let mut list = Value::Null;
    until("one of three events is closed", || {
        list = second.ok(r#"{"do":"events-list"}"#)["events"].take();
        list.as_array().unwrap().len() == 2
    });
    let line = |event, keep, own| {
        json!({
            "event": event, "vcpu": 1, "name": "cycles", "period": null, "pinned": false,
            "keep": keep, "own": own, "state": "active", "overflows": 0, "left": null
        })
    };
    assert_eq!(
        list,
        json!([line(kept, true, false), line(others, false, true)])
    );
    rig.machine.core.count(1, 10);
    assert_eq!(read(&mut second, kept)["count"], 20);
    assert_eq!(
        second.error(&format!(r#"{{"do":"events-read","event":{gone}}}"#)),
        "no-such-event"
    );
    assert_eq!(
        second.ok(&format!(r#"{{"do":"events-close","event":{kept}}}"#)),
        json!({ "closed": kept })
    );
    assert_eq!(
        second.error(&format!(r#"{{"do":"events-close","event":{kept}}}"#)),
        "no-such-event"
    );
    assert!(
        open(&mut second, "") > others,
        "a number is never used again"
    );
}

#[test]
fn an_event_of_a_removed_vcpu_can_be_read() {
    let rig = Rig::new();
    let mut client = rig.client();
    let event = open(&mut client, "");
    rig.machine.core.count(1, 33);
    client.ok(r#"{"do":"cpus-remove","vcpu":1}"#);
    let reading = read(&mut client, event);
    assert_eq!(
        (&reading["count"], &reading["state"]),
        (&33.into(), &"exit".into())
    );
    assert_eq!(change(&mut client, "enable", event), "exit");
    assert_eq!(client.ok(r#"{"do":"cpus-add"}"#), json!({ "added": [1] }));
    rig.machine.core.count(1, 5);
    assert_eq!(
        read(&mut client, event)["count"],
        33,
        "it is not the new vCPU's"
    );
}

#[test]
fn there_are_only_so_many() {
    let rig = Rig::new();
    let mut client = rig.client();
    for _ in 0..256 {
        open(&mut client, r#","disabled":true"#);
    }
    let line = r#"{"do":"events-open","vcpu":1,"event":"cycles"}"#;
    let answer = client.ask(line);
    assert_eq!(kind(&answer), "refused");
    assert_eq!(
        answer["error"]["message"],
        "256 events are open, which is the most: close some"
    );
    client.ok(r#"{"do":"events-close","event":7}"#);
    assert_eq!(client.ok(line)["event"], 257);
    // One that was refused by the perf core takes no place.
    client.ok(r#"{"do":"events-close","event":8}"#);
    for _ in 0..3 {
        assert_eq!(
            client.error(r#"{"do":"events-open","vcpu":2,"event":"cycles"}"#),
            "perf"
        );
    }
    client.ok(line);
}
