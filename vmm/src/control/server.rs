// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The server: one thread that looks after the socket and all connections, and never waits for any
//! of them; one more for each client that asks for something.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{ErrorKind as Io, Write as _};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::client::{Client, is_gone};
use super::socket::{self, Socket};
use super::worker::{News, Outbox, Worker};
use super::{Answer, ClientId, ControlError, Done, ErrorKind, Host, Limits, Refusal};

/// How long nobody is accepted after the host had no descriptor for one.
const NO_ROOM: Duration = Duration::from_millis(100);

/// A control socket that is made and not served yet: whoever connects waits. So a program that finds
/// the path taken has not started anything.
///
/// Dropped, it is removed.
#[derive(Debug)]
pub struct ControlSocket(Socket);

impl ControlSocket {
    /// Makes the socket `path`.
    ///
    /// # Errors
    /// As [`ControlServer::start`].
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, ControlError> {
        Socket::bind(path.as_ref()).map(Self)
    }

    /// Serves `host` there, with the usual limits.
    ///
    /// # Errors
    /// [`ControlError::Host`].
    pub fn serve<H: Host>(self, host: Arc<H>) -> Result<ControlServer, ControlError> {
        self.serve_with(host, Limits::default())
    }

    /// As [`serve`](Self::serve), with other limits.
    ///
    /// # Errors
    /// [`ControlError::Host`].
    pub fn serve_with<H: Host>(
        self,
        host: Arc<H>,
        limits: Limits,
    ) -> Result<ControlServer, ControlError> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let bell = EventFd::from_flags(flags);
        let bell = Arc::new(bell.map_err(|errno| ControlError::Host(errno.into()))?);
        let ending = Arc::new(AtomicBool::new(false));
        let (news, received) = mpsc::channel();
        let outbox = Outbox {
            news,
            bell: Arc::clone(&bell),
        };
        let server = Server {
            socket: Some(self.0),
            clients: BTreeMap::new(),
            leaving: 0,
            last: 0,
            outbox,
            received,
            ending: Arc::clone(&ending),
            host,
            limits,
            full_until: None,
        };
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || server.run())
            .map_err(ControlError::Host)?;
        Ok(ControlServer {
            ending,
            bell,
            thread: Some(thread),
        })
    }
}

/// A control socket that is served until this is dropped. `docs/control.md` is its protocol.
///
/// ```
/// use std::io::{BufRead, BufReader, Write};
/// use std::os::unix::net::UnixStream;
/// use std::sync::Arc;
/// use std::time::Duration;
/// use vmm::control::*;
///
/// /// Nothing but a name. A VM's own is made by the VM.
/// struct Box;
/// impl Host for Box {
///     fn pause(&self) -> Result<(), Refusal> {
///         Err(Refusal::new(ErrorKind::Refused, "There is nothing to pause"))
///     }
///     // ... and so on.
/// #   fn info(&self) -> Result<Info, Refusal> { unimplemented!() }
/// #   fn add_vcpu(&self) -> Result<u32, Refusal> { unimplemented!() }
/// #   fn remove_vcpu(&self, _: u32, _: Duration) -> Result<(), Refusal> { unimplemented!() }
/// #   fn resume(&self) -> Result<(), Refusal> { unimplemented!() }
/// #   fn stop(&self) -> Result<(), Refusal> { unimplemented!() }
/// #   fn wait(&self, _: Until, _: Duration) -> Result<bool, Refusal> { unimplemented!() }
/// #   fn events(&self) -> Option<&dyn EventDesk> { None }
/// }
///
/// let path = std::env::temp_dir().join(format!("doc-{}.sock", std::process::id()));
/// let server = ControlServer::start(&path, Arc::new(Box))?;
/// let mut client = UnixStream::connect(&path)?;
/// client.write_all(Request::new(Verb::Pause).line().as_bytes())?;
/// let mut line = String::new();
/// BufReader::new(client).read_line(&mut line)?;
/// let refusal = Answer::read(&line)?.result.unwrap_err();
/// assert_eq!(refusal.to_string(), "There is nothing to pause");
/// server.stop();
/// assert!(!path.exists());
/// # Ok::<(), std::boxed::Box<dyn std::error::Error>>(())
/// ```
pub struct ControlServer {
    ending: Arc<AtomicBool>,
    bell: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Makes the socket `path` and serves `host` there, with the usual limits.
    ///
    /// # Errors
    /// [`ControlError::InUse`] if somebody listens there, [`ControlError::NoSocket`] if there is
    /// another kind of file. A socket that nobody listens on is replaced.
    pub fn start<H: Host>(path: impl AsRef<Path>, host: Arc<H>) -> Result<Self, ControlError> {
        Self::start_with(path, host, Limits::default())
    }

