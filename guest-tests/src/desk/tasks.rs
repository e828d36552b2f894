// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events on guest tasks, as a client of the VM's control socket opens them: what the desk asks goes
//! through the real protocol.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use vmm::control::{
    Answer, ErrorKind, EventNow, EventRead, EventState, OpenEvent, Opened, Refusal, Request, Verb,
};

use super::host::Failure;
use super::wish::{Outcome, TaskChange, TaskEvent};

/// How long the VM may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whoever asks a VM by the protocol of the control socket.
pub trait Client {
    /// Asks for something, and waits for the answer.
    ///
    /// # Errors
    /// The connection is gone, or its other end speaks something else.
    fn ask(&mut self, verb: Verb) -> io::Result<Answer>;
}

/// A way to more and more clients of one VM.
pub trait Clients: Sync {
    /// What a client is.
    type Client: Client;

    /// A new one.
    ///
    /// # Errors
    /// It cannot connect.
    fn client(&self) -> io::Result<Self::Client>;
}

/// A control socket by its path.
#[derive(Clone, Debug)]
pub struct At(pub PathBuf);

impl Clients for At {
    type Client = Connection;

    fn client(&self) -> io::Result<Connection> {
        Connection::open(&self.0)
    }
}

/// A connection to a control socket.
#[derive(Debug)]
pub struct Connection(BufReader<UnixStream>);

impl Connection {
    fn open(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }
}

impl Client for Connection {
    fn ask(&mut self, verb: Verb) -> io::Result<Answer> {
        let request = Request::new(verb).line();
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Answer::read(&line)?)
    }
}

/// Asks for something, whose answer is a `T`.
///
/// # Errors
/// How else it ended.
pub fn ask<T: DeserializeOwned>(client: &mut impl Client, verb: Verb) -> Result<T, Failure> {
    let answer = client.ask(verb).map_err(|error| Failure {
        // The socket goes with the VM.
        outcome: match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Outcome::Ended,
            _ => Outcome::Fault,
        },
        words: format!("the control socket: {error}"),
    })?;
    answer.read_as().map_err(|refusal| of_refusal(&refusal))
}

fn of_refusal(refusal: &Refusal) -> Failure {
    Failure {
        outcome: match refusal.kind {
            ErrorKind::Perf => Outcome::Perf,
            ErrorKind::NoSuchTask => Outcome::NoSuchTask,
            ErrorKind::Refused => Outcome::Refused,
            ErrorKind::Ended => Outcome::Ended,
            _ => Outcome::Fault,
        },
        words: refusal.to_string(),
    }
}

/// The number by which a guest reads an event's state: that of the perf port.
#[must_use]
pub const fn state_number(state: EventNow) -> u32 {
    match state {
        EventNow::Exit => 0,
        EventNow::Error => 1,
        EventNow::Off => 2,
        EventNow::Inactive => 3,
        EventNow::Active => 4,
    }
}

/// The events that the guest opened at the desk, by their numbers there; those that are closed leave
/// a gap.
#[derive(Debug)]
pub struct TaskEvents<C> {
    client: C,
    events: Vec<Option<u64>>,
}

impl<C: Client> TaskEvents<C> {
    /// None yet.
    pub const fn new(client: C) -> Self {
        Self {
            client,
            events: Vec::new(),
        }
    }

    /// Opens an event on a task: its number here, how often the task was looked for, its state.
    ///
    /// # Errors
    /// [`Outcome::NoSuchTask`], [`Outcome::Perf`], or [`Outcome::Refused`] for one too many.
    pub fn open(&mut self, task: u32, event: TaskEvent) -> Result<[u32; 3], Failure> {
        let name = if event.cycles { "cycles" } else { "port.tick" };
        let open = OpenEvent {
            period: event.period.map(u64::from),
            disabled: event.disabled,
            sigtrap: event.sigtrap.then_some(0),
            inherit: event.inherit,
            ..OpenEvent::on_task(task.into(), name)
        };
        let opened: Opened = ask(&mut self.client, Verb::EventsOpen(open))?;
        self.events.push(Some(opened.event));
        let number = super::clerk::word(self.events.len() - 1);
        Ok([number, opened.rounds, state_number(opened.state)])
    }

    /// Changes one: its state.
    ///
    /// # Errors
    /// [`Outcome::Unknown`] without such an event, [`Outcome::Perf`].
    pub fn change(&mut self, number: u32, change: TaskChange) -> Result<[u32; 3], Failure> {
        let event = self.find(number)?;
        let verb = match change {
            TaskChange::Enable => Verb::EventsEnable { event },
            TaskChange::Disable => Verb::EventsDisable { event },
            TaskChange::Reset => Verb::EventsReset { event },
            TaskChange::Refresh(overflows) => Verb::EventsRefresh {
                event,
                overflows: overflows.into(),
            },
        };
        let now: EventState = ask(&mut self.client, verb)?;
        Ok([state_number(now.state), 0, 0])
    }

    /// Reads one: low and high half of its count, which is 0 in the state ERROR, and its state.
    ///
    /// # Errors
    /// [`Outcome::Unknown`] without such an event, [`Outcome::Perf`].
    pub fn read(&mut self, number: u32) -> Result<[u32; 3], Failure> {
        let read = self.reading(number)?;
        let [a, b, c, d, e, f, g, h] = read.count.unwrap_or(0).to_le_bytes();
        let halves = [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes);
        Ok([halves[0], halves[1], state_number(read.state)])
    }

    /// What became of the overflows of one: queued, merged, sent.
    ///
    /// # Errors
    /// [`Outcome::Unknown`] without such an event or without SIGTRAP, [`Outcome::Perf`].
    pub fn traps(&mut self, number: u32) -> Result<[u32; 3], Failure> {
        let traps = self.reading(number)?.traps.ok_or_else(unknown)?;
        let word = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Ok([traps.queued, traps.merged, traps.sent].map(word))
    }

    /// Closes one.
    ///
    /// # Errors
    /// [`Outcome::Unknown`] without such an event, [`Outcome::Perf`].
    pub fn close(&mut self, number: u32) -> Result<[u32; 3], Failure> {
        let event = self.find(number)?;
        ask::<vmm::control::Closed>(&mut self.client, Verb::EventsClose { event })?;
        if let Some(event) = usize::try_from(number)
            .ok()
            .and_then(|number| self.events.get_mut(number))
        {
            *event = None;
        }
        Ok([0; 3])
    }

    fn reading(&mut self, number: u32) -> Result<EventRead, Failure> {
        let event = self.find(number)?;
        ask(&mut self.client, Verb::EventsRead { event })
    }

    fn find(&self, number: u32) -> Result<u64, Failure> {
        let event = usize::try_from(number).ok();
        let event = event.and_then(|number| *self.events.get(number)?);
        event.ok_or_else(unknown)
    }
}

fn unknown() -> Failure {
    Failure {
        outcome: Outcome::Unknown,
        words: String::new(),
    }
}
