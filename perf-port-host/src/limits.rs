// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How much a guest may ask for.

use vpmu::Nanos;

/// What a guest gets at most.
///
/// ```
/// use perf_port_host::PortLimits;
///
/// let limits = PortLimits { tasks: 16, ..PortLimits::default() };
/// assert_eq!((limits.events, limits.calls_per_second), (1024, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortLimits {
    /// Tasks that have not exited.
    pub tasks: usize,
    /// Events that it opened and did not close; and those that it closed with a trap on the way, until
    /// that arrives. No fork leaves more than so many on all tasks, the inherited ones among them.
    pub events: usize,
    /// Calls a second, on each vCPU; 0 for no limit. Those of a second that was not used up can be
    /// made at once.
    pub calls_per_second: u32,
}

impl Default for PortLimits {
    fn default() -> Self {
        Self {
            tasks: 4096,
            events: 1024,
            calls_per_second: 0,
        }
    }
}

const SECOND: u64 = 1_000_000_000;

/// The calls that a vCPU may make: as many as fit a second, and as many more as time passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: u32,
    /// Billionths of a call that are there, at most those of a second.
    level: u64,
    filled: Nanos,
}

impl Bucket {
    pub(crate) fn new(per_second: u32, now: Nanos) -> Self {
        Self {
            per_second,
            level: Self::full(per_second),
            filled: now,
        }
    }

    fn full(per_second: u32) -> u64 {
        u64::from(per_second) * SECOND
    }

    /// Takes a call at time `now`, if there is one. The clock is asked only where there is a limit.
    pub(crate) fn take(&mut self, now: impl FnOnce() -> Nanos) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let now = now();
        let passed = now.0.saturating_sub(self.filled.0);
        let more = passed.saturating_mul(u64::from(self.per_second));
        self.level = self
            .level
            .saturating_add(more)
            .min(Self::full(self.per_second));
        self.filled = self.filled.max(now);
        let taken = self.level.checked_sub(SECOND);
        self.level = taken.unwrap_or(self.level);
        taken.is_some()
    }
}
