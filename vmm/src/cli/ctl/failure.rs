// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a command failed, as an exit status says it.

use std::path::Path;

use super::super::Failure;
use super::super::status::Status;
use super::connection::ConnectionError;
use crate::control::{ErrorKind, Refusal};

/// For a request that the VM did not do.
pub(super) fn refused(refusal: &Refusal) -> Failure {
    let status = match refusal.kind {
        ErrorKind::BadRequest
        | ErrorKind::TooLong
        | ErrorKind::NoSuchVcpu
        | ErrorKind::NoSuchTask
        | ErrorKind::NoSuchEvent => Status::Usage,
        ErrorKind::Refused | ErrorKind::Perf | ErrorKind::Busy | ErrorKind::Forbidden => {
            Status::Refused
        }
        ErrorKind::NotHonoured => Status::NotHonoured,
        ErrorKind::Ended => Status::NoVm,
        ErrorKind::Timeout => Status::Timeout,
        ErrorKind::BadJson | ErrorKind::BadVersion | ErrorKind::Internal => Status::HostIo,
    };
    Failure::new(status, refusal.to_string())
}

/// For an answer that is none, from what listens at `socket`.
pub(super) fn foreign(socket: &Path, why: &str) -> Failure {
    let socket = socket.display();
    let line = format!(
        "What listens at {socket} does not speak this program's protocol: {why} (use the \
         `perfvisor` that runs the VM)"
    );
    Failure::new(Status::HostIo, line)
}

/// For a request that got no answer.
pub(super) fn unanswered(error: &ConnectionError) -> Failure {
    let status = match error {
        ConnectionError::Absent(_) | ConnectionError::Stale(_) | ConnectionError::Closed(_) => {
            Status::NoVm
        }
        ConnectionError::NoSocket(_) | ConnectionError::LongPath(_) => Status::Usage,
        ConnectionError::Permission(_) => Status::Refused,
        ConnectionError::Timeout(..) => Status::Timeout,
        ConnectionError::Connect(..)
        | ConnectionError::Lost(..)
        | ConnectionError::TooLong(_)
        | ConnectionError::Thread(_) => Status::HostIo,
    };
    // Its own cause is in its text.
    Failure::new(status, error.to_string())
}
