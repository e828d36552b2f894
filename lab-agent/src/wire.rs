// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The wire format between `xtask` and the lab's process 1.
//!
//! A frame is a header of eight bytes and a payload:
//!
//! | bytes | what |
//! |---|---|
//! | 0-1 | magic, `PV` |
//! | 2 | format version |
//! | 3 | kind of message |
//! | 4-7 | length of the payload, little endian, at most [`MAX_PAYLOAD`] |
//!
//! Inside a payload numbers are little endian and byte strings are preceded by their length in
//! four bytes. Nothing is trusted: a wrong magic, version, kind, length or a payload with bytes
//! missing or left over is an error at once, after which the stream cannot be used any more.

use thiserror::Error;

/// Payloads are no longer than this; longer data travels as several frames.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// How much of a stream or a file a sender puts in one frame.
pub const CHUNK: usize = 64 << 10;

/// How often a lab that is ready says that it is alive, in seconds.
pub const PULSE_SECONDS: u64 = 2;

const MAGIC: [u8; 2] = *b"PV";
const VERSION: u8 = 1;
const HEADER: usize = 8;

/// What can be wrong with received bytes.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// The stream does not carry this protocol.
    #[error("Frame starts with {0:02x?} instead of the magic")]
    Magic([u8; 2]),
    /// The two sides were built from different sources.
    #[error("Frame has format version {0}, expected {VERSION}")]
    Version(u8),
    /// No such message in this direction.
    #[error("Unknown kind of message {0}")]
    Kind(u8),
    /// Nobody sends payloads this long.
    #[error("Payload of {0} bytes is longer than {MAX_PAYLOAD}")]
    TooLong(usize),
    /// The payload ends inside a field.
    #[error("Payload is cut short")]
    Short,
    /// The payload goes on after its last field.
    #[error("Payload has {0} bytes left over")]
    LeftOver(usize),
    /// A field has a value that means nothing.
    #[error("Field has the meaningless value {0}")]
    Value(u32),
}

/// A command to run in the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Program and arguments; the program is looked up in the lab's PATH unless it has a slash.
    pub argv: Vec<Vec<u8>>,
    /// Variables set beside the lab's own.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Directory to start in.
    pub cwd: Vec<u8>,
    /// Run on a terminal of this size (rows, columns) instead of three pipes.
    pub terminal: Option<(u16, u16)>,
}

/// What the host asks of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Start a command; only one runs at a time.
    Run(Run),
    /// Bytes for the running command's standard input.
    Stdin(Vec<u8>),
    /// The end of the running command's standard input.
    CloseStdin,
    /// Kill the running command and everything it started.
    Kill,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
    /// It could not be started, and why.
    NotStarted(String),
}

impl Exit {
    /// The exit code a shell would give: 128 + signal, 127 for what could not be started.
    #[must_use]
    pub fn shell_code(&self) -> u8 {
        match self {
            Self::Code(code) => *code,
            Self::Signal(signal) => signal.saturating_add(128),
            Self::NotStarted(_) => 127,
        }
    }
}

/// What the lab tells the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Booted, `/dev/kvm` is there, ready for commands.
    Ready,
    /// The lab's kernel is alive; comes every [`PULSE_SECONDS`] from then on.
    Alive,
    /// The running command's standard output.
    Stdout(Vec<u8>),
    /// The running command's standard error.
    Stderr(Vec<u8>),
    /// A file the command left below its output directory: its first bytes.
    File {
        /// Path relative to the output directory.
        path: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// The first bytes.
        data: Vec<u8>,
    },
    /// The next bytes of that file.
    FileMore(Vec<u8>),
    /// The command and all it started are gone; nothing more about it follows.
    Exit(Exit),
    /// The lab cannot go on.
    Broken(String),
}

/// A message that travels in frames.
pub trait Message: Sized {
    /// The kind of message and its payload.
    fn to_payload(&self) -> (u8, Vec<u8>);

    /// The message of this kind with this payload.
    ///
    /// # Errors
    ///
    /// The kind is unknown or the payload does not fit it.
    fn from_payload(kind: u8, payload: &[u8]) -> Result<Self, WireError>;
}

