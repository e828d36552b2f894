// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs commands on this host with a deadline and both output streams in hand.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab_agent::wire::Exit;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::child;
use crate::job::{Ended, Input, Stream};

/// Without a deadline waiting still needs some time to be named.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How often to look whether a process that closed its output is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long a killed process may take to be gone: one that is stuck in the kernel never is.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// Runs `command` to its end or its deadline. Without input it gets a process group of its own,
/// and the deadline ends all of that group; with ours it must stay in the terminal's.
pub(crate) fn run(
    mut command: Command,
    input: Input,
    output: &mut dyn FnMut(Stream, &[u8]),
    deadline: Option<Duration>,
) -> Result<Ended> {
    let own_group = input == Input::Empty;
    if own_group {
        command.stdin(Stdio::null()).process_group(0);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    child::ends_with_us(&mut command, Signal::SIGKILL);
    let program = command.get_program().display().to_string();
    let end = Instant::now() + deadline.unwrap_or(FOREVER);
    let mut process = match command.spawn() {
        Ok(process) => process,
        Err(e) => {
            return Ok(Ended::Exit(Exit::NotStarted(format!(
                "Cannot start {program}: {e}"
            ))));
        }
    };

    let (sender, events) = sync_channel(64);
    if let Some(source) = process.stdout.take() {
        follow(source, Stream::Out, sender.clone());
    }
    if let Some(source) = process.stderr.take() {
        follow(source, Stream::Err, sender.clone());
    }
    drop(sender);
    let status = loop {
        match events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok((stream, data)) => output(stream, &data),
            Err(RecvTimeoutError::Timeout) => break None,
            Err(RecvTimeoutError::Disconnected) => break wait(&mut process, end)?,
        }
    };
    match status {
        Some(status) => Ok(Ended::Exit(exit(status))),
        None => {
            let pid = Pid::from_raw(process.id().cast_signed());
            let target = if own_group {
                Pid::from_raw(-pid.as_raw())
            } else {
                pid
            };
            kill(target, Signal::SIGKILL).with_context(|| format!("ending {program}"))?;
            if wait(&mut process, Instant::now() + KILL_GRACE)?.is_none() {
                bail!("{program} (process {pid}) does not end, even killed");
            }
            Ok(Ended::Deadline)
        }
    }
}

/// Passes a stream on in pieces until it ends.
fn follow(
    mut source: impl Read + Send + 'static,
    stream: Stream,
    sender: SyncSender<(Stream, Vec<u8>)>,
) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = source.read(&mut buffer) {
            if sender.send((stream, buffer[..length].to_vec())).is_err() {
                return;
            }
        }
    });
}

/// Waits for the process, `None` at the deadline.
fn wait(process: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// How a process ended, as the lab would tell it.
pub(crate) fn exit(status: ExitStatus) -> Exit {
    let byte = |value: i32| u8::try_from(value).unwrap_or(u8::MAX);
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(byte(code)),
        (None, signal) => Exit::Signal(byte(signal.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn shell(script: &str, deadline: Option<Duration>) -> (Ended, String, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let (mut out, mut err) = (String::new(), String::new());
        let output = &mut |stream, data: &[u8]| match stream {
            Stream::Out => out.push_str(std::str::from_utf8(data).unwrap()),
            Stream::Err => err.push_str(std::str::from_utf8(data).unwrap()),
        };
        let ended = run(command, Input::Empty, output, deadline).unwrap();
        (ended, out, err)
    }

    #[test]
    fn streams_stay_apart_and_exits_are_exact() {
        let (ended, out, err) = shell("echo one; echo two >&2; exit 7", None);
        assert_eq!(
            (ended, out.as_str(), err.as_str()),
            (Ended::Exit(Exit::Code(7)), "one\n", "two\n")
        );
        assert_eq!(shell("kill -9 $$", None).0, Ended::Exit(Exit::Signal(9)));
    }

    #[test]
    fn a_deadline_ends_the_whole_group() {
        // All that still holds the fifo open for writing is the shell's child: its end is the
        // fifo's.
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let (sender, gone) = sync_channel(1);
        let reader = fifo.clone();
        thread::spawn(move || {
            let end = std::fs::read(reader);
            sender.send(end)
        });
        let script = format!("sleep 1000 >{} & echo started; wait", fifo.display());
        let (ended, out, _) = shell(&script, Some(Duration::from_secs(1)));
        assert_eq!((ended, out.as_str()), (Ended::Deadline, "started\n"));
        let end = gone.recv_timeout(KILL_GRACE);
        assert!(end.is_ok_and(|end| end.is_ok()), "the child is still alive");
    }

    #[test]
    fn a_missing_program_is_told_like_in_the_lab() {
        let ended = run(Command::new("/no/such"), Input::Empty, &mut |_, _| {}, None).unwrap();
        assert!(matches!(ended, Ended::Exit(Exit::NotStarted(why)) if why.contains("/no/such")));
    }
}
