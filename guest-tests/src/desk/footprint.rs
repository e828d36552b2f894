// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What this process takes of the host.

use std::{fmt, fs, io};

use nix::sys::prctl;

/// Keeps what the process takes of the host from changing by itself: without it the kernel replaces
/// single pages of the guest's memory that are in use by huge ones, all of which count.
pub fn steady() {
    // Refused, the figures are no worse than without.
    let _ = prctl::set_thp_disable(true);
}

/// What this process takes of the host at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Memory that is in use, in KiB: the guest's touched pages and the VMM's own.
    pub rss_kib: u32,
    /// Open files.
    pub files: u32,
    /// Threads.
    pub threads: u32,
}

impl Footprint {
    /// Looks now. 0 stands for what the host does not tell.
    #[must_use]
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            rss_kib: field(&status, "VmRSS:").unwrap_or(0),
            // Less the one through which they are listed.
            files: entries("/proc/self/fd").map_or(0, |files| files.saturating_sub(1)),
            threads: field(&status, "Threads:").unwrap_or(0),
        }
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rss_kib,
            files,
            threads,
        } = self;
        write!(f, "{rss_kib} KiB, {files} open files, {threads} threads")
    }
}

/// The number behind `key` in `/proc/PID/status`.
fn field(status: &str, key: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn entries(folder: &str) -> io::Result<u32> {
    Ok(u32::try_from(fs::read_dir(folder)?.count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let status = "Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t7\n";
        assert_eq!(field(status, "VmRSS:"), Some(1234));
        assert_eq!(field(status, "Threads:"), Some(7));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn an_open_file_shows() {
        // Other tests open and close theirs meanwhile: in some try none does.
        let shows = (0..1000).any(|_| {
            let before = Footprint::now();
            let file = File::open("/proc/self/status").unwrap();
            let during = Footprint::now();
            drop(file);
            during.files == before.files + 1
        });
        assert!(shows);
        let now = Footprint::now();
        assert!(now.rss_kib > 0 && now.threads > 0, "{now}");
    }
}