    /// As [`start`](Self::start), with other limits.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with<H: Host>(
        path: impl AsRef<Path>,
        host: Arc<H>,
        limits: Limits,
    ) -> Result<Self, ControlError> {
        ControlSocket::bind(path)?.serve_with(host, limits)
    }

    /// Ends the server, as dropping it does. The socket is removed at once, if it is still its own;
    /// waits are given up; requests that run and answers on their way have [`Limits::end`], then
    /// all connections are closed.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // Only fails when it has rung 2^64 times.
        let _ = self.bell.write(1);
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for ControlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlServer").finish_non_exhaustive()
    }
}

/// What the server's thread has.
struct Server<H> {
    /// None once the server ends.
    socket: Option<Socket>,
    clients: BTreeMap<ClientId, Client>,
    /// Workers whose client is gone and who are not done yet. They count as clients, so that whoever
    /// comes and goes does not leave more and more of them.
    leaving: usize,
    /// The number of the last client.
    last: u64,
    outbox: Outbox,
    received: Receiver<News>,
    ending: Arc<AtomicBool>,
    host: Arc<H>,
    limits: Limits,
    /// The host has no descriptor for a client: no use to ask before.
    full_until: Option<Instant>,
}

impl<H: Host> Server<H> {
    fn run(mut self) {
        while !self.ending.load(Ordering::Acquire) {
            let ready = self.wait(self.deadline());
            self.hear();
            self.accept();
            self.attend(&ready);
        }
        self.wind_up();
    }