/// The frame that carries `message`.
///
/// # Errors
///
/// The payload would be longer than [`MAX_PAYLOAD`].
pub fn encode(message: &impl Message) -> Result<Vec<u8>, WireError> {
    let (kind, payload) = message.to_payload();
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= MAX_PAYLOAD)
        .ok_or(WireError::TooLong(payload.len()))?;
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&MAGIC);
    frame.push(VERSION);
    frame.push(kind);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// Cuts a byte stream into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// The bytes are no frame of this protocol; every later call fails as well.
    pub fn next_message<M: Message>(&mut self) -> Result<Option<M>, WireError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [m0, m1, version, kind, length @ ..] = *header;
        if [m0, m1] != MAGIC {
            return Err(WireError::Magic([m0, m1]));
        }
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_PAYLOAD {
            return Err(WireError::TooLong(length));
        }
        let Some(payload) = self.buffer.get(HEADER..HEADER + length) else {
            return Ok(None);
        };
        let message = M::from_payload(kind, payload)?;
        self.buffer.drain(..HEADER + length);
        Ok(Some(message))
    }

    /// Whether the stream ends inside a frame if it ends now.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        !self.buffer.is_empty()
    }
}

mod kind {
    pub(super) const RUN: u8 = 1;
    pub(super) const STDIN: u8 = 2;
    pub(super) const CLOSE_STDIN: u8 = 3;
    pub(super) const KILL: u8 = 4;

    pub(super) const READY: u8 = 128;
    pub(super) const STDOUT: u8 = 129;
    pub(super) const STDERR: u8 = 130;
    pub(super) const FILE: u8 = 131;
    pub(super) const FILE_MORE: u8 = 132;
    pub(super) const EXIT: u8 = 133;
    pub(super) const BROKEN: u8 = 134;
    pub(super) const ALIVE: u8 = 135;
}

impl Message for Request {
    fn to_payload(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Run(run) => {
                let mut w = Writer::default();
                w.count(run.argv.len());
                run.argv.iter().for_each(|arg| w.bytes(arg));
                w.count(run.env.len());
                for (name, value) in &run.env {
                    w.bytes(name);
                    w.bytes(value);
                }
                w.bytes(&run.cwd);
                match run.terminal {
                    None => w.u32(0),
                    Some((rows, columns)) => {
                        w.u32(1);
                        w.u32(rows.into());
                        w.u32(columns.into());
                    }
                }
                (kind::RUN, w.0)
            }
            Self::Stdin(data) => (kind::STDIN, data.clone()),
            Self::CloseStdin => (kind::CLOSE_STDIN, Vec::new()),
            Self::Kill => (kind::KILL, Vec::new()),
        }
    }

    fn from_payload(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader(payload);
        let message = match kind {
            kind::RUN => {
                let argv = r.list(Reader::bytes)?;
                let env = r.list(|r| Ok((r.bytes()?, r.bytes()?)))?;
                let cwd = r.bytes()?;
                let terminal = match r.u32()? {
                    0 => None,
                    1 => Some((r.u16()?, r.u16()?)),
                    other => return Err(WireError::Value(other)),
                };
                Self::Run(Run {
                    argv,
                    env,
                    cwd,
                    terminal,
                })
            }
            kind::STDIN => Self::Stdin(r.rest()),
            kind::CLOSE_STDIN => Self::CloseStdin,
            kind::KILL => Self::Kill,
            other => return Err(WireError::Kind(other)),
        };
        r.end()?;
        Ok(message)
    }
}

