// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs a kernel through the `vmm` library.

use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use std::{env, fs, process};

use vmm::control::{ControlServer, VmHost};
use vmm::{Exit, ExitReason, RunReport, RunningVm, VmBuilder, VmError};

use crate::desk::tasks::At;
use crate::desk::{self, Desk, clerk, footprint};
use crate::judge::Ending;
use crate::mover::{Mover, Moves};
use crate::plan::Boot;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the guest wrote to its serial port.
    pub output: String,
    /// How it ended.
    pub ending: Ending,
    /// What came of moving its threads, if they were to be moved.
    pub moves: Option<Moves>,
    /// What the desk's clerk noted.
    pub notes: Vec<String>,
}

/// What differs from run to run, and is told to the kernel on its command line.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// `seed=`: of what it does at random, as the desk does.
    pub seed: u64,
    /// `seconds=`: how long it goes on, if it is one that goes on for a time of its choice.
    pub seconds: Option<u32>,
}

impl Given {
    fn cmdline(self, boot: &Boot) -> String {
        let mut words = format!("model={} seed={:#x}", boot.model, self.seed);
        if let Some(seconds) = self.seconds {
            words.push_str(&format!(" seconds={seconds}"));
        }
        words
    }
}

/// Boots `kernel` as `boot` says, and waits for its end, at most for `limit`. Its trace goes
/// to `trace`.
///
/// # Errors
///
/// The machine could not be built or ended.
pub fn boot(
    kernel: &Path,
    boot: &Boot,
    limit: Duration,
    given: Given,
    trace: Option<Box<dyn Write + Send>>,
) -> Result<Run, VmError> {
    let serial = Capture::default();
    let builder = VmBuilder::new()
        .vcpus(boot.vcpus)
        .max_vcpus(boot.max_vcpus)
        .pmu(Some(boot.model))
        .kernel_file(kernel)
        .cmdline(given.cmdline(boot))
        .serial(Box::new(serial.clone()));
    let (builder, desk) = if boot.desk {
        footprint::steady();
        let (desk, device) = desk::open();
        (builder.device(desk::PORTS, Box::new(device)), Some(desk))
    } else {
        (builder, None)
    };
    let builder = match trace {
        Some(trace) => builder.trace(trace),
        None => builder,
    };
    let vm = builder.build()?;
    let mover = boot.moved.then(Mover::start);
    let done = vm.start().and_then(|running| match desk {
        Some(desk) => wait_at(&desk, running, limit, given.seed),
        None => Ok((running.wait(Some(limit))?, Vec::new())),
    });
    let moves = mover.map(Mover::stop);
    let (report, notes) = done?;
    Ok(Run {
        output: serial.text(),
        ending: ending(&report.exit),
        moves,
        notes,
    })
}

/// Waits for the end of a run with a desk: what came of it, and the clerk's notes.
fn wait_at(
    desk: &Desk,
    running: RunningVm,
    limit: Duration,
    seed: u64,
) -> Result<(RunReport, Vec<String>), VmError> {
    let host = running.handle();
    // The server ends before its folder goes.
    let folder = Folder::new().map_err(no_socket)?;
    let socket = folder.0.join("control");
    let server = ControlServer::start(&socket, Arc::new(VmHost::new(running.handle())));
    let server = server.map_err(|error| no_socket(io::Error::other(error)))?;
    let clients = At(socket);
    thread::scope(|threads| {
        let clerk = threads.spawn(|| clerk::serve(desk, &host, &clients, seed));
        let report = running.wait(Some(limit));
        desk.close();
        // Whoever waits for an answer has none to wait for now.
        server.stop();
        let notes = clerk.join();
        let notes = notes.unwrap_or_else(|_| vec!["the desk's clerk panicked".to_owned()]);
        Ok((report?, notes))
    })
}

fn no_socket(source: io::Error) -> VmError {
    VmError::Host {
        what: "the desk's control socket",
        source,
    }
}

/// A folder of our own, which goes with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("perfvisor-desk-{}-{number}", process::id());
        let path = env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Whoever put something in it may keep it.
        let _ = fs::remove_dir(&self.0);
    }
}

fn ending(exit: &Exit) -> Ending {
    match (exit.reason, exit.code) {
        (ExitReason::GuestExit, Some(code)) => Ending::Code(code),
        (ExitReason::Timeout, _) => Ending::Timeout,
        _ => Ending::Other(exit.to_string()),
    }
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl Capture {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exit_code_of_the_guest_is_one() {
        assert_eq!(ending(&Exit::guest(3)), Ending::Code(3));
        assert_eq!(ending(&Exit::new(ExitReason::Timeout)), Ending::Timeout);
        for reason in [
            ExitReason::TripleFault,
            ExitReason::VcpuFailure,
            ExitReason::GuestShutdown,
        ] {
            assert!(matches!(ending(&Exit::new(reason)), Ending::Other(_)));
        }
    }

    #[test]
    fn the_capture_keeps_everything() {
        let mut capture = Capture::default();
        capture.clone().write_all(b"one ").unwrap();
        capture.write_all(b"two").unwrap();
        assert_eq!(capture.text(), "one two");
    }
}
