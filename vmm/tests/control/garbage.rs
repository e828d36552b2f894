// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Clients that send what nobody can read harm nobody, themselves included.

use std::io::Write;

use crate::rig::{Rig, kind};

#[test]
fn half_lines_become_one() {
    let rig = Rig::new();
    let (mut slow, mut other) = (rig.client(), rig.client());
    for byte in b"{\"do\":\"info\",\"id\":1}" {
        slow.stream.write_all(&[*byte]).unwrap();
        assert_eq!(other.ok(r#"{"do":"info"}"#)["state"], "running");
    }
    let answer = slow.ask("");
    assert_eq!(
        (&answer["id"], &answer["ok"]["state"]),
        (&1.into(), &"running".into())
    );
    // Half a line and gone.
    slow.send(r#"{"do":"info"}"#);
    slow.stream.write_all(b"{\"do\":\"stop\"}").unwrap();
    slow.hush();
    assert_eq!(slow.rest().lines().count(), 1);
    assert_eq!(other.ok(r#"{"do":"info"}"#)["state"], "running");
}

#[test]
fn ten_megabytes_in_one_line_are_passed_over() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.stream.write_all(&vec![b'['; 10_000_000]).unwrap();
    client.send("");
    assert_eq!(kind(&client.answer().unwrap()), "too-long");
    assert_eq!(client.ok(r#"{"do":"info"}"#)["state"], "running");
}

#[test]
fn deep_nesting_wrong_types_and_unknown_keys_are_errors() {
    let rig = Rig::new();
    let mut client = rig.client();
    let deep = format!("{{\"do\":{}", "[".repeat(60_000));
    for (line, expected) in [
        (&*deep, "bad-json"),
        ("\u{7f}ELF", "bad-json"),
        ("null", "bad-json"),
        (r#"{"do":["info"]}"#, "bad-request"),
        (r#"{"do":"info","again":true}"#, "bad-request"),
        (r#"{"do":"cpus-remove","vcpu":-1}"#, "bad-request"),
        (r#"{"v":2,"do":"info"}"#, "bad-version"),
    ] {
        assert_eq!(client.error(line), expected, "{line}");
    }
    assert_eq!(client.ok(r#"{"do":"info"}"#)["state"], "running");
}

#[test]
fn a_flood_is_answered_in_order_and_stops_nobody() {
    const FLOOD: u64 = 5_000;
    let rig = Rig::new();
    let (mut flood, mut other) = (rig.client(), rig.client());
    let mut writer = flood.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for id in 0..FLOOD {
            // Every other one is wrong: it needs no work, and yet waits for its turn.
            let verb = if id % 2 == 0 { "info" } else { "nothing" };
            writeln!(writer, "{{\"id\":{id},\"do\":\"{verb}\"}}").unwrap();
        }
    });
    // Full to the brim before anything is read.
    for _ in 0..10 {
        assert_eq!(other.ok(r#"{"do":"info"}"#)["state"], "running");
    }
    for id in 0..FLOOD {
        let answer = flood.answer().unwrap();
        let expected = if id % 2 == 0 { "none" } else { "bad-request" };
        assert_eq!((&answer["id"], &*kind(&answer)), (&id.into(), expected));
    }
    writer.join().unwrap();
}