impl Message for Reply {
    fn to_payload(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Ready => (kind::READY, Vec::new()),
            Self::Alive => (kind::ALIVE, Vec::new()),
            Self::Stdout(data) => (kind::STDOUT, data.clone()),
            Self::Stderr(data) => (kind::STDERR, data.clone()),
            Self::File { path, mode, data } => {
                let mut w = Writer::default();
                w.bytes(path);
                w.u32(*mode);
                w.0.extend_from_slice(data);
                (kind::FILE, w.0)
            }
            Self::FileMore(data) => (kind::FILE_MORE, data.clone()),
            Self::Exit(exit) => {
                let mut w = Writer::default();
                match exit {
                    Exit::Code(code) => {
                        w.u32(0);
                        w.u32((*code).into());
                    }
                    Exit::Signal(signal) => {
                        w.u32(1);
                        w.u32((*signal).into());
                    }
                    Exit::NotStarted(why) => {
                        w.u32(2);
                        w.bytes(why.as_bytes());
                    }
                }
                (kind::EXIT, w.0)
            }
            Self::Broken(why) => (kind::BROKEN, why.clone().into_bytes()),
        }
    }

    fn from_payload(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader(payload);
        let message = match kind {
            kind::READY => Self::Ready,
            kind::ALIVE => Self::Alive,
            kind::STDOUT => Self::Stdout(r.rest()),
            kind::STDERR => Self::Stderr(r.rest()),
            kind::FILE => Self::File {
                path: r.bytes()?,
                mode: r.u32()?,
                data: r.rest(),
            },
            kind::FILE_MORE => Self::FileMore(r.rest()),
            kind::EXIT => Self::Exit(match r.u32()? {
                0 => Exit::Code(r.u8()?),
                1 => Exit::Signal(r.u8()?),
                2 => Exit::NotStarted(text(r.bytes()?)),
                other => return Err(WireError::Value(other)),
            }),
            kind::BROKEN => Self::Broken(text(r.rest())),
            other => return Err(WireError::Kind(other)),
        };
        r.end()?;
        Ok(message)
    }
}

