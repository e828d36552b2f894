// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Writing to the user without ever waiting for one who does not read.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::{Failure, Status};

/// How long a reader may take to make room.
const LIMIT: Duration = Duration::from_secs(5);
/// What a pipe that is ready for output takes at once (POSIX: `PIPE_BUF`).
const PIECE: usize = 4096;

/// One of the process's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Where data goes.
    Stdout,
    /// Where everything else goes.
    Stderr,
}

impl Stream {
    /// A handle without std's buffer and lock, which a thread that is stuck would hold.
    pub(super) fn file(self) -> io::Result<File> {
        let fd = match self {
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Self::Stderr => io::stderr().as_fd().try_clone_to_owned(),
        };
        Ok(fd?.into())
    }

    /// Writes `text`, unless its reader takes too long.
    pub(super) fn write(self, text: &str) -> io::Result<()> {
        write_within(&mut self.file()?, text.as_bytes(), LIMIT)
    }

    /// Writes one line of the program's own. There is nowhere to say that it failed.
    pub(super) fn say(self, line: &str) {
        // One line, whatever a file's name holds.
        let mut text = String::from("perfvisor: ");
        for c in line.chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        text.push('\n');
        let _ = self.write(&text);
    }
}

/// Where the guest's serial output goes: waits for a slow reader as long as it takes.
#[derive(Debug)]
pub(super) struct Patient(pub(super) File);

impl Write for Patient {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(data) {
                // A FIFO of --serial, or a terminal that whoever shares it made non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_writable(self.0.as_fd(), None)?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The failure for output that did not get out.
pub(super) fn to_failure(error: io::Error) -> Failure {
    Failure::new(Status::HostIo, format!("Cannot write the output: {error}"))
}

fn write_within(file: &mut File, mut data: &[u8], limit: Duration) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    while !data.is_empty() {
        wait_writable(file.as_fd(), Some(deadline))?;
        let written = match file.write(&data[..data.len().min(PIECE)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) =>
            {
                0
            }
            Err(error) => return Err(error),
        };
        data = &data[written..];
    }
    Ok(())
}

fn wait_writable(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<()> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    loop {
        let left_ms = deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            i32::try_from(left.as_millis()).unwrap_or(i32::MAX)
        });
        // SAFETY: one pollfd of ours, and the count says one.
        match unsafe { libc::poll(&raw mut poll, 1, left_ms) } {
            0 => return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it")),
            1.. => return Ok(()),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::thread;

    use super::*;

    fn pipe() -> (io::PipeReader, File) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, OwnedFd::from(writer).into())
    }

    #[test]
    fn a_reader_gets_all_of_it() {
        let (mut reader, mut writer) = pipe();
        let text = "x".repeat(300_000);
        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        write_within(&mut writer, text.as_bytes(), Duration::from_secs(60)).unwrap();
        drop(writer);
        assert_eq!(reading.join().unwrap(), text);
    }

    #[test]
    fn a_pipe_that_nobody_empties_is_given_up() {
        let (_reader, mut writer) = pipe();
        let error =
            write_within(&mut writer, &[b'x'; 300_000], Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_closed_pipe_is_an_error() {
        let (reader, mut writer) = pipe();
        drop(reader);
        let error = write_within(&mut writer, b"x", Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
