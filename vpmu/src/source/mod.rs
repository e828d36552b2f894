// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What counts: the trait, and the sources that implement it.

use crate::EventConfig;

pub mod clock;
pub mod script;

/// The source cannot count this event now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The source cannot count this event")]
pub struct NotCounted;

/// How a vCPU comes back in time for an overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The VMM kicks the vCPU after this many unhalted guest cycles.
    InCycles(u64),
    /// The source stops the vCPU itself.
    BySource,
}

/// How many slots a source may be asked for: slots are `0..MAX_SLOTS`.
pub const MAX_SLOTS: usize = 16;

/// Counts events of one vCPU in numbered slots.
pub trait CounterSource {
    /// Whether `config` can be counted at all, exactly as it says.
    fn supports(&self, config: &EventConfig) -> bool;

    /// Starts to count `config` in `slot`.
    ///
    /// # Errors
    /// [`NotCounted`] if it cannot be done now.
    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted>;

    /// Stops counting in `slot`.
    fn stop(&mut self, slot: usize);

    /// The counts in `slot` since it was started or last taken.
    fn take(&mut self, slot: usize) -> u64;

    /// Prepares for an overflow in `slot` after `distance` more counts.
    fn arm(&mut self, slot: usize, distance: u64) -> Wake;
}
