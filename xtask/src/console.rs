// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The lab's console: kept for when something goes wrong.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// How much of the console's end is kept.
const KEPT: usize = 64 << 10;

/// How many of its last lines are shown.
const SHOWN_LINES: usize = 25;

/// QEMU says this of every feature of the CPU model that it cannot emulate, at each boot.
const NOISE: &str = "TCG doesn't support requested feature";

/// A shared, bounded record of console output.
#[derive(Debug, Clone, Default)]
pub(crate) struct Console {
    kept: Arc<Mutex<VecDeque<u8>>>,
}

impl Console {
    /// Records everything from `source`, and repeats it on stderr if `verbose`. Ends with the
    /// source.
    pub(crate) fn follow(&self, mut source: impl Read + Send + 'static, verbose: bool) {
        let console = self.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = source.read(&mut buffer) {
                console.add(&buffer[..length]);
                if verbose {
                    // Whether anybody reads our stderr is not the console's business.
                    let _ = io::stderr().write_all(&buffer[..length]);
                }
            }
        });
    }

    fn add(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let excess = kept.len().saturating_sub(KEPT);
        kept.drain(..excess);
    }

    /// The last lines, for people.
    pub(crate) fn tail(&self) -> String {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(kept.make_contiguous()).into_owned();
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty() && !line.contains(NOISE))
            .collect();
        if lines.is_empty() {
            return "The lab's console is empty.".to_owned();
        }
        let tail = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        format!("The lab's console ends with:\n  {}", tail.join("\n  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_shown() {
        let console = Console::default();
        assert_eq!(console.tail(), "The lab's console is empty.");
        for line in 0..10_000 {
            console.add(format!("line {line}\r\n\r\n").as_bytes());
        }
        let tail = console.tail();
        assert_eq!(tail.lines().count(), SHOWN_LINES + 1);
        assert!(tail.ends_with("  line 9998\n  line 9999"), "{tail}");
        assert!(console.kept.lock().unwrap().len() <= KEPT);
    }
}
