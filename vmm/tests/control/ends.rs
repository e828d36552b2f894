// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The server's end, whatever its clients are at.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use vmm::control::{ControlError, ControlServer, ControlSocket, Limits};

use crate::machine::Machine;
use crate::rig::{LONG, Rig, kind, until};

#[test]
fn the_socket_goes_with_its_server() {
    let mut rig = Rig::new();
    let mut client = rig.client();
    client.ok(r#"{"do":"info"}"#);
    rig.stop();
    assert!(!rig.path.exists());
    assert_eq!(client.answer(), None);
}

#[test]
fn who_connects_before_there_is_a_vm_is_answered_once_there_is() {
    let path = std::env::temp_dir().join(format!("perfvisor-early-{}", std::process::id()));
    let socket = ControlSocket::bind(&path).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"{\"do\":\"info\"}\n").unwrap();
    let second = ControlSocket::bind(&path).unwrap_err();
    assert!(matches!(second, ControlError::InUse(_)), "{second}");
    let server = socket.serve(Machine::new()).unwrap();
    let mut answer = String::new();
    BufReader::new(client).read_line(&mut answer).unwrap();
    assert!(answer.contains(r#""state":"running""#), "{answer}");
    drop(server);
    assert!(!path.exists());
    // Without a VM it goes as well.
    drop(ControlSocket::bind(&path).unwrap());
    assert!(!path.exists());
}

#[test]
fn whoever_waits_for_the_end_hears_of_it() {
    let mut rig = Rig::new();
    let (mut waits, mut stops) = (rig.client(), rig.client());
    let begun = rig.machine.next_wait();
    waits.send(r#"{"do":"wait","state":"ended"}"#);
    begun.recv().unwrap();
    stops.send(r#"{"do":"stop"}"#);
    // As `perfvisor run` does: the run ends, then the server.
    until("the run is over", || {
        rig.client().ok(r#"{"do":"info"}"#)["state"] == "ended"
    });
    rig.stop();
    assert_eq!(stops.answer().unwrap()["ok"]["state"], "ended");
    assert_eq!(
        waits.answer().map(|answer| answer["ok"]["state"].clone()),
        Some("ended".into())
    );
}

#[test]
fn a_wait_is_given_up_with_the_server() {
    let mut rig = Rig::with(Limits {
        end: Duration::from_secs(3600),
        ..Limits::default()
    });
    let mut client = rig.client();
    let begun = rig.machine.next_wait();
    let long = LONG.as_millis();
    client.send(&format!(
        r#"{{"do":"wait","state":"paused","limit_ms":{long}}}"#
    ));
    begun.recv().unwrap();
    // Not even read when the server ends, and only looks.
    client.send(r#"{"do":"info"}"#);
    rig.stop();
    assert_eq!(kind(&client.answer().unwrap()), "ended");
    assert_eq!(client.answer().unwrap()["ok"]["state"], "running");
    assert_eq!(client.answer(), None);
}

#[test]
fn neither_a_stuck_request_nor_an_unread_answer_holds_it_up() {
    let mut rig = Rig::with(Limits {
        end: Duration::from_millis(20),
        unread: Duration::from_secs(3600),
        ..Limits::default()
    });
    let held = rig.machine.hold();
    let (mut stuck, deaf) = (rig.client(), rig.client());
    stuck.send(r#"{"do":"pause"}"#);
    held.entered();
    // As much as is taken from it: its answers go nowhere.
    deaf.stream.set_nonblocking(true).unwrap();
    while (&deaf.stream).write_all(&b"?\n".repeat(1000)).is_ok() {}
    rig.stop();
    assert_eq!(kind(&stuck.answer().unwrap()), "ended");
    assert_eq!(stuck.answer(), None);
    held.open();
}

#[test]
fn a_hung_up_client_does_not_keep_it() {
    let mut rig = Rig::with(Limits {
        end: Duration::from_secs(3600),
        ..Limits::default()
    });
    let held = rig.machine.hold();
    let mut dies = rig.client();
    dies.send(r#"{"do":"pause"}"#);
    held.entered();
    drop(dies);
    held.open();
    rig.stop();
}

#[test]
fn two_servers_do_not_share_a_socket() {
    let mut rig = Rig::new();
    let second = ControlServer::start(&rig.path, Machine::new());
    assert!(matches!(second, Err(ControlError::InUse(at)) if at == rig.path));
    rig.client().ok(r#"{"do":"info"}"#);
    rig.stop();
    // What a killed one leaves is replaced.
    drop(UnixListener::bind(&rig.path).unwrap());
    let machine = Machine::new();
    ControlServer::start(&rig.path, Arc::clone(&machine))
        .unwrap()
        .stop();
    assert!(!rig.path.exists());
}

#[test]
fn the_host_is_let_go() {
    let mut rig = Rig::new();
    let mut client = rig.client();
    client.ok(r#"{"do":"events-open","vcpu":0,"event":"cycles"}"#);
    rig.stop();
    assert_eq!(
        Arc::strong_count(&rig.machine),
        1,
        "no thread has it any more"
    );
}
