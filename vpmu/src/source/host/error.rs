// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why the host does not count, and what helps.

// The setting that permits perf events is in a file.
#![allow(clippy::disallowed_methods)]

use std::io;

/// Where Linux says what it lends to whom.
const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";

/// Why the host does not count an event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The host lends counters to the privileged alone.
    #[error(
        "The host refuses to count: perf_event_paranoid is {found}, {needed} is needed (sysctl \
         kernel.perf_event_paranoid={needed}, or CAP_PERFMON for this program)"
    )]
    Paranoid {
        /// The setting as it was read.
        found: i32,
        /// The highest with which this program may count what it asked for.
        needed: i32,
    },
    /// The setting allows it, or cannot be read: somebody else forbids it.
    #[error(
        "The host refuses to count although perf_event_paranoid is {}: look for a seccomp filter \
         or a security module, or give this program CAP_PERFMON",
        Setting(*found)
    )]
    Forbidden {
        /// The setting, if it can be read.
        found: Option<i32>,
        /// What Linux answered.
        source: io::Error,
    },
    /// Linux was built without perf events.
    #[error("The host's kernel has no perf events")]
    NoPerf,
    /// The host's CPU has no counter for this event, or does not show it.
    #[error("The host has no counter for this event")]
    NoCounter,
    /// It has one, which others hold.
    #[error("The host's counters are all taken")]
    Busy,
    /// It counts, but not the guest's events alone.
    #[error("The host's counters cannot leave out the host")]
    NotGuestOnly,
    /// The event can be opened and stands still.
    #[error("The host's counter does not move")]
    StandsStill,
    /// Linux refuses for another reason.
    #[error("The host refuses to count: {0}")]
    Refused(#[source] io::Error),
}

/// A setting that may not be readable.
struct Setting(Option<i32>);

impl core::fmt::Display for Setting {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("unreadable"),
        }
    }
}

impl HostError {
    /// What `error` means of an event that counts the kernel, if `os`, or user mode alone.
    pub(super) fn new(error: io::Error, os: bool) -> Self {
        Self::with_setting(error, os, || {
            std::fs::read_to_string(PARANOID).ok()?.trim().parse().ok()
        })
    }

    fn with_setting(error: io::Error, os: bool, setting: impl FnOnce() -> Option<i32>) -> Self {
        match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => {
                let needed = if os { 1 } else { 2 };
                match setting() {
                    Some(found) if found > needed => Self::Paranoid { found, needed },
                    found => Self::Forbidden {
                        found,
                        source: error,
                    },
                }
            }
            Some(libc::ENOSYS) => Self::NoPerf,
            Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => Self::NoCounter,
            _ => Self::Refused(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn text(errno: i32, os: bool, setting: Option<i32>) -> std::string::String {
        let error = io::Error::from_raw_os_error(errno);
        HostError::with_setting(error, os, || setting).to_string()
    }

    #[test]
    fn a_refused_permission_names_the_setting_what_is_needed_and_the_capability() {
        for (os, found, needed) in [(true, 2, 1), (false, 3, 2), (true, 4, 1)] {
            let text = text(libc::EACCES, os, Some(found));
            for part in [
                std::format!("perf_event_paranoid is {found}, {needed} is needed"),
                std::format!("sysctl kernel.perf_event_paranoid={needed}"),
                "CAP_PERFMON".to_string(),
            ] {
                assert!(text.contains(&part), "{part} in {text}");
            }
        }
    }

    #[test]
    fn a_setting_that_allows_it_is_not_blamed() {
        for (os, found) in [
            (true, Some(1)),
            (false, Some(2)),
            (true, Some(-1)),
            (true, None),
        ] {
            let text = text(libc::EPERM, os, found);
            assert!(text.contains("seccomp"), "{text}");
            let value = found.map_or("unreadable".to_string(), |found| found.to_string());
            assert!(text.contains(&std::format!("is {value}:")), "{text}");
        }
    }

    #[test]
    fn other_refusals_say_what_they_are() {
        for errno in [libc::ENOENT, libc::ENODEV, libc::EOPNOTSUPP] {
            assert_eq!(text(errno, true, None), HostError::NoCounter.to_string());
        }
        assert_eq!(
            text(libc::ENOSYS, true, None),
            HostError::NoPerf.to_string()
        );
        assert!(text(libc::EMFILE, true, None).contains("(os error 24)"));
    }
}
