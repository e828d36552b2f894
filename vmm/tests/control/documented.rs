// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `docs/control.md` is what the server does: every example of it is replayed.

use std::collections::BTreeSet;

use vmm::control::{Answer, ErrorKind, Request};

use crate::rig::{Client, Rig};

const DOCUMENT: &str = include_str!("../../../docs/control.md");

/// A request with its answer.
struct Example {
    request: &'static str,
    answer: &'static str,
}

fn examples() -> Vec<Example> {
    let mut examples = Vec::new();
    let mut lines = DOCUMENT.lines();
    while lines.by_ref().any(|line| line == "```control") {
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        for pair in block.chunks(2) {
            let [request, answer] = pair else {
                panic!("{pair:?} is no request with its answer");
            };
            examples.push(Example {
                request: request.strip_prefix("> ").expect("a request"),
                answer: answer.strip_prefix("< ").expect("an answer"),
            });
        }
    }
    examples
}

#[test]
fn every_example_is_what_happens() {
    let rig = Rig::new();
    let mut client = rig.client();
    let examples = examples();
    assert!(examples.len() > 30);
    for Example { request, answer } in examples {
        // Between two requests the guest runs a little.
        rig.machine.core.ticks.pass(1_000);
        rig.machine.core.count(1, 10);
        let got = match request {
            "<65537 bytes>" => said(&mut client, &"x".repeat(65_537)),
            "<connects as the 65th client>" => {
                let _others: Vec<_> = (0..63).map(|_| rig.client()).collect();
                rig.client().answer_line()
            }
            request => said(&mut client, request),
        };
        assert!(
            matches(answer, got.trim_end()),
            "to {request}\nthe document says {answer}\nthe server says   {got}"
        );
    }
}

fn said(client: &mut Client, line: &str) -> String {
    client.send(line);
    client.answer_line()
}

/// Whether `got` is `pattern`, with digits for each `<number>` and anything but quotes for each
/// `<text>`.
fn matches(pattern: &str, got: &str) -> bool {
    let places = ["<number>", "<text>"].into_iter();
    let next = places
        .filter_map(|place| pattern.find(place).map(|at| (at, place)))
        .min();
    let Some((at, place)) = next else {
        return pattern == got;
    };
    let Some(rest) = got.strip_prefix(&pattern[..at]) else {
        return false;
    };
    let stands_for = |c: char| match place {
        "<number>" => c.is_ascii_digit(),
        _ => c != '"',
    };
    let after = rest.trim_start_matches(stands_for);
    after.len() < rest.len() && matches(&pattern[at + place.len()..], after)
}

#[test]
fn every_request_and_kind_of_error_has_an_example() {
    let mut requests = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for Example { request, answer } in examples() {
        if let Ok(request) = Request::parse(request.as_bytes()) {
            requests.insert(request.verb.name());
        }
        let answer = answer.replace("<number>", "1");
        let answer = Answer::read(&answer).expect("answers are answers");
        kinds.extend(answer.result.err().map(|refusal| refusal.kind.word()));
    }
    // What can be asked for, in the server's own words.
    let unknown = Request::parse(br#"{"do":"?"}"#).expect_err("no request");
    let (_, all) = unknown
        .refusal
        .message
        .split_once("there are ")
        .expect("they are listed");
    assert_eq!(requests, all.split(", ").collect());
    for kind in ErrorKind::ALL.map(ErrorKind::word) {
        // Another user, and a bug, are not to be had here.
        let shown = kinds.contains(kind) || ["forbidden", "internal"].contains(&kind);
        assert!(shown, "{kind} has no example");
        assert!(
            DOCUMENT.contains(&format!("\n| `{kind}` |")),
            "{kind} is not in the table"
        );
    }
}

#[test]
fn a_placeholder_stands_for_little() {
    assert!(matches(r#"{"a":<number>}"#, r#"{"a":12}"#));
    for got in [r#"{"a":}"#, r#"{"a":-1}"#, r#"{"a":12,"b":1}"#, "{}"] {
        assert!(!matches(r#"{"a":<number>}"#, got), "{got}");
    }
    assert!(matches(r#""<text>", "<text>""#, r#""x y", "z""#));
    assert!(!matches(r#""<text>""#, r#""x", "z""#));
}
