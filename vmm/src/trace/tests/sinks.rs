// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sinks that show what they get, and sinks that misbehave.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Keeps what it gets, one entry a write, and sends word of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    writes: Arc<Mutex<Vec<String>>>,
    word: Option<Sender<()>>,
}

impl Kept {
    /// With what hears of each write.
    pub(super) fn telling() -> (Self, Receiver<()>) {
        let (word, heard) = mpsc::channel();
        let kept = Self {
            word: Some(word),
            ..Self::default()
        };
        (kept, heard)
    }

    pub(super) fn writes(&self) -> Vec<String> {
        self.writes.lock().unwrap().clone()
    }

    pub(super) fn text(&self) -> String {
        self.writes().concat()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.writes.lock().unwrap().push(text);
        if let Some(word) = &self.word {
            let _ = word.send(());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks in its first write until it is let go.
#[derive(Debug)]
pub(super) struct Blocked {
    entered: Sender<()>,
    release: Receiver<()>,
}

impl Blocked {
    /// With what hears that it blocks, and what lets it go when dropped.
    pub(super) fn new() -> (Self, Receiver<()>, Sender<()>) {
        let (entered, blocks) = mpsc::channel();
        let (let_go, release) = mpsc::channel();
        (Self { entered, release }, blocks, let_go)
    }
}

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.entered.send(());
        let _ = self.release.recv();
        // As whatever waits for something may: it uses up that its thread was unparked.
        thread::park_timeout(Duration::ZERO);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes one write and fails, or panics, from then on.
#[derive(Debug)]
pub(super) struct Breaks {
    pub(super) kept: Kept,
    pub(super) panics: bool,
}

impl Write for Breaks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.kept.writes().is_empty() {
            return self.kept.write(bytes);
        }
        assert!(!self.panics, "as the test wants it");
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
