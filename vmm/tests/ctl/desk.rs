// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A control socket without a VM, and `perfvisor ctl` run against it.

use std::env::{current_exe, temp_dir};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// The first argument that makes this program `perfvisor`.
pub(crate) const AS_PERFVISOR: &str = "--as-perfvisor";

/// A directory for the socket of one test. Not cargo's own: a socket's path must be short.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = temp_dir().join(format!("perfvisor-ctl-{}-{number}", id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What it printed, of a command that succeeded.
    pub(crate) fn done(self) -> String {
        assert_eq!((self.code, &*self.stderr), (0, ""), "{self:?}");
        self.stdout
    }

    /// The one line that says why it failed, without the program's name.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!((self.code, &*self.stdout), (code, ""), "{self:?}");
        let line = self.stderr.strip_prefix("perfvisor: ");
        let line = line.and_then(|line| line.strip_suffix('\n')).unwrap();
        assert!(!line.contains('\n'), "{self:?}");
        line.to_owned()
    }
}

/// Runs `perfvisor ctl -s SOCKET` with `args`, which are separated by single spaces.
pub(crate) fn ctl(socket: &Path, args: &str) -> Ended {
    Ended::new(ctl_to(Stdio::piped(), socket, args))
}

/// The same with another stdout.
pub(crate) fn ctl_to(stdout: Stdio, socket: &Path, args: &str) -> Output {
    let child = begin(stdout, socket, args);
    child.wait_with_output().unwrap()
}

/// Begins it, and does not wait for it.
pub(crate) fn begin(stdout: Stdio, socket: &Path, args: &str) -> Child {
    Command::new(current_exe().unwrap())
        .args([AS_PERFVISOR, "ctl", "-s"])
        .arg(socket)
        .args(args.split(' '))
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs it against a server that does `serve` with the first connection; what that gives, and how
/// the command ended.
///
/// A command that does not connect leaves the server one that is closed at once.
pub(crate) fn with<T: Send>(args: &str, serve: impl FnOnce(UnixStream) -> T + Send) -> (T, Ended) {
    let dir = Dir::new();
    let listener = UnixListener::bind(dir.socket()).unwrap();
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(listener.accept().unwrap().0));
        let ended = ctl(&dir.socket(), args);
        drop(UnixStream::connect(dir.socket()));
        (server.join().unwrap(), ended)
    })
}

/// Runs it against a server that reads one line and answers `answer`; the line, and how the
/// command ended.
pub(crate) fn answered(args: &str, answer: &[u8]) -> (String, Ended) {
    with(args, |stream| {
        let line = line(&stream);
        (&stream).write_all(answer).unwrap();
        line
    })
}

/// The next line of a stream that sends nothing behind it.
pub(crate) fn line(stream: &UnixStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

/// An argument whose request is larger than what a socket takes that nobody reads from: each of its
/// characters takes six bytes in JSON.
pub(crate) fn unbuffered() -> String {
    "\u{1}".repeat(120_000)
}