    /// Waits until something comes or `until`; what came, by client.
    fn wait(&self, until: Option<Instant>) -> BTreeMap<ClientId, PollFlags> {
        let mut fds = vec![PollFd::new(self.outbox.bell.as_fd(), PollFlags::POLLIN)];
        if let Some(socket) = &self.socket
            && self.full_until.is_none()
        {
            fds.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        }
        let others = fds.len();
        fds.extend(
            self.clients
                .values()
                .map(|client| PollFd::new(client.as_fd(), client.interest())),
        );
        let timeout = until.map_or(PollTimeout::NONE, |until| {
            // Rounded up: woken too early, it would only wait again.
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        // A signal, or no memory: whatever is ready is ready the next time as well.
        let _ = poll(&mut fds, timeout);
        // Read, so that it can ring again. Nothing in it: that is what it should be.
        let _ = self.outbox.bell.read();
        let ready = fds[others..]
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        self.clients.keys().copied().zip(ready).collect()
    }

    fn deadline(&self) -> Option<Instant> {
        let clients = self.clients.values().filter_map(Client::deadline);
        clients.chain(self.full_until).min()
    }

    /// Takes the workers' news.
    fn hear(&mut self) {
        while let Ok(news) = self.received.try_recv() {
            match news {
                News::Finished(id, result) => {
                    if let Some(client) = self.clients.get_mut(&id) {
                        client.finish(*result);
                    }
                }
                News::Left => self.leaving = self.leaving.saturating_sub(1),
            }
        }
    }

    /// Lets in who knocks.
    fn accept(&mut self) {
        let now = Instant::now();
        if self.full_until.is_some_and(|until| now < until) {
            return;
        }
        self.full_until = None;
        let Some(socket) = &self.socket else {
            return;
        };
        // A crowd must not keep those waiting who are in.
        for _ in 0..self.limits.clients.max(1) {
            match socket.accept() {
                Ok(stream) => {
                    if let Some(why) =
                        refused(&stream, self.clients.len() + self.leaving, self.limits)
                    {
                        turn_away(stream, why);
                        continue;
                    }
                    self.last += 1;
                    let id = ClientId(self.last);
                    self.clients
                        .insert(id, Client::new(id, stream, self.limits));
                }
                Err(error) if error.kind() == Io::WouldBlock => return,
                // Gone again already.
                Err(error) if matches!(error.kind(), Io::ConnectionAborted | Io::Interrupted) => {}
                Err(_) => {
                    self.full_until = Some(now + NO_ROOM);
                    return;
                }
            }
        }
    }

    fn attend(&mut self, ready: &BTreeMap<ClientId, PollFlags>) {
        let now = Instant::now();
        let Self {
            host,
            outbox,
            leaving,
            ..
        } = self;
        self.clients.retain(|id, client| {
            let ready = ready.get(id).copied().unwrap_or(PollFlags::empty());
            let start = |id| Worker::start(Arc::clone(host), id, outbox.clone());
            let goes_on = client.attend(ready, now, start).is_ok();
            if !goes_on {
                *leaving += usize::from(client.has_worker());
            }
            goes_on
        });
    }

    /// The end: answers get out, workers leave, as far as there is time.
    fn wind_up(mut self) {
        let end = Instant::now() + self.limits.end;
        self.socket = None;
        for client in self.clients.values_mut() {
            client.wind_up();
        }
        loop {
            self.hear();
            let over = Instant::now() >= end;
            if over {
                let message = "The control server ends; what was asked for may still be done";
                let ended = Refusal::new(ErrorKind::Ended, message);
                for client in self.clients.values_mut() {
                    client.give_up(ended.clone());
                }
            } else {
                let now = Instant::now();
                for client in self.clients.values_mut() {
                    client.last_looks(now);
                }
            }
            self.say_goodbye();
            if over || (self.clients.is_empty() && self.leaving == 0) {
                return;
            }
            let ready = self.wait(Some(end));
            self.clients.retain(|id, client| {
                let ready = ready.get(id).copied().unwrap_or(PollFlags::empty());
                let stays = !is_gone(ready);
                self.leaving += usize::from(!stays && client.has_worker());
                stays
            });
        }
    }

    /// Closes the connections that have all their answers.
    fn say_goodbye(&mut self) {
        let now = Instant::now();
        let clients = mem::take(&mut self.clients);
        for (id, mut client) in clients {
            if matches!(client.flush(now), Ok(false)) {
                self.clients.insert(id, client);
            } else {
                self.leaving += usize::from(client.has_worker());
            }
        }
    }
}

/// Why nobody more is let in.
fn refused(stream: &UnixStream, clients: usize, limits: Limits) -> Option<Refusal> {
    if !socket::is_admitted(stream) {
        let message = "This socket is another user's";
        return Some(Refusal::new(ErrorKind::Forbidden, message));
    }
    (clients >= limits.clients).then(|| {
        let message = format!(
            "{} clients are connected already: try again later",
            limits.clients
        );
        Refusal::new(ErrorKind::Busy, message)
    })
}

/// Says why and closes the connection.
fn turn_away(mut stream: UnixStream, why: Refusal) {
    let answer: Answer<Done> = Answer {
        id: None,
        result: Err(why),
    };
    // One line fits a new socket's buffer; if not, the end of the connection has to do.
    let _ = stream.write(answer.line().as_bytes());
}