/// Text is for people: what is not UTF-8 in it is shown as such rather than refused.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A length. One that does not fit makes a payload beyond `MAX_PAYLOAD`, which `encode`
    /// refuses, so its value does not matter.
    fn count(&mut self, value: usize) {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn u32(&mut self) -> Result<u32, WireError> {
        let (value, rest) = self.0.split_first_chunk::<4>().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*value))
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        let value = self.u32()?;
        u16::try_from(value).map_err(|_| WireError::Value(value))
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        let value = self.u32()?;
        u8::try_from(value).map_err(|_| WireError::Value(value))
    }

    fn bytes(&mut self) -> Result<Vec<u8>, WireError> {
        let length = self.u32()? as usize;
        let (value, rest) = self.0.split_at_checked(length).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(value.to_vec())
    }

    /// A counted list. Every item takes bytes, so a false count runs into `Short` rather than
    /// into memory.
    fn list<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = self.u32()?;
        (0..count).map(|_| item(self)).collect()
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }

    fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(WireError::LeftOver(self.0.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..64)
    }

    fn request() -> impl Strategy<Value = Request> {
        let run = (
            vec(bytes(), 0..5),
            vec((bytes(), bytes()), 0..5),
            bytes(),
            proptest::option::of(any::<(u16, u16)>()),
        )
            .prop_map(|(argv, env, cwd, terminal)| {
                Request::Run(Run {
                    argv,
                    env,
                    cwd,
                    terminal,
                })
            });
        prop_oneof![
            run,
            bytes().prop_map(Request::Stdin),
            Just(Request::CloseStdin),
            Just(Request::Kill),
        ]
    }

    fn reply() -> impl Strategy<Value = Reply> {
        prop_oneof![
            Just(Reply::Ready),
            Just(Reply::Alive),
            bytes().prop_map(Reply::Stdout),
            bytes().prop_map(Reply::Stderr),
            (bytes(), any::<u32>(), bytes()).prop_map(|(path, mode, data)| Reply::File {
                path,
                mode,
                data
            }),
            bytes().prop_map(Reply::FileMore),
            any::<u8>().prop_map(|code| Reply::Exit(Exit::Code(code))),
            any::<u8>().prop_map(|signal| Reply::Exit(Exit::Signal(signal))),
            ".*".prop_map(|why| Reply::Exit(Exit::NotStarted(why))),
            ".*".prop_map(Reply::Broken),
        ]
    }

    /// Everything `decoder` gives for `stream` when it arrives in pieces of `piece` bytes.
    fn decode_all<M: Message>(stream: &[u8], piece: usize) -> Result<Vec<M>, WireError> {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        for bytes in stream.chunks(piece) {
            decoder.push(bytes);
            while let Some(message) = decoder.next_message()? {
                messages.push(message);
            }
        }
        assert!(!decoder.is_mid_frame());
        Ok(messages)
    }

    proptest! {
        #[test]
        fn requests_survive_the_wire(sent in vec(request(), 0..8), piece in 1..40usize) {
            let stream: Vec<u8> = sent.iter().flat_map(|m| encode(m).unwrap()).collect();
            prop_assert_eq!(decode_all::<Request>(&stream, piece).unwrap(), sent);
        }

        #[test]
        fn replies_survive_the_wire(sent in vec(reply(), 0..8), piece in 1..40usize) {
            let stream: Vec<u8> = sent.iter().flat_map(|m| encode(m).unwrap()).collect();
            prop_assert_eq!(decode_all::<Reply>(&stream, piece).unwrap(), sent);
        }

        #[test]
        fn hostile_payloads_are_errors_or_messages(kind in any::<u8>(), payload in bytes()) {
            // Whatever is accepted must mean the same when it is sent again.
            if let Ok(request) = Request::from_payload(kind, &payload) {
                prop_assert_eq!(request.to_payload(), (kind, payload.clone()));
            }
            if let Ok(reply) = Reply::from_payload(kind, &payload) {
                let (again, bytes) = reply.to_payload();
                prop_assert_eq!(again, kind);
                prop_assert_eq!(Reply::from_payload(again, &bytes).unwrap(), reply);
            }
        }
    }

    fn error_for(frame: &[u8]) -> WireError {
        let mut decoder = Decoder::default();
        decoder.push(frame);
        decoder.next_message::<Request>().unwrap_err()
    }

    #[test]
    fn garbage_is_refused_at_the_header() {
        assert_eq!(error_for(b"[    0.1"), WireError::Magic(*b"[ "));
        assert_eq!(error_for(b"PV\x09\x01\0\0\0\0"), WireError::Version(9));
        assert_eq!(error_for(b"PV\x01\x07\0\0\0\0"), WireError::Kind(7));
        assert_eq!(
            error_for(b"PV\x01\x02\x01\0\x10\0"),
            WireError::TooLong(MAX_PAYLOAD + 1)
        );
    }

    #[test]
    fn false_lengths_inside_a_payload_are_refused() {
        // A list of 2^32 - 1 arguments of which none is there.
        assert_eq!(
            error_for(b"PV\x01\x01\x04\0\0\0\xff\xff\xff\xff"),
            WireError::Short
        );
        // A kill request with a byte too many.
        assert_eq!(error_for(b"PV\x01\x04\x01\0\0\0x"), WireError::LeftOver(1));
    }

    #[test]
    fn an_incomplete_frame_waits_for_more() {
        let frame = encode(&Request::Stdin(b"hello".to_vec())).unwrap();
        let mut decoder = Decoder::default();
        decoder.push(&frame[..frame.len() - 1]);
        assert_eq!(decoder.next_message::<Request>(), Ok(None));
        assert!(decoder.is_mid_frame());
        decoder.push(&frame[frame.len() - 1..]);
        assert_eq!(
            decoder.next_message(),
            Ok(Some(Request::Stdin(b"hello".to_vec())))
        );
    }

    #[test]
    fn payloads_beyond_the_limit_are_not_sent() {
        let long = Request::Stdin(vec![0; MAX_PAYLOAD + 1]);
        assert_eq!(encode(&long), Err(WireError::TooLong(MAX_PAYLOAD + 1)));
        assert!(encode(&Request::Stdin(vec![0; MAX_PAYLOAD])).is_ok());
    }

    #[test]
    fn exits_become_shell_codes() {
        assert_eq!(Exit::Code(3).shell_code(), 3);
        assert_eq!(Exit::Signal(9).shell_code(), 137);
        assert_eq!(Exit::NotStarted(String::new()).shell_code(), 127);
    }
}
