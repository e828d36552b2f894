// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why a request was not done.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of error it is: for programs, which should not read messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The line is no JSON object.
    BadJson,
    /// The line is longer than [`MAX_LINE`](super::MAX_LINE).
    TooLong,
    /// A key or its value is not what the request takes.
    BadRequest,
    /// The version is not spoken here.
    BadVersion,
    /// The peer is another user.
    Forbidden,
    /// What is asked does not go with what the VM is doing; the message says what to do.
    Refused,
    /// The guest did not do its part in time, or refused to.
    NotHonoured,
    /// The VM can have no vCPU of this number.
    NoSuchVcpu,
    /// The guest has no task of this number, or none any more.
    NoSuchTask,
    /// No event of this number is open.
    NoSuchEvent,
    /// The perf core refused; with an errno.
    Perf,
    /// It took longer than it may.
    Timeout,
    /// An earlier request of this client is still being worked on, or there are too many clients.
    Busy,
    /// The run is over, or the server is.
    Ended,
    /// A bug in the server.
    Internal,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::BadJson,
        Self::TooLong,
        Self::BadRequest,
        Self::BadVersion,
        Self::Forbidden,
        Self::Refused,
        Self::NotHonoured,
        Self::NoSuchVcpu,
        Self::NoSuchTask,
        Self::NoSuchEvent,
        Self::Perf,
        Self::Timeout,
        Self::Busy,
        Self::Ended,
        Self::Internal,
    ];

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadJson => "bad-json",
            Self::TooLong => "too-long",
            Self::BadRequest => "bad-request",
            Self::BadVersion => "bad-version",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::NotHonoured => "not-honoured",
            Self::NoSuchVcpu => "no-such-vcpu",
            Self::NoSuchTask => "no-such-task",
            Self::NoSuchEvent => "no-such-event",
            Self::Perf => "perf",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Ended => "ended",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a request was not done: the `error` of an answer.
///
/// ```
/// use vmm::control::{ErrorKind, Refusal};
///
/// let refusal = Refusal::new(ErrorKind::Refused, "The VM is paused: resume it first");
/// assert_eq!(refusal.to_string(), "The VM is paused: resume it first");
/// let refusal = Refusal::new(ErrorKind::Perf, "vCPU 3 is offline or absent").errno("ENODEV");
/// assert_eq!(refusal.to_string(), "vCPU 3 is offline or absent (ENODEV)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Refusal {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// One line for people.
    pub message: String,
    /// The errno by its name, such as `ENODEV`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
}

impl Refusal {
    /// One without an errno.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            errno: None,
        }
    }

    /// The same with an errno.
    #[must_use]
    pub fn errno(mut self, name: impl Into<String>) -> Self {
        self.errno = Some(name.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.errno {
            None => f.write_str(&self.message),
            Some(errno) => write!(f, "{} ({errno})", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_written_by_its_word() {
        for kind in ErrorKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
            let read: ErrorKind = serde_json::from_value(kind.word().into()).unwrap();
            assert_eq!(read, kind);
        }
    }
}
