// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One connection: its socket, its conversation and its worker. Nothing here waits.

use std::io::{self, ErrorKind as Io, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::poll::PollFlags;

use super::worker::Worker;
use super::{ClientId, Done, ErrorKind, Limits, Refusal, Session};

/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    stream: UnixStream,
    session: Session,
    /// From its first request on.
    worker: Option<Worker>,
    limits: Limits,
    /// It sends nothing more.
    silent: bool,
    /// Since when its unsent answers stand still.
    stuck_since: Option<Instant>,
}

/// The connection is over.
#[derive(Debug)]
pub(super) struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Client {
    pub(super) const fn new(id: ClientId, stream: UnixStream, limits: Limits) -> Self {
        Self {
            id,
            stream,
            session: Session::new(limits),
            worker: None,
            limits,
            silent: false,
            stuck_since: None,
        }
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, self.reads());
        flags.set(PollFlags::POLLOUT, !self.session.unsent().is_empty());
        flags
    }

    /// When it has to be looked after without anything having come.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let unread = self.stuck_since.map(|since| since + self.limits.unread);
        [unread, self.session.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Something came, or time has passed: reads, begins the next request by `start`, writes.
    pub(super) fn attend(
        &mut self,
        ready: PollFlags,
        now: Instant,
        mut start: impl FnMut(ClientId) -> io::Result<Worker>,
    ) -> Result<(), Over> {
        if ready.contains(PollFlags::POLLIN) && self.reads() {
            self.read()?;
        } else if is_gone(ready) {
            // Nobody is there who could read an answer.
            return Err(Over);
        }
        self.session.expire(now);
        loop {
            let request = self.session.next_request(now);
            let begun = request.is_some();
            if let Some(verb) = request {
                if self.worker.is_none() {
                    self.worker = start(self.id).ok();
                }
                if !self.worker.as_ref().is_some_and(|worker| worker.ask(verb)) {
                    let message = "No thread to work on the request";
                    let refusal = Refusal::new(ErrorKind::Internal, message);
                    self.session.finish(Err(refusal));
                }
            }
            let sent = self.write(now)?;
            if !begun && sent == 0 {
                break;
            }
        }
        let all_said = self.session.deadline().is_none() && self.session.unsent().is_empty();
        if self.silent && all_said {
            return Err(Over);
        }
        Ok(())
    }

    /// Its worker is done with a request.
    pub(super) fn finish(&mut self, result: Result<Done, Refusal>) {
        self.session.finish(result);
    }

    /// The server ends: nothing more is begun, waits are given up.
    pub(super) fn wind_up(&mut self) {
        self.silent = true;
        if let Some(worker) = &self.worker {
            worker.give_up();
        }
    }

    /// While the server ends: of what was sent by then, that is begun which only looks. So whoever
    /// waited for the end can still be told how things stood.
    pub(super) fn last_looks(&mut self, now: Instant) {
        if self.session.wants_input() {
            // A connection that is over has nothing more to be told.
            let _ = self.read();
        }
        while let Some(verb) = self.session.next_request(now) {
            let asks = verb.only_looks() && self.worker.is_some();
            if asks && self.worker.as_ref().is_some_and(|worker| worker.ask(verb)) {
                return;
            }
            let message = "The control server ends: nothing more is begun";
            let refusal = Refusal::new(ErrorKind::Ended, message);
            self.session.finish(Err(refusal));
        }
    }

    /// What is being worked on is not waited for any more.
    pub(super) fn give_up(&mut self, why: Refusal) {
        self.session.give_up(why);
    }

    /// Sends what can be sent now; true once nothing is worked on or unsent.
    pub(super) fn flush(&mut self, now: Instant) -> Result<bool, Over> {
        self.write(now)?;
        Ok(self.session.deadline().is_none() && self.session.unsent().is_empty())
    }

    /// Whether a worker has to leave when this is dropped.
    pub(super) const fn has_worker(&self) -> bool {
        self.worker.is_some()
    }

    fn reads(&self) -> bool {
        !self.silent && self.session.wants_input()
    }

    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.silent = true,
            Ok(read) => self.session.feed(&chunk[..read]),
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// How many bytes went out.
    fn write(&mut self, now: Instant) -> Result<usize, Over> {
        let unsent = self.session.unsent();
        if unsent.is_empty() {
            self.stuck_since = None;
            return Ok(0);
        }
        let sent = match self.stream.write(unsent) {
            Ok(sent) => sent,
            Err(error) if is_transient(&error) => 0,
            Err(_) => return Err(Over),
        };
        self.session.sent(sent);
        if self.session.unsent().is_empty() {
            self.stuck_since = None;
        } else if sent > 0 {
            self.stuck_since = Some(now);
        } else if now >= *self.stuck_since.get_or_insert(now) + self.limits.unread {
            return Err(Over);
        }
        Ok(sent)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Whether nobody is at the other end any more.
pub(super) fn is_gone(ready: PollFlags) -> bool {
    ready.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL)
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), Io::WouldBlock | Io::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use nix::sys::socket::{setsockopt, sockopt::SndBuf};

    use super::*;

    #[test]
    fn who_sends_nothing_more_gets_what_is_on_its_way() {
        const LINES: usize = 200;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        // Room for a part of the answers only.
        setsockopt(&ours, SndBuf, &4096).unwrap();
        theirs.write_all(&b"?\n".repeat(LINES)).unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        let mut client = Client::new(ClientId(1), ours, Limits::default());
        let start = |_| unreachable!("no line is a request");
        let mut answers = Vec::new();
        let now = Instant::now();
        while client.attend(PollFlags::POLLIN, now, start).is_ok() {
            let mut chunk = [0; 1000];
            if let Ok(read) = theirs.read(&mut chunk) {
                answers.extend_from_slice(&chunk[..read]);
            }
        }
        drop(client);
        theirs.read_to_end(&mut answers).unwrap();
        let lines = answers.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines, LINES);
    }
}
