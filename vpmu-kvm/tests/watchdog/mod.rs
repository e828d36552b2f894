// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An end for tests that would wait for ever.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{process, thread};

/// Long past the end of any test that passes.
const LIMIT: Duration = Duration::from_secs(60);

/// Ends the whole process unless it is dropped in time: nothing else would end a thread that waits
/// for an answer, or a guest that spins.
pub(crate) struct Watchdog {
    _over: mpsc::Sender<()>,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        let (over, wait) = mpsc::channel::<()>();
        thread::spawn(move || {
            if wait.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                eprintln!("This test does not come to an end");
                process::abort();
            }
        });
        Self { _over: over }
    }
}
