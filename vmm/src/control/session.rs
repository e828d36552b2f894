// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One client's conversation, without its socket, its threads or its clock. Pure.
//!
//! - **C1** Each line gets exactly one answer, in the order of the lines.
//! - **C2** One request at a time is worked on; while it is in time, the next line waits.
//! - **C3** A request whose time is up is answered with a timeout. While it still is worked on, every
//!   further request is answered that its client is busy; what becomes of the late one is dropped.
//! - **C4** What is held is bounded: a line, a chunk of input, [`Session::FULL`] of answers and one
//!   answer more. A client that wants more than that reads first.

use std::time::{Duration, Instant};

use super::lines::{Line, Lines};
use super::{Answer, Done, ErrorKind, Id, Limits, MAX_LINE, Refusal, Request, Unparsed, Verb};

/// One client's conversation: bytes in, requests to be worked on, answers out.
///
/// ```
/// use std::time::Instant;
/// use vmm::control::{Done, Limits, NowIs, RunState, Session, Verb};
///
/// let mut session = Session::new(Limits::default());
/// session.feed(b"{\"id\":1,\"do\":\"pause\"}\n");
/// assert_eq!(session.next_request(Instant::now()), Some(Verb::Pause));
/// session.finish(Ok(Done::NowIs(NowIs { state: RunState::Paused })));
/// assert_eq!(session.unsent(), b"{\"v\":1,\"id\":1,\"ok\":{\"state\":\"paused\"}}\n");
/// ```
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    lines: Lines,
    work: Work,
    unsent: Vec<u8>,
}

/// What is being worked on.
#[derive(Debug)]
enum Work {
    /// Nothing.
    Idle,
    /// A request that is in time.
    Running {
        id: Option<Id>,
        until: Instant,
        limit: Duration,
        name: &'static str,
    },
    /// A request that has been answered already.
    Late { name: &'static str },
}

impl Session {
    /// With so many bytes of answers unread, no further line is looked at.
    pub const FULL: usize = 64 * 1024;

    /// A conversation that has not begun.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            lines: Lines::new(),
            work: Work::Idle,
            unsent: Vec::new(),
        }
    }

    /// Takes bytes of the client's in.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.lines.feed(bytes);
    }

    /// Whether more of the client's bytes are of use now.
    pub fn wants_input(&self) -> bool {
        !matches!(self.work, Work::Running { .. })
            && !self.is_full()
            && self.lines.held() <= MAX_LINE
    }

    /// Goes through the lines that have come: answers those that need no work, and gives the next
    /// one that does, if nothing else is worked on. To be asked again after each
    /// [`feed`](Self::feed), [`finish`](Self::finish), [`expire`](Self::expire) and
    /// [`sent`](Self::sent).
    pub fn next_request(&mut self, now: Instant) -> Option<Verb> {
        while !self.is_full() && !matches!(self.work, Work::Running { .. }) {
            let line = self.lines.next()?;
            match parse(&line) {
                Err(Unparsed { id, refusal }) => self.answer(id, Err(refusal)),
                Ok(Request { id, verb }) => match self.work {
                    Work::Late { name } => self.answer(id, Err(busy(name))),
                    Work::Idle | Work::Running { .. } => {
                        let limit = self.limits.time_for(&verb);
                        self.work = Work::Running {
                            id,
                            until: now + limit,
                            limit,
                            name: verb.name(),
                        };
                        return Some(verb);
                    }
                },
            }
        }
        None
    }

    /// What was worked on is done.
    pub fn finish(&mut self, result: Result<Done, Refusal>) {
        match std::mem::replace(&mut self.work, Work::Idle) {
            Work::Running { id, .. } => self.answer(id, result),
            Work::Late { .. } | Work::Idle => {}
        }
    }

    /// When what is worked on has to be answered.
    pub const fn deadline(&self) -> Option<Instant> {
        match self.work {
            Work::Running { until, .. } => Some(until),
            Work::Idle | Work::Late { .. } => None,
        }
    }

    /// Answers what is worked on, if its time is up.
    pub fn expire(&mut self, now: Instant) {
        if let Work::Running {
            until, limit, name, ..
        } = self.work
            && until <= now
        {
            let message = format!(
                "{name} is not done after {} ms; it goes on, and what becomes of it is not told",
                limit.as_millis()
            );
            self.give_up(Refusal::new(ErrorKind::Timeout, message));
        }
    }

    /// Answers what is worked on, if anything is: it is not waited for any more.
    pub fn give_up(&mut self, why: Refusal) {
        if let Work::Running { id, name, .. } = &mut self.work {
            let id = id.take();
            self.work = Work::Late { name };
            self.answer(id, Err(why));
        }
    }

    /// Whether something is worked on, late or not.
    pub const fn is_working(&self) -> bool {
        !matches!(self.work, Work::Idle)
    }

    /// The answers that have not been sent.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// So many bytes of [`unsent`](Self::unsent) were.
    pub fn sent(&mut self, bytes: usize) {
        self.unsent.drain(..bytes);
    }

    fn is_full(&self) -> bool {
        self.unsent.len() >= Self::FULL
    }

    fn answer(&mut self, id: Option<Id>, result: Result<Done, Refusal>) {
        let line = Answer { id, result }.line();
        self.unsent.extend_from_slice(line.as_bytes());
    }
}

