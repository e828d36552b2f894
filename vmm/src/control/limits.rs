// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How long and how much a client may.

use std::time::Duration;

use super::Verb;

/// How long and how much a client may. The defaults are what `docs/control.md` says.
///
/// ```
/// use std::time::Duration;
/// use vmm::control::{Limits, Verb};
///
/// let limits = Limits::default();
/// assert_eq!(limits.time_for(&Verb::Pause), Duration::from_secs(30));
/// let remove = Verb::CpusRemove { vcpu: 1, limit_ms: 60_000 };
/// assert_eq!(limits.time_for(&remove), Duration::from_secs(65));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients at once.
    pub clients: usize,
    /// How long a request may take that has no limit of its own.
    pub request: Duration,
    /// How much longer than its own limit one may take.
    pub grace: Duration,
    /// How long a client may leave answers unread.
    pub unread: Duration,
    /// How long the end of the server waits for requests that run and answers on their way.
    pub end: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 64,
            request: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            unread: Duration::from_secs(5),
            end: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// How long `verb` may take until it is answered with a timeout.
    pub fn time_for(&self, verb: &Verb) -> Duration {
        match verb.limit_ms() {
            Some(limit) => Duration::from_millis(limit) + self.grace,
            None => self.request,
        }
    }
}
