// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One line to a VM's control socket, and one line back.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// The longest answer that is read, in bytes with its line feed: far above any that a VM gives.
pub(super) const LONGEST: u64 = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// There is no such file.
    #[error("No VM listens at {0}: start one with `perfvisor run --control {0}`")]
    Absent(PathBuf),
    /// There is a socket that nobody listens at.
    #[error(
        "No VM listens at {0} any more: start one with `perfvisor run --control {0}`, which \
         replaces the socket"
    )]
    Stale(PathBuf),
    /// There is a file that is no socket.
    #[error("{0} is no socket: give the one of `perfvisor run --control SOCK`")]
    NoSocket(PathBuf),
    /// The socket, or a directory above it, is another user's.
    #[error("No permission to connect to {0}: be the user who runs its VM, or root")]
    Permission(PathBuf),
    /// The kernel takes no path of that length.
    #[error("The path {0} is too long for a socket: give a shorter one, such as a relative one")]
    LongPath(PathBuf),
    /// Anything else went wrong before there was a connection.
    #[error("Cannot connect to {0}: {1}")]
    Connect(PathBuf, io::Error),
    /// The connection broke.
    #[error("Lost the connection to {0}: {1}")]
    Lost(PathBuf, io::Error),
    /// It was closed before a whole line had come.
    #[error("{0} was closed without an answer: its VM has ended, or it is not `perfvisor`'s")]
    Closed(PathBuf),
    /// The answer does not end.
    #[error("What listens at {0} sends more than {LONGEST} bytes in a line: it is not `perfvisor`")]
    TooLong(PathBuf),
    /// The time was up.
    #[error(
        "No answer from {0} within {1:?}: see whether its process is stopped, or give more time \
         with --timeout"
    )]
    Timeout(PathBuf, Duration),
    /// There is no thread to talk with.
    #[error("Cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Connects to `socket` within `limit`.
pub(super) fn connect(socket: &Path, limit: Duration) -> Result<UnixStream, ConnectionError> {
    within(socket, limit, |socket| match UnixStream::connect(&socket) {
        Ok(stream) => Ok(stream),
        Err(error) => Err(not_connected(socket, error)),
    })
}

/// Connects to `socket`, sends `line`, which ends with its line feed, and gives the line that
/// comes back, without its own; all of that within `limit`.
///
/// A VM that will not have this client says so unasked: its line is the answer then, even if the
/// request could not be sent any more.
pub(super) fn ask(
    socket: &Path,
    line: String,
    limit: Duration,
) -> Result<Vec<u8>, ConnectionError> {
    within(socket, limit, move |socket| exchange(socket, &line))
}

/// What `body` makes of `socket`, if that takes no longer than `limit`.
///
/// A connection to a stopped process takes for ever, and std has no limit for it. Whatever is still
/// under way when the time is up ends with the process.
fn within<T: Send + 'static>(
    socket: &Path,
    limit: Duration,
    body: impl FnOnce(PathBuf) -> Result<T, ConnectionError> + Send + 'static,
) -> Result<T, ConnectionError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let path = socket.to_owned();
    let thread = thread::Builder::new()
        .name("ctl".to_owned())
        .spawn(move || {
            // Nobody waits for it any more: nobody wants it.
            let _ = sender.send(body(path));
        })
        .map_err(ConnectionError::Thread)?;
    match receiver.recv_timeout(limit) {
        Ok(result) => {
            // Gone, it takes no signal that others block later. It cannot have panicked.
            let _ = thread.join();
            result
        }
        Err(RecvTimeoutError::Timeout) => Err(ConnectionError::Timeout(socket.to_owned(), limit)),
        // It panicked, and has said so.
        Err(RecvTimeoutError::Disconnected) => Err(ConnectionError::Closed(socket.to_owned())),
    }
}

fn exchange(socket: PathBuf, line: &str) -> Result<Vec<u8>, ConnectionError> {
    let mut stream = match UnixStream::connect(&socket) {
        Ok(stream) => stream,
        Err(error) => return Err(not_connected(socket, error)),
    };
    let sent = stream.write_all(line.as_bytes());
    let mut answer = Vec::new();
    let read = BufReader::new(stream.take(LONGEST)).read_until(b'\n', &mut answer);
    if answer.pop_if(|last| *last == b'\n').is_some() {
        return Ok(answer);
    }
    if u64::try_from(answer.len()).is_ok_and(|length| length >= LONGEST) {
        return Err(ConnectionError::TooLong(socket));
    }
    match sent.and(read) {
        Err(error) if !closed(error.kind()) => Err(ConnectionError::Lost(socket, error)),
        _ => Err(ConnectionError::Closed(socket)),
    }
}

/// Whether an error says no more than that the other end is gone.
pub(super) fn closed(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

fn not_connected(socket: PathBuf, error: io::Error) -> ConnectionError {
    match error.kind() {
        ErrorKind::NotFound => ConnectionError::Absent(socket),
        ErrorKind::PermissionDenied => ConnectionError::Permission(socket),
        ErrorKind::ConnectionRefused => {
            let is_socket = socket
                .metadata()
                .is_ok_and(|metadata| metadata.file_type().is_socket());
            if is_socket {
                ConnectionError::Stale(socket)
            } else {
                ConnectionError::NoSocket(socket)
            }
        }
        // The only thing that std finds wrong with a path that came from the command line.
        ErrorKind::InvalidInput => ConnectionError::LongPath(socket),
        _ => ConnectionError::Connect(socket, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_connected_to_is_told_with_whom_to_be() {
        let error = not_connected(PathBuf::from("s"), ErrorKind::PermissionDenied.into());
        assert!(matches!(error, ConnectionError::Permission(_)));
        assert!(
            error.to_string().contains("be the user who runs its VM"),
            "{error}"
        );
    }

    #[test]
    fn an_error_without_a_way_out_is_told_as_it_is() {
        let error = not_connected(
            PathBuf::from("s"),
            io::Error::from_raw_os_error(libc::EPROTOTYPE),
        );
        assert!(
            error
                .to_string()
                .starts_with("Cannot connect to s: Protocol wrong type"),
            "{error}"
        );
    }
}
