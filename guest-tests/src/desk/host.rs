// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the desk's clerk asks of a running VM.

use std::time::Duration;

use super::wish::Outcome;

/// What a vCPU is doing, as the host says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never there.
    Absent,
    /// On its way.
    Starting,
    /// In the guest.
    Running,
    /// Stands still.
    Paused,
    /// Leaves.
    Stopping,
    /// Taken away, and may come again.
    Offline,
    /// The run is over.
    Finished,
}

impl State {
    /// The number that the guest reads.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Absent => 0,
            Self::Starting => 1,
            Self::Running => 2,
            Self::Paused => 3,
            Self::Stopping => 4,
            Self::Offline => 5,
            Self::Finished => 6,
        }
    }
}

/// What a watch counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Cycles.
    pub cycles: u64,
    /// Whether it will count more.
    pub counts_on: bool,
}

/// A running VM.
pub trait Host: Sync {
    /// An event that the host counts on a vCPU.
    type Watch: Send;

    /// Adds a vCPU; its number.
    ///
    /// # Errors
    ///
    /// How else it ended.
    fn add(&self, vcpu: Option<u32>) -> Result<u32, Failure>;

    /// Removes a vCPU; the guest has until `limit` to give it back.
    ///
    /// # Errors
    ///
    /// How else it ended.
    fn remove(&self, vcpu: u32, limit: Duration) -> Result<(), Failure>;

    /// Makes the VM stand still.
    ///
    /// # Errors
    ///
    /// How else it ended.
    fn pause(&self) -> Result<(), Failure>;

    /// Lets it run again.
    ///
    /// # Errors
    ///
    /// How else it ended.
    fn resume(&self) -> Result<(), Failure>;

    /// What each vCPU is doing, in the order of their numbers.
    fn states(&self) -> Vec<State>;

    /// Counts a vCPU's cycles from now on.
    ///
    /// # Errors
    ///
    /// [`Outcome::Perf`] if the perf core refuses, as it does for a vCPU that is not there.
    fn watch(&self, vcpu: u32) -> Result<Self::Watch, Failure>;

    /// What a watch counted so far.
    ///
    /// # Errors
    ///
    /// [`Outcome::Perf`] if the perf core refuses.
    fn count(&self, watch: &Self::Watch) -> Result<Count, Failure>;

    /// Ends a watch.
    ///
    /// # Errors
    ///
    /// [`Outcome::Perf`] if the perf core refuses.
    fn unwatch(&self, watch: Self::Watch) -> Result<(), Failure>;
}

/// Why the host did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In short.
    pub outcome: Outcome,
    /// In the VMM's own words.
    pub words: String,
}
