// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Many clients at once.

use std::thread;

use crate::rig::{Rig, kind, until};

const INFO: &str = r#"{"do":"info"}"#;

#[test]
fn sixty_four_clients_work_side_by_side() {
    let rig = Rig::new();
    let clients: Vec<_> = (0..64).map(|_| rig.client()).collect();
    thread::scope(|scope| {
        for (nth, mut client) in clients.into_iter().enumerate() {
            scope.spawn(move || {
                let open = format!(
                    r#"{{"do":"events-open","vcpu":{},"event":"cycles"}}"#,
                    nth % 2
                );
                let event = client.ok(&open)["event"].clone();
                for id in 0..20 {
                    let read = format!(r#"{{"id":{id},"do":"events-read","event":{event}}}"#);
                    let answer = client.ask(&read);
                    assert_eq!(
                        (&answer["id"], &answer["ok"]["event"]),
                        (&id.into(), &event)
                    );
                }
                let events = client.ok(r#"{"do":"events-list"}"#);
                let own = events["events"].as_array().unwrap().iter();
                assert_eq!(own.filter(|event| event["own"] == true).count(), 1);
            });
        }
    });
    // Their places are free, and their events closed, once they are noticed to be gone.
    let mut last = rig.client();
    until("a place is free", || {
        let busy = last.error(INFO) == "busy";
        if busy {
            last = rig.client();
        }
        !busy
    });
    until("all events are closed", || last.ok(INFO)["events"] == 0);
}

#[test]
fn one_more_than_there_may_be_is_told_so() {
    let rig = Rig::new();
    let mut clients: Vec<_> = (0..64).map(|_| rig.client()).collect();
    for client in &mut clients {
        client.ok(INFO);
    }
    let mut more = rig.client();
    let answer = more.answer().unwrap();
    assert_eq!(kind(&answer), "busy");
    assert_eq!(
        answer["error"]["message"],
        "64 clients are connected already: try again later"
    );
    assert_eq!(more.answer(), None);
    clients.pop();
    until("its place is free", || {
        !rig.client().ask(INFO)["ok"].is_null()
    });
    assert_eq!(clients[0].ok(INFO)["state"], "running");
}
