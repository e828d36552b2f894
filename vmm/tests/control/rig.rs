// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A server with a made-up VM, and clients of it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use vmm::control::{ControlServer, Limits};

use crate::machine::Machine;

/// Long past the moment at which a server that works has answered.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// Asks again and again until `is_so`, and fails if `what` never comes to be.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {LONG:?}");
        thread::yield_now();
    }
}

/// A server of a [`Machine`] on a socket of its own.
pub(crate) struct Rig {
    pub(crate) machine: Arc<Machine>,
    pub(crate) path: PathBuf,
    server: Option<ControlServer>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let nth = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("perfvisor-control-{}-{nth}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let machine = Machine::new();
        let server = ControlServer::start_with(&path, Arc::clone(&machine), limits);
        Self {
            machine,
            path,
            server: Some(server.expect("nobody has the path")),
        }
    }

    pub(crate) fn client(&self) -> Client {
        let stream = UnixStream::connect(&self.path).expect("the server listens");
        // The two halves are one socket.
        for limit in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
            limit(&stream, Some(LONG)).expect("a limit that is not zero");
        }
        Client {
            lines: BufReader::new(stream.try_clone().expect("there are descriptors")),
            stream,
        }
    }

    /// Ends the server.
    pub(crate) fn stop(&mut self) {
        self.server.take();
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Client {
    /// Sends a line and waits for its answer.
    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.send(line);
        self.answer().expect("the connection is there")
    }

    /// The `ok` of an answer.
    pub(crate) fn ok(&mut self, line: &str) -> Value {
        let mut answer = self.ask(line);
        assert!(answer["error"].is_null(), "{line}: {answer}");
        answer["ok"].take()
    }

    /// The kind of an error.
    pub(crate) fn error(&mut self, line: &str) -> String {
        kind(&self.ask(line))
    }

    /// Whoever was turned away cannot write any more, and can still read why.
    pub(crate) fn send(&mut self, line: &str) {
        let _ = self.stream.write_all(format!("{line}\n").as_bytes());
    }

    /// The next answer; none at the end of the connection.
    pub(crate) fn answer(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line);
        if let Err(error) = &read {
            let late = error.kind() == ErrorKind::WouldBlock;
            assert!(!late, "no answer and no end within {LONG:?}");
        }
        read.ok().filter(|read| *read > 0)?;
        Some(serde_json::from_str(&line).expect("answers are JSON"))
    }

    /// The next answer as it is.
    pub(crate) fn answer_line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("it answers");
        line
    }

    /// Sends nothing more.
    pub(crate) fn hush(&self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("it is connected");
    }

    /// Everything that still comes.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.lines
            .read_to_string(&mut rest)
            .expect("the connection ends in order");
        rest
    }
}

/// The kind of error that an answer has.
pub(crate) fn kind(answer: &Value) -> String {
    answer["error"]["kind"]
        .as_str()
        .unwrap_or("none")
        .to_owned()
}
