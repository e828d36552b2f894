// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One client, what it sent, and the laws for what it gets.

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::Value;
use vmm::control::{
    Answer, ClientId, ErrorKind, Id, Limits, MAX_LINE, Request, Session, Verb, obey,
};

use super::host::Moody;

/// How much of what was sent is taken in at once, as a server reads.
const CHUNK: usize = 16 * 1024;

/// The longest answer that a host of this test gives.
const LONGEST: usize = 16 * 1024;

pub(super) struct Client {
    id: ClientId,
    session: Session,
    /// Sent, and not taken in.
    wire: VecDeque<u8>,
    /// All that was sent.
    sent: Vec<u8>,
    /// All answers that were read.
    got: Vec<u8>,
    /// What is worked on.
    verb: Option<Verb>,
}

impl Client {
    pub(super) fn new(id: u64) -> Self {
        Self {
            id: ClientId(id),
            session: Session::new(Limits::default()),
            wire: VecDeque::new(),
            sent: Vec::new(),
            got: Vec::new(),
            verb: None,
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.wire.extend(bytes);
        self.sent.extend_from_slice(bytes);
    }

    /// What the server does with it whenever it looks.
    pub(super) fn pump(&mut self, now: Instant) {
        self.session.expire(now);
        loop {
            let verb = self.session.next_request(now);
            assert!(verb.is_none() || self.verb.is_none(), "C2: one at a time");
            let begun = verb.is_some();
            self.verb = verb.or(self.verb.take());
            if !self.session.wants_input() || self.wire.is_empty() {
                if begun {
                    continue;
                }
                break;
            }
            let some = self.wire.len().min(CHUNK);
            let chunk: Vec<_> = self.wire.drain(..some).collect();
            self.session.feed(&chunk);
        }
        let unsent = self.session.unsent().len();
        assert!(
            unsent < Session::FULL + LONGEST,
            "C4: {unsent} bytes of answers are held"
        );
    }

    /// The host does what was asked for.
    pub(super) fn work(&mut self, host: &Moody) {
        if let Some(verb) = self.verb.take() {
            assert!(self.session.is_working(), "somebody waits for it");
            // Given up, so that nothing takes real time.
            self.session.finish(obey(host, self.id, &verb, || true));
        }
    }

    pub(super) fn read(&mut self, most: usize) {
        let some = self.session.unsent().len().min(most);
        self.got.extend_from_slice(&self.session.unsent()[..some]);
        self.session.sent(some);
    }

    /// Lets everything come to its end, and compares.
    pub(super) fn end(&mut self, host: &Moody, now: Instant) {
        if self.sent.last().is_some_and(|last| *last != b'\n') {
            self.send(b"\n");
        }
        loop {
            self.pump(now);
            if self.verb.is_none() && self.session.unsent().is_empty() {
                break;
            }
            self.work(host);
            self.read(usize::MAX);
        }
        assert!(
            self.wire.is_empty() && !self.session.is_working(),
            "all was taken in"
        );
        self.compare();
    }

    /// C1: each line has one answer, in order, with its name.
    fn compare(&self) {
        let mut answers = self.got.split_inclusive(|byte| *byte == b'\n');
        for line in self.sent.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").expect("each ends");
            let answer = answers.next().expect("each line has an answer");
            let answer = str::from_utf8(answer).expect("answers are text");
            assert!(answer.ends_with('\n'), "answers are whole: {answer}");
            let answer = Answer::read(answer).expect("answers are answers");
            check(line, &answer);
        }
        assert_eq!(
            answers.next(),
            None,
            "nothing is answered that was not said"
        );
    }
}

fn check(line: &[u8], answer: &Answer) {
    let kind = answer.result.as_ref().err().map(|refusal| refusal.kind);
    if line.len() > MAX_LINE {
        assert_eq!((&answer.id, kind), (&None, Some(ErrorKind::TooLong)));
        return;
    }
    let wrong = match Request::parse(line) {
        Ok(request) => {
            assert_eq!(answer.id, request.id);
            None
        }
        Err(unparsed) => {
            assert_eq!(answer.id, unparsed.id);
            Some(unparsed.refusal.kind)
        }
    };
    assert!(
        wrong.is_none() || wrong == kind,
        "{wrong:?} became {kind:?}"
    );
    assert_eq!(
        wrong == Some(ErrorKind::BadJson),
        !is_object(line),
        "what is JSON"
    );
    if let Some(name) = plain_name(line) {
        assert_eq!(answer.id, name, "by another parser");
    }
}

fn is_object(line: &[u8]) -> bool {
    serde_json::from_slice::<Value>(line).is_ok_and(|value| value.is_object())
}

/// The name of a request, read another way; none where that way is not sure.
fn plain_name(line: &[u8]) -> Option<Option<Id>> {
    let text = str::from_utf8(line).ok()?;
    if text.contains('\\') || text.matches("\"id\"").count() != 1 {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let name = value.as_object()?.get("id")?;
    Some(match name {
        Value::String(name) if name.len() <= Id::MAX_BYTES => Some(Id::Text(name.clone())),
        Value::Number(name) => name.as_i64().map(Id::Number),
        _ => None,
    })
}
