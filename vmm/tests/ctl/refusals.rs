// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a VM does not do: its own words, and a status for each kind.

use std::io::Write as _;

use serde_json::json;
use vmm::control::ErrorKind;

use super::desk::{answered, unbuffered, with};

fn status(kind: ErrorKind) -> i32 {
    match kind {
        ErrorKind::Refused | ErrorKind::Perf | ErrorKind::Busy | ErrorKind::Forbidden => 1,
        ErrorKind::NotHonoured => 2,
        ErrorKind::Ended => 3,
        ErrorKind::BadRequest
        | ErrorKind::TooLong
        | ErrorKind::NoSuchVcpu
        | ErrorKind::NoSuchTask
        | ErrorKind::NoSuchEvent => 121,
        ErrorKind::Timeout => 124,
        ErrorKind::BadJson | ErrorKind::BadVersion | ErrorKind::Internal => 125,
    }
}

pub(crate) fn each_kind_is_told_in_the_vms_words_with_a_status() {
    for kind in ErrorKind::ALL {
        for args in ["pause", "pause --json"] {
            let refusal = json!({ "kind": kind, "message": format!("Not this: {kind}") });
            let answer = json!({ "v": 1, "error": refusal }).to_string() + "\n";
            let (_, ended) = answered(args, answer.as_bytes());
            assert_eq!(ended.failed(status(kind)), format!("Not this: {kind}"));
        }
    }
}

pub(crate) fn an_errno_is_told_and_a_message_stays_one_line() {
    let refusal = json!({ "kind": "perf", "message": "Gone\n\u{1b}[2J", "errno": "ENODEV" });
    let answer = json!({ "v": 1, "error": refusal }).to_string() + "\n";
    let (_, ended) = answered("events open --vcpu 3 -e cycles", answer.as_bytes());
    assert_eq!(ended.failed(1), "Gone\\n\\u{1b}[2J (ENODEV)");
}

pub(crate) fn a_server_that_will_not_listen_is_heard_all_the_same() {
    let line = b"{\"v\":1,\"error\":{\"kind\":\"busy\",\"message\":\"Too many clients\"}}\n";
    // The client is still sending this one when the connection is closed.
    let long = format!("events open --vcpu 0 -e {}", unbuffered());
    for args in ["info", &*long] {
        let ((), ended) = with(args, |mut stream| stream.write_all(line).unwrap());
        assert_eq!(ended.failed(1), "Too many clients");
    }
}
