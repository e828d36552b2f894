// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `perfvisor run` with a control socket, in a folder of its own, and who talks to it.

use std::collections::BTreeSet;
use std::env::{current_exe, temp_dir};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use serde_json::Value;

use crate::common::elf;

/// The first argument that makes this program `perfvisor`.
pub(crate) const AS_PERFVISOR: &str = "--as-perfvisor";

/// A folder with a kernel, where VMs of one test put their socket and their trace.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(code: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = temp_dir().join(format!("perfvisor-vm-{}-{number}", id()));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("kernel"), elf(code)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names of the files in it.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// `perfvisor run` with one vCPU and room for another, a trace and a report in JSON.
    pub(crate) fn run(&self) -> Run<'_> {
        let child = self.command().spawn().unwrap();
        Run {
            folder: self,
            child: Some(child),
        }
    }

    /// The same, to be started otherwise.
    pub(crate) fn command(&self) -> Command {
        let mut command = perfvisor();
        command
            .args(["run", "--json", "--memory", "4M", "--cpus", "boot=1,max=2"])
            .args(["--timeout", "100", "--kernel"])
            .arg(self.path("kernel"))
            .arg("--control")
            .arg(self.path("socket"))
            .arg("--trace")
            .arg(self.path("trace"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `perfvisor ctl` with `args`, which are separated by single spaces.
    pub(crate) fn ctl(&self, args: &str) -> Ended {
        let mut command = perfvisor();
        command.args(["ctl", "-s"]).arg(self.path("socket"));
        Ended::of(command.args(args.split(' ')).output().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in nobody's way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn perfvisor() -> Command {
    let mut command = Command::new(current_exe().unwrap());
    command.arg(AS_PERFVISOR);
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What it printed, of a command that succeeded.
    pub(crate) fn done(self) -> String {
        assert_eq!((self.code, &*self.stderr), (Some(0), ""), "{self:?}");
        self.stdout
    }

    /// What it said, of one that failed.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!((self.code, &*self.stdout), (Some(code), ""), "{self:?}");
        self.stderr
    }

    /// The run's report.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A VM; killed when it is dropped, as by a test that failed.
pub(crate) struct Run<'a> {
    folder: &'a Folder,
    child: Option<Child>,
}

impl Run<'_> {
    pub(crate) fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    /// A connection, as soon as there is a socket.
    pub(crate) fn client(&mut self) -> Client {
        loop {
            if let Ok(stream) = UnixStream::connect(self.folder.path("socket")) {
                return Client::new(stream);
            }
            assert_eq!(self.child().try_wait().unwrap(), None, "it ended");
            thread::yield_now();
        }
    }

    /// A connection to a VM that runs.
    pub(crate) fn client_of_a_running_vm(&mut self) -> Client {
        let mut client = self.client();
        let running = r#"{"do":"wait","state":"running"}"#;
        assert_eq!(client.ask(running)["ok"]["state"], "running");
        client
    }

    pub(crate) fn signal(&mut self, signal: i32) {
        let pid = i32::try_from(self.child().id()).unwrap();
        // SAFETY: the call takes two numbers; the child is not waited for yet, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// How it ended, once it has.
    pub(crate) fn ended(mut self) -> Ended {
        let child = self.child.take().unwrap();
        Ended::of(child.wait_with_output().unwrap())
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One connection.
pub(crate) struct Client {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        let lines = BufReader::new(stream.try_clone().unwrap());
        Self { stream, lines }
    }

    /// Sends some text, which may be more than a line, or less.
    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// The next answer; none at the end of the connection, however it came.
    pub(crate) fn answer(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).ok()?;
        // The last one of a server that was killed may be cut off.
        let line = line.strip_suffix('\n')?;
        Some(serde_json::from_str(line).unwrap())
    }

    /// Sends a line and waits for its answer.
    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.send(line);
        self.send("\n");
        self.answer().unwrap()
    }
}
