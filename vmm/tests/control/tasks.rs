// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest tasks by the socket, and events on them.

use serde_json::{Value, json};
use vmm::control::Tasks as _;

use crate::rig::{Client, Rig, kind, until};

/// The task that runs on vCPU 1.
const WORKER: u64 = 2;

fn open(client: &mut Client, more: &str) -> u64 {
    let line = format!(r#"{{"do":"events-open","task":{WORKER},"event":"cycles"{more}}}"#);
    client.ok(&line)["event"].as_u64().unwrap()
}

fn read(client: &mut Client, event: u64) -> Value {
    client.ok(&format!(r#"{{"do":"events-read","event":{event}}}"#))
}

#[test]
fn tasks_are_listed_with_what_they_do() {
    let rig = Rig::new();
    let mut client = rig.client();
    let line = |task, name, vcpu, state| json!({ "task": task, "name": name, "vcpu": vcpu, "state": state, "events": 0 });
    assert_eq!(
        client.ok(r#"{"do":"tasks"}"#)["tasks"],
        json!([
            line(1, "init", 0, "queued"),
            line(2, "worker", 1, "running")
        ])
    );
    rig.machine.core.switch(1, None);
    assert_eq!(
        client.ok(r#"{"do":"tasks"}"#)["tasks"][1]["state"],
        "queued"
    );
}

#[test]
fn an_event_on_a_task_counts_wherever_it_runs() {
    let rig = Rig::new();
    let (mut client, core) = (rig.client(), &rig.machine.core);
    let everywhere = open(&mut client, "");
    let here = open(&mut client, r#","vcpu":1"#);
    core.count(1, 70);
    core.count(0, 9);
    let worker = rig.machine.tasks.task(WORKER).unwrap();
    core.switch(1, None);
    core.count(1, 500);
    core.switch(0, Some(&worker));
    core.count(0, 30);
    let reading = read(&mut client, everywhere);
    assert_eq!(reading["count"], 100);
    assert_eq!(
        (&reading["task"], &reading["vcpu"]),
        (&json!(2), &Value::Null)
    );
    let reading = read(&mut client, here);
    assert_eq!(reading["count"], 70);
    assert_eq!((&reading["task"], &reading["vcpu"]), (&json!(2), &json!(1)));
    let list = client.ok(r#"{"do":"events-list"}"#);
    let targets: Vec<_> = list["events"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&targets[0]["task"], &targets[0]["vcpu"]),
        (&json!(2), &Value::Null)
    );
    assert_eq!(
        (&targets[1]["task"], &targets[1]["vcpu"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn each_overflow_of_a_trapping_one_is_queued_or_merged() {
    let rig = Rig::new();
    let (mut client, core) = (rig.client(), &rig.machine.core);
    let event = open(&mut client, r#","period":100,"sigtrap":7"#);
    core.count(1, 100);
    let traps = |client: &mut Client| read(client, event)["traps"].take();
    let counts = |queued, merged, sent| json!({ "queued": queued, "merged": merged, "refused": 0, "sent": sent, "dropped": 0 });
    assert_eq!(traps(&mut client), counts(1, 0, 0));
    core.count(1, 250);
    assert_eq!(traps(&mut client), counts(1, 2, 0));
    assert_eq!(read(&mut client, event)["overflows"], 3);
    assert_eq!(core.trap(1), Some(7));
    assert_eq!(traps(&mut client), counts(1, 2, 1));
    let silent = open(&mut client, r#","period":100"#);
    assert_eq!(read(&mut client, silent)["traps"], Value::Null);
}

#[test]
fn a_closed_event_keeps_its_place_until_its_trap_arrives() {
    let rig = Rig::new();
    let (mut client, core) = (rig.client(), &rig.machine.core);
    let closes = |client: &mut Client, event| {
        client.ok(&format!(r#"{{"do":"events-close","event":{event}}}"#));
    };
    // Its client hangs up with the trap on its way; of the other one, it is closed.
    let mut leaves = rig.client();
    open(&mut leaves, r#","period":100,"sigtrap":1"#);
    let trapping = open(&mut client, r#","period":100,"sigtrap":2"#);
    core.count(1, 100);
    closes(&mut client, trapping);
    drop(leaves);
    until("the first client has left", || {
        client.ok(r#"{"do":"info"}"#)["events"] == 0
    });
    let others: Vec<_> = (0..254)
        .map(|_| open(&mut client, r#","disabled":true"#))
        .collect();
    let line = format!(r#"{{"do":"events-open","task":{WORKER},"event":"cycles"}}"#);
    let answer = client.ask(&line);
    assert_eq!(kind(&answer), "refused");
    assert_eq!(
        answer["error"]["message"],
        "256 events are open, 2 of them closed with traps that their tasks have not taken, which is the \
         most: close others, or wait for those tasks"
    );
    // A closed one without a trap gives its place back at once, the others with their traps.
    closes(&mut client, others[0]);
    open(&mut client, "");
    assert_eq!(client.error(&line), "refused");
    for data in [1, 2] {
        assert_eq!(core.trap(1), Some(data));
        client.ok(&line);
        assert_eq!(client.error(&line), "refused");
    }
}

#[test]
fn a_task_that_there_is_not_is_told() {
    let rig = Rig::new();
    let mut client = rig.client();
    let answer = client.ask(r#"{"do":"events-open","task":77,"event":"cycles"}"#);
    assert_eq!(kind(&answer), "no-such-task");
    assert_eq!(answer["error"]["errno"], "ESRCH");
    assert_eq!(
        answer["error"]["message"],
        "The guest has no task 77: tasks tells which there are"
    );
    // One that the port still lists, and that is over.
    rig.machine.core.switch(1, None);
    rig.machine
        .core
        .exit(&rig.machine.tasks.task(WORKER).unwrap());
    let answer = client.ask(r#"{"do":"events-open","task":2,"event":"cycles"}"#);
    assert_eq!(kind(&answer), "no-such-task");
    assert_eq!(client.ok(r#"{"do":"info"}"#)["events"], 0);
    assert_eq!(
        client.ok(r#"{"do":"tasks"}"#)["tasks"][1]["state"],
        "exited"
    );
}

#[test]
fn an_event_whose_task_is_over_can_be_read() {
    let rig = Rig::new();
    let (mut client, core) = (rig.client(), &rig.machine.core);
    let event = open(&mut client, "");
    core.count(1, 33);
    core.switch(1, None);
    core.exit(&rig.machine.tasks.task(WORKER).unwrap());
    let reading = read(&mut client, event);
    assert_eq!(
        (&reading["count"], &reading["state"]),
        (&33.into(), &"exit".into())
    );
}

#[test]
fn a_child_is_counted_where_that_is_asked_for() {
    let rig = Rig::new();
    let (mut client, core) = (rig.client(), &rig.machine.core);
    let (alone, family) = (
        open(&mut client, ""),
        open(&mut client, r#","inherit":true"#),
    );
    let child = core.fork(&rig.machine.tasks.task(WORKER).unwrap());
    core.switch(0, Some(&child));
    core.count(0, 40);
    core.count(1, 2);
    assert_eq!(read(&mut client, alone)["count"], 2);
    assert_eq!(read(&mut client, family)["count"], 42);
}

#[test]
fn whoever_waited_for_the_end_can_still_look() {
    let mut rig = Rig::new();
    let (mut client, mut waits) = (rig.client(), rig.client());
    let event = {
        let line = r#"{"do":"events-open","vcpu":1,"event":"cycles","keep":true}"#;
        client.ok(line)["event"].as_u64().unwrap()
    };
    let begun = rig.machine.next_wait();
    waits.send(&format!(
        "{{\"do\":\"wait\",\"state\":\"ended\"}}\n{{\"do\":\"events-read\",\"event\":{event}}}\n\
         {{\"do\":\"cpus-add\"}}\n{{\"do\":\"events-list\"}}"
    ));
    begun.recv().unwrap();
    rig.machine.core.count(1, 77);
    rig.machine.end();
    rig.stop();
    assert_eq!(waits.answer().unwrap()["ok"]["state"], "ended");
    assert_eq!(waits.answer().unwrap()["ok"]["count"], 77);
    assert_eq!(
        kind(&waits.answer().unwrap()),
        "ended",
        "nothing is changed any more"
    );
    assert_eq!(waits.answer().unwrap()["ok"]["events"][0]["event"], event);
    assert_eq!(waits.answer(), None);
}
