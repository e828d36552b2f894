// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs a kernel through the `vmm` library.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use vmm::{Exit, ExitReason, RunReport, RunningVm, VmBuilder, VmError};

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

/// Boots `kernel` as `boot` says, and waits for its end, at most for `limit`. What the desk does at
/// random, it does by `seed`.
///
/// # Errors
///
/// The machine could not be built or ended.
pub fn boot(kernel: &Path, boot: &Boot, limit: Duration, seed: u64) -> Result<Run, VmError> {
    let serial = Capture::default();
    let builder = VmBuilder::new()
        .vcpus(boot.vcpus)
        .max_vcpus(boot.max_vcpus)
        .pmu(Some(boot.model))
        .kernel_file(kernel)
        .cmdline(format!("model={}", boot.model))
        .serial(Box::new(serial.clone()));
    let (builder, desk) = if boot.desk {
        footprint::steady();
        let (desk, device) = desk::open();
        (builder.device(desk::PORTS, Box::new(device)), Some(desk))
    } else {
        (builder, None)
    };
    let vm = builder.build()?;
    let mover = boot.moved.then(Mover::start);
    let done = vm.start().and_then(|running| match desk {
        Some(desk) => wait_at(&desk, running, limit, seed),
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
    thread::scope(|threads| {
        let clerk = threads.spawn(|| clerk::serve(desk, &host, seed));
        let report = running.wait(Some(limit));
        desk.close();
        let notes = clerk.join();
        let notes = notes.unwrap_or_else(|_| vec!["the desk's clerk panicked".to_owned()]);
        Ok((report?, notes))
    })
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
