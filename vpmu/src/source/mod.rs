// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What counts: the trait, and the sources that implement it.
//!
//! The registers say what the guest sees; a source says how often something happened. Between them
//! lie numbered *slots*, one for each counter that can run: the registers start, take and stop
//! them, and never run one slot for two counters.
//!
//! # What a source promises
//!
//! - **S1** A slot counts from [`start`](CounterSource::start) to [`stop`](CounterSource::stop), and
//!   only while the vCPU executes guest code. Slots do not affect each other.
//! - **S2** [`take`](CounterSource::take) returns what was counted since the start or the last take:
//!   over time every event once, none twice, none made up, and never a negative amount, whatever
//!   the clock or the host counter behind it does.
//! - **S3** A slot that is not running takes 0. Stopping one, or starting one anew, drops what was
//!   not taken. A slot of [`MAX_SLOTS`] or above never runs.
//! - **S4** [`supports`](CounterSource::supports) is the whole truth: `true` means that exactly
//!   `config` can be counted, privilege levels, edge, inversion and counter mask included. A
//!   counter never lies: what cannot be counted is not approximated. Its answer does not change
//!   over time; what only fails now fails in `start`.
//! - **S5** [`arm`](CounterSource::arm) may be forgotten on the next take or stop of the slot, and
//!   changes no count. It is called before each entry to the guest in which the slot can overflow,
//!   after the slot was taken and before the guest runs on, so it is cheap when the distance only
//!   shrank by what was taken. A wake-up may come for nothing; it does not stay out.
//! - **S6** Nothing here blocks or allocates; all of it runs between exit and entry, on the vCPU's
//!   thread.
//!
//! # Kinds of source
//!
//! A source that can only be read, such as a clock, is armed by answering how many guest cycles may
//! pass: the VMM kicks the vCPU, some skid later the overflow is found. One that notices overflows
//! itself answers [`Wake::BySource`]: a host counter with a period signals the thread; a CPU that
//! retires instructions one by one stops in front of the very next one, without skid. Such a CPU
//! needs nothing else of this trait: it counts between two instructions, learns in
//! [`arm`](CounterSource::arm) in front of which one to stop, and comes back to the registers there
//! (`tests/sources/exact.rs` has a small one, and holds it to a skid of 0). A scheduler
//! that multiplexes many events onto few counters is a source as well: its `start` asks for a slot
//! there. So is one that counts a few events itself and leaves the others to another source, such as
//! [`TickSource`](tick::TickSource): a slot is its own or the other's, by what it counts.

use crate::EventConfig;

pub mod clock;
#[cfg(feature = "host")]
pub mod host;
pub mod script;
pub mod tick;

/// The source cannot count this event, at least not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The source cannot count this event")]
pub struct NotCounted;

/// How a vCPU comes back in time for an overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The VMM has to kick the vCPU after this many unhalted guest cycles (at least 1). If counts
    /// come slower than cycles, it is kicked again.
    InCycles(u64),
    /// The source makes the vCPU leave the guest itself.
    BySource,
}

/// How many slots a source may be asked for: slots are `0..MAX_SLOTS`.
pub const MAX_SLOTS: usize = 16;

/// Counts events of one vCPU in numbered slots. Implementations keep S1 to S6 of the
/// [module](self).
///
/// ```
/// use vpmu::source::MAX_SLOTS;
/// use vpmu::{CounterSource, EventConfig, NotCounted, Wake};
///
/// /// Counts nothing, and says so.
/// struct Nothing;
///
/// impl CounterSource for Nothing {
///     fn supports(&self, _config: &EventConfig) -> bool {
///         false
///     }
///
///     fn start(&mut self, _slot: usize, _config: &EventConfig) -> Result<(), NotCounted> {
///         Err(NotCounted)
///     }
///
///     fn stop(&mut self, _slot: usize) {}
///
///     fn take(&mut self, _slot: usize) -> u64 {
///         0
///     }
///
///     fn arm(&mut self, _slot: usize, distance: u64) -> Wake {
///         Wake::InCycles(distance)
///     }
/// }
///
/// let mut source = Nothing;
/// assert_eq!((0..MAX_SLOTS).map(|slot| source.take(slot)).sum::<u64>(), 0);
/// ```
pub trait CounterSource {
    /// The vCPU is about to enter the guest; told only while a slot runs.
    fn enter_guest(&mut self) {}

    /// The vCPU has left the guest.
    fn exit_guest(&mut self) {}

    /// Whether `config` can be counted, exactly as it says.
    fn supports(&self, config: &EventConfig) -> bool;

    /// Starts to count `config` in `slot`, from 0.
    ///
    /// # Errors
    /// [`NotCounted`] if `config` is not supported, if there is no such slot, or if it cannot be
    /// counted now. The slot is stopped then.
    fn start(&mut self, slot: usize, config: &EventConfig) -> Result<(), NotCounted>;

    /// Stops counting in `slot`. What was not taken is lost: take first.
    fn stop(&mut self, slot: usize);

    /// Returns how many events `slot` counted since it was started or last taken.
    fn take(&mut self, slot: usize) -> u64;

    /// Prepares for an overflow in `slot` when `distance` more events (at least 1) were counted,
    /// and says how the vCPU comes back then.
    fn arm(&mut self, slot: usize, distance: u64) -> Wake;
}