fn parse(line: &Line) -> Result<Request, Unparsed> {
    match line {
        Line::Whole(line) => Request::parse(line),
        Line::TooLong => Err(Unparsed {
            id: None,
            refusal: Refusal::new(
                ErrorKind::TooLong,
                format!("The line is longer than {MAX_LINE} bytes; it is passed over"),
            ),
        }),
    }
}

fn busy(name: &str) -> Refusal {
    let message = format!("{name}, asked for earlier, is still being worked on: try again later");
    Refusal::new(ErrorKind::Busy, message)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::control::{NowIs, RunState};

    const PAUSED: Done = Done::NowIs(NowIs {
        state: RunState::Paused,
    });

    fn session() -> (Session, Instant) {
        (Session::new(Limits::default()), Instant::now())
    }

    /// The name of each answer and what kind of answer it is, all taken out.
    fn said(session: &mut Session) -> Vec<(Value, String)> {
        let text = String::from_utf8(session.unsent().to_vec()).unwrap();
        session.sent(text.len());
        let answers = text.lines().map(|line| {
            let answer: Value = serde_json::from_str(line).unwrap();
            let kind = answer["error"]["kind"].as_str().unwrap_or("ok");
            (answer["id"].clone(), kind.to_owned())
        });
        answers.collect()
    }

    fn answers(kinds: &[(u64, &str)]) -> Vec<(Value, String)> {
        let owned = kinds
            .iter()
            .map(|(id, kind)| ((*id).into(), (*kind).to_owned()));
        owned.collect()
    }

    #[test]
    fn c1_every_line_gets_one_answer_in_order() {
        let (mut session, now) = session();
        session.feed(
            b"{\"id\":1,\"do\":\"pause\"}\n{\"id\":2}\n{\"id\":3,\"do\":\"pause\"}\n{\"id\":4}\n",
        );
        assert_eq!(session.next_request(now), Some(Verb::Pause));
        // The second is wrong, and yet not answered before the first.
        assert_eq!(session.next_request(now), None);
        assert_eq!(session.unsent(), b"");
        session.finish(Ok(PAUSED));
        assert_eq!(session.next_request(now), Some(Verb::Pause));
        session.finish(Ok(PAUSED));
        assert_eq!(session.next_request(now), None);
        let expected = [(1, "ok"), (2, "bad-request"), (3, "ok"), (4, "bad-request")];
        assert_eq!(said(&mut session), answers(&expected));
    }

    #[test]
    fn c2_the_next_line_waits_for_its_turn() {
        let (mut session, now) = session();
        assert!(session.wants_input());
        session.feed(b"{\"do\":\"pause\"}\n");
        assert!(session.next_request(now).is_some());
        assert!(!session.wants_input(), "what comes now waits in the socket");
        session.finish(Ok(PAUSED));
        assert!(session.wants_input() && !session.is_working());
    }

    #[test]
    fn c3_a_late_request_is_answered_once_and_its_client_is_busy() {
        let (mut session, now) = session();
        session.feed(b"{\"id\":1,\"do\":\"pause\"}\n{\"id\":2,\"do\":\"info\"}\n");
        assert!(session.next_request(now).is_some());
        let until = now + Duration::from_secs(30);
        assert_eq!(session.deadline(), Some(until));
        session.expire(until - Duration::from_nanos(1));
        assert_eq!(said(&mut session), []);
        session.expire(until);
        assert_eq!(session.deadline(), None);
        assert!(session.is_working() && session.wants_input());
        assert_eq!(session.next_request(until), None);
        session.expire(until);
        assert_eq!(said(&mut session), answers(&[(1, "timeout"), (2, "busy")]));
        session.finish(Ok(PAUSED));
        assert_eq!(said(&mut session), [], "it was answered already");
        session.feed(b"{\"id\":3,\"do\":\"info\"}\n");
        assert_eq!(session.next_request(until), Some(Verb::Info));
    }

    #[test]
    fn c3_a_request_has_its_own_limit_and_a_grace() {
        let (mut session, now) = session();
        session.feed(b"{\"do\":\"wait\",\"state\":\"ended\",\"limit_ms\":100000}\n");
        assert!(session.next_request(now).is_some());
        assert_eq!(session.deadline(), Some(now + Duration::from_secs(105)));
    }

    #[test]
    fn c4_who_does_not_read_is_not_listened_to() {
        let (mut session, now) = session();
        let chunk = b"\n".repeat(16 * 1024);
        session.feed(&chunk);
        assert_eq!(session.next_request(now), None);
        let one = session
            .unsent()
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap()
            + 1;
        assert!((Session::FULL..Session::FULL + one).contains(&session.unsent().len()));
        assert!(!session.wants_input());
        let mut answers = 0;
        while !session.unsent().is_empty() {
            answers += session
                .unsent()
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            session.sent(session.unsent().len());
            assert_eq!(session.next_request(now), None);
        }
        assert_eq!(answers, chunk.len(), "none is lost");
        assert!(session.wants_input());
    }

    #[test]
    fn what_is_given_up_is_answered() {
        let (mut session, now) = session();
        session.give_up(Refusal::new(ErrorKind::Ended, "Nobody asked"));
        assert_eq!(session.unsent(), b"");
        session.feed(b"{\"id\":1,\"do\":\"pause\"}\n");
        assert!(session.next_request(now).is_some());
        session.give_up(Refusal::new(ErrorKind::Ended, "It ends"));
        session.finish(Ok(PAUSED));
        assert_eq!(said(&mut session), answers(&[(1, "ended")]));
    }
}
