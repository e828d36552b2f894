// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Serves the host's requests: one loop over the port, the children's signals and the running
//! command's streams.

use std::os::fd::{AsFd, BorrowedFd};

use lab_agent::wire::{Exit, Reply, Request, Run};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use thiserror::Error;

use crate::command::{self, Running, Stream};
use crate::files;
use crate::port::{self, Port};
use crate::pulse;

/// Why a session ends.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The port failed or the host went away.
    #[error(transparent)]
    Port(#[from] port::Error),
    /// A system call that cannot fail did.
    #[error("Agent's own loop: {0}")]
    System(#[from] nix::Error),
    /// The host asked for two commands at once.
    #[error("Host asked for a command while one was running")]
    Busy,
}

/// What a ready file descriptor stands for.
#[derive(Debug, Clone, Copy)]
enum Ready {
    Port,
    Child,
    Input,
    Output(Stream),
}

/// Serves until the host goes away or an error makes going on senseless; never returns `Ok`.
pub(crate) fn serve(port: &mut Port) -> Result<(), Error> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    let children = SignalFd::new(&mask)?;
    let mut running: Option<Running> = None;

    port.send(&Reply::Ready)?;
    // Its thread has the signal mask of this one: no signal of a child goes to it.
    pulse::start(port.sender());
    loop {
        for ready in wait(port, &children, running.as_ref())? {
            match ready {
                Ready::Port => {
                    port.receive()?;
                    while let Some(request) = port.next_request()? {
                        handle(port, &mut running, request)?;
                    }
                }
                Ready::Child => {
                    children.read_signal()?;
                    reap(running.as_mut())?;
                }
                Ready::Input => {
                    if let Some(running) = &mut running {
                        running.feed();
                    }
                }
                Ready::Output(stream) => {
                    if let Some(reply) = running.as_mut().and_then(|r| r.read(stream)) {
                        port.send(&reply)?;
                    }
                }
            }
        }
        if let Some(exit) = running.as_ref().and_then(Running::finished) {
            files::send(port)?;
            port.send(&Reply::Exit(exit.clone()))?;
            running = None;
        }
    }
}

fn wait(
    port: &Port,
    children: &SignalFd,
    running: Option<&Running>,
) -> Result<Vec<Ready>, nix::Error> {
    let mut sources: Vec<(Ready, BorrowedFd<'_>, PollFlags)> =
        vec![(Ready::Child, children.as_fd(), PollFlags::POLLIN)];
    if running.is_none_or(Running::takes_input) {
        sources.push((Ready::Port, port.as_fd(), PollFlags::POLLIN));
    }
    if let Some(running) = running {
        for (stream, fd) in running.outputs() {
            sources.push((Ready::Output(stream), fd, PollFlags::POLLIN));
        }
        if let Some(fd) = running.hungry_input() {
            sources.push((Ready::Input, fd, PollFlags::POLLOUT));
        }
    }
    let mut fds: Vec<PollFd<'_>> = sources
        .iter()
        .map(|(_, fd, flags)| PollFd::new(*fd, *flags))
        .collect();
    match poll(&mut fds, PollTimeout::NONE) {
        Err(Errno::EINTR) => return Ok(Vec::new()),
        other => other?,
    };
    let ready = sources
        .iter()
        .zip(&fds)
        .filter(|(_, fd)| fd.any() != Some(false));
    Ok(ready.map(|((ready, ..), _)| *ready).collect())
}

fn handle(port: &mut Port, running: &mut Option<Running>, request: Request) -> Result<(), Error> {
    match (request, running.as_mut()) {
        (Request::Run(_), Some(_)) => return Err(Error::Busy),
        (Request::Run(run), None) => *running = start(port, &run)?,
        (Request::Stdin(data), Some(running)) => running.add_input(&data),
        (Request::CloseStdin, Some(running)) => running.end_input(),
        (Request::Kill, Some(_)) => command::kill_everything(),
        // The command ended while the host was sending this.
        (Request::Stdin(_) | Request::CloseStdin | Request::Kill, None) => {}
    }
    Ok(())
}

fn start(port: &mut Port, run: &Run) -> Result<Option<Running>, Error> {
    let started = files::clear()
        .map_err(|e| format!("Cannot empty {}: {e}", files::OUT))
        .and_then(|()| Running::start(run, files::OUT));
    match started {
        Ok(running) => Ok(Some(running)),
        Err(why) => {
            port.send(&Reply::Exit(Exit::NotStarted(why)))?;
            Ok(None)
        }
    }
}

/// Reaps all that has ended, orphans too: their new parent is this process.
fn reap(mut running: Option<&mut Running>) -> Result<(), nix::Error> {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(status) => {
                if let Some(running) = &mut running {
                    running.reaped(status);
                }
            }
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}
