// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One running command: its process, its pipes or terminal, and what is still to be fed to it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use lab_agent::wire::{self, Exit, Reply, Run};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, setsid};

/// The most input kept for a command that does not read; the host waits beyond that.
const MAX_PENDING_INPUT: usize = 1 << 20;

/// Where the lab's commands are.
const PATH: &str = "/bin:/sbin:/usr/bin:/usr/sbin";

mod ioctl {
    nix::ioctl_write_int_bad!(
        /// Makes a terminal the controlling one of the calling session.
        tiocsctty,
        nix::libc::TIOCSCTTY
    );
}

/// Which stream of the command a file descriptor carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, or everything from a terminal.
    Out,
    /// Standard error.
    Err,
}

/// A command that was started and is not yet wholly over.
pub(crate) struct Running {
    pid: Pid,
    exit: Option<Exit>,
    input: Option<File>,
    pending: Vec<u8>,
    input_ended: bool,
    output: Option<File>,
    errors: Option<File>,
}

impl Running {
    /// Starts what the host asked for. The string says why it could not be.
    pub(crate) fn start(run: &Run, out: &str) -> Result<Self, String> {
        let Some((program, args)) = run.argv.split_first() else {
            return Err("No program named".to_owned());
        };
        let mut command = Command::new(OsStr::from_bytes(program));
        command
            .args(args.iter().map(|arg| OsStr::from_bytes(arg)))
            .current_dir(OsStr::from_bytes(&run.cwd))
            .env_clear()
            .envs([("PATH", PATH), ("HOME", "/"), ("OUT", out)])
            .envs(
                run.env
                    .iter()
                    .map(|(n, v)| (OsStr::from_bytes(n), OsStr::from_bytes(v))),
            );
        let started = match run.terminal {
            None => Self::start_on_pipes(command),
            Some((rows, columns)) => Self::start_on_terminal(command, rows, columns),
        };
        started.map_err(|e| format!("Cannot start {}: {e}", String::from_utf8_lossy(program)))
    }

    fn start_on_pipes(mut command: Command) -> io::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = own_session(&mut command, false).spawn()?;
        let input = child
            .stdin
            .take()
            .map(|pipe| File::from(OwnedFd::from(pipe)));
        let output = child
            .stdout
            .take()
            .map(|pipe| File::from(OwnedFd::from(pipe)));
        let errors = child
            .stderr
            .take()
            .map(|pipe| File::from(OwnedFd::from(pipe)));
        Self::new(child.id(), input, output, errors)
    }

    fn start_on_terminal(mut command: Command, rows: u16, columns: u16) -> io::Result<Self> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None)?;
        let master = File::from(master);
        // The child must not keep the master open, or the terminal would never hang up.
        fcntl(&master, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        command
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave);
        let child = own_session(&mut command, true).spawn()?;
        Self::new(child.id(), Some(master.try_clone()?), Some(master), None)
    }

    fn new(
        pid: u32,
        input: Option<File>,
        output: Option<File>,
        errors: Option<File>,
    ) -> io::Result<Self> {
        if let Some(input) = &input {
            // A command that does not read its input must not stop the agent.
            fcntl(input, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self {
            pid: Pid::from_raw(pid.cast_signed()),
            exit: None,
            input,
            pending: Vec::new(),
            input_ended: false,
            output,
            errors,
        })
    }

    /// The streams that may still bring output.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        let out = self.output.as_ref().map(|file| (Stream::Out, file.as_fd()));
        let err = self.errors.as_ref().map(|file| (Stream::Err, file.as_fd()));
        out.into_iter().chain(err)
    }

    /// The input, if something waits to be written to it.
    pub(crate) fn hungry_input(&self) -> Option<BorrowedFd<'_>> {
        self.input
            .as_ref()
            .filter(|_| !self.pending.is_empty())
            .map(AsFd::as_fd)
    }

    /// Whether the host may send more input.
    pub(crate) fn takes_input(&self) -> bool {
        self.pending.len() < MAX_PENDING_INPUT
    }

    /// Queues input.
    pub(crate) fn add_input(&mut self, data: &[u8]) {
        if self.input.is_some() && !self.input_ended {
            self.pending.extend_from_slice(data);
            self.feed();
        }
    }

    /// No more input follows what is queued.
    pub(crate) fn end_input(&mut self) {
        self.input_ended = true;
        self.feed();
    }

    /// Writes as much of the queued input as the command takes.
    pub(crate) fn feed(&mut self) {
        let Some(input) = &mut self.input else { return };
        while !self.pending.is_empty() {
            match input.write(&self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // The command closed its input: what it did not want is dropped.
                Err(_) => {
                    self.pending.clear();
                    self.input = None;
                    return;
                }
            }
        }
        if self.input_ended {
            self.input = None;
        }
    }

    /// Reads one piece of output, `None` at the end of that stream.
    pub(crate) fn read(&mut self, stream: Stream) -> Option<Reply> {
        let slot = match stream {
            Stream::Out => &mut self.output,
            Stream::Err => &mut self.errors,
        };
        let mut data = vec![0; wire::CHUNK];
        // A terminal hangs up with an error (EIO) when its last user is gone.
        let length = slot
            .as_mut()
            .and_then(|file| file.read(&mut data).ok())
            .unwrap_or(0);
        if length == 0 {
            *slot = None;
            return None;
        }
        data.truncate(length);
        Some(match stream {
            Stream::Out => Reply::Stdout(data),
            Stream::Err => Reply::Stderr(data),
        })
    }

    /// Takes note of a reaped process. When it is the command itself, whatever it left running
    /// is killed, so that the next command finds a quiet lab and the pipes come to their ends.
    pub(crate) fn reaped(&mut self, status: WaitStatus) {
        let exit = match status {
            WaitStatus::Exited(pid, code) if pid == self.pid => {
                // exit(2) keeps the low eight bits, so the code always fits.
                Exit::Code(u8::try_from(code).unwrap_or(u8::MAX))
            }
            WaitStatus::Signaled(pid, signal, _) if pid == self.pid => {
                Exit::Signal(u8::try_from(signal as i32).unwrap_or(u8::MAX))
            }
            _ => return,
        };
        self.exit = Some(exit);
        kill_everything();
    }

    /// How it ended, once its process is gone and its output is read to the end.
    pub(crate) fn finished(&self) -> Option<&Exit> {
        self.exit
            .as_ref()
            .filter(|_| self.output.is_none() && self.errors.is_none())
    }
}

/// Gives the child a session of its own and an empty signal mask.
fn own_session(command: &mut Command, terminal: bool) -> &mut Command {
    let prepare = move || {
        setsid()?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        if terminal {
            // SAFETY: descriptor 0 is the terminal's slave, and the call takes no pointer.
            unsafe { ioctl::tiocsctty(io::stdin().as_raw_fd(), 0) }?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made; nothing allocates or locks.
    unsafe { command.pre_exec(prepare) }
}

/// Kills every process but this one, which as process 1 is spared by the kernel.
pub(crate) fn kill_everything() {
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(e) => eprintln!("lab-agent: cannot kill what a command left behind: {e}"),
    }
}
