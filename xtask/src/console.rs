// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The lab's console: kept for when something goes wrong.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// How much of the console's end is kept.
const KEPT: usize = 64 << 10;

/// How many of its last lines are shown.
const SHOWN_LINES: usize = 25;

/// How many are shown from where the kernel begins to complain.
const SHOWN_OF_COMPLAINT: usize = 80;

/// How a kernel's complaints about itself begin.
const COMPLAINTS: [&str; 5] = ["Kernel panic", "BUG: ", "Oops: ", "WARNING: ", "watchdog: "];

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
    pub(crate) fn follow(
        &self,
        mut source: impl Read + Send + 'static,
        verbose: bool,
    ) -> JoinHandle<()> {
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
        })
    }

    fn add(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let excess = kept.len().saturating_sub(KEPT);
        kept.drain(..excess);
    }

    /// Whether nobody said anything of interest.
    pub(crate) fn is_silent(&self) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        lines(&String::from_utf8_lossy(kept.make_contiguous())).is_empty()
    }

    /// The last lines, for people: from the kernel's complaint on if there is one.
    pub(crate) fn tail(&self) -> String {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(kept.make_contiguous()).into_owned();
        let lines = lines(&text);
        if lines.is_empty() {
            return "The lab's console is empty.".to_owned();
        }
        let complaint = lines
            .iter()
            .position(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)));
        let (what, shown) = match complaint {
            Some(first) => {
                let end = lines.len().min(first + SHOWN_OF_COMPLAINT);
                ("says", &lines[first..end])
            }
            None => (
                "ends with",
                &lines[lines.len().saturating_sub(SHOWN_LINES)..],
            ),
        };
        format!("The lab's console {what}:\n  {}", shown.join("\n  "))
    }
}

/// What is worth showing.
fn lines(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.contains(NOISE))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_silence() {
        let console = Console::default();
        assert!(console.is_silent());
        console.add(NOISE.as_bytes());
        assert!(console.is_silent());
        console.add(b"\nKernel panic");
        assert!(!console.is_silent());
    }

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

    #[test]
    fn a_complaint_is_shown_from_its_beginning() {
        let console = Console::default();
        console.add(b"booting\n[  3.1] Oops: int3: 0000 [#1]\n");
        for line in 0..50 {
            console.add(format!("line {line}\n").as_bytes());
        }
        let tail = console.tail();
        assert!(
            tail.starts_with("The lab's console says:\n  [  3.1] Oops: int3"),
            "{tail}"
        );
        assert!(tail.ends_with("line 49"), "{tail}");
    }
}
