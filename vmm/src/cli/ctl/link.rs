// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A connection to a VM's control socket for more than one request.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::super::Failure;
use super::connection::{self, ConnectionError, LONGEST};
use super::{failure, read};
use crate::control::{Answer, Refusal, Request, Verb};

/// A connection to a VM's control socket.
pub(super) struct Link {
    socket: PathBuf,
    stream: UnixStream,
    /// What has come and was not looked at.
    held: Vec<u8>,
    /// How long an answer may take; none for what the request says.
    patience: Option<Duration>,
}

/// Why there is no answer with what was asked for.
pub(super) enum Unheard {
    /// The VM said why.
    Refused(Refusal),
    /// The connection is gone, and the VM probably with it.
    Gone(Failure),
    /// Anything else.
    Failed(Failure),
}

impl From<Unheard> for Failure {
    fn from(unheard: Unheard) -> Self {
        match unheard {
            Unheard::Refused(refusal) => failure::refused(&refusal),
            Unheard::Gone(failure) | Unheard::Failed(failure) => failure,
        }
    }
}

impl From<ConnectionError> for Unheard {
    fn from(error: ConnectionError) -> Self {
        let failure = failure::unanswered(&error);
        match error {
            ConnectionError::Closed(_) => Self::Gone(failure),
            _ => Self::Failed(failure),
        }
    }
}

impl Link {
    pub(super) fn open(socket: &Path, patience: Option<Duration>) -> Result<Self, Failure> {
        let limit = patience.unwrap_or_else(|| super::request::patience(&Verb::Info));
        let stream = connection::connect(socket, limit);
        Ok(Self {
            socket: socket.to_owned(),
            stream: stream.map_err(|error| failure::unanswered(&error))?,
            held: Vec::new(),
            patience,
        })
    }

    /// Asks for something, and waits for what came of it.
    pub(super) fn ask<T: DeserializeOwned>(&mut self, verb: Verb) -> Result<T, Unheard> {
        let limit = self.limit(&verb);
        let sent = self.tell(&[verb], limit);
        match self.answer(limit) {
            // It said why before it closed, or did not and was gone when it was sent to.
            Err(Unheard::Gone(_)) if sent.is_err() => Err(sent.expect_err("it is one").into()),
            Ok(answer) => answer.read_as().map_err(Unheard::Refused),
            Err(unheard) => Err(unheard),
        }
    }

    /// How long the answer to `verb` is waited for.
    pub(super) fn limit(&self, verb: &Verb) -> Duration {
        self.patience
            .unwrap_or_else(|| super::request::patience(verb))
    }

    /// Sends requests at once, without waiting for answers.
    pub(super) fn tell(&mut self, verbs: &[Verb], limit: Duration) -> Result<(), ConnectionError> {
        let lines = verbs.iter().cloned().map(|verb| Request::new(verb).line());
        let lines: String = lines.collect();
        let sent = self.stream.set_write_timeout(Some(limit));
        let sent = sent.and_then(|()| self.stream.write_all(lines.as_bytes()));
        sent.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => ConnectionError::Timeout(self.socket.clone(), limit),
            kind if connection::closed(kind) => ConnectionError::Closed(self.socket.clone()),
            _ => ConnectionError::Lost(self.socket.clone(), error),
        })
    }

    /// The next answer.
    pub(super) fn answer(&mut self, limit: Duration) -> Result<Answer, Unheard> {
        let line = self.line(limit)?;
        read(&line).map_err(|why| Unheard::Failed(failure::foreign(&self.socket, &why)))
    }

    fn line(&mut self, limit: Duration) -> Result<Vec<u8>, ConnectionError> {
        let until = Instant::now() + limit;
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<_> = self.held.drain(..=end).collect();
                line.pop();
                return Ok(line);
            }
            if u64::try_from(self.held.len()).is_ok_and(|held| held >= LONGEST) {
                return Err(ConnectionError::TooLong(self.socket.clone()));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ConnectionError::Timeout(self.socket.clone(), limit));
            }
            let mut chunk = [0; 16 * 1024];
            let got = self.stream.set_read_timeout(Some(left));
            match got.and_then(|()| self.stream.read(&mut chunk)) {
                Ok(0) => return Err(ConnectionError::Closed(self.socket.clone())),
                Ok(got) => self.held.extend_from_slice(&chunk[..got]),
                // The time is looked at above.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) if connection::closed(error.kind()) => {
                    return Err(ConnectionError::Closed(self.socket.clone()));
                }
                Err(error) => return Err(ConnectionError::Lost(self.socket.clone(), error)),
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
