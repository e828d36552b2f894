// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a command returns.

use crate::Errno;
use crate::page::OUTS;

/// The RESULT of a command: its value, which is below 2^63, or the negative errno.
///
/// ```
/// use perf_port::{Errno, decode_result, encode_result};
///
/// assert_eq!(encode_result(Ok(7)), 7);
/// assert_eq!(encode_result(Err(Errno::Invalid)), -22);
/// assert_eq!(decode_result(-22), Err(Errno::Invalid));
/// ```
pub fn encode_result(result: Result<u64, Errno>) -> i64 {
    match result {
        Ok(value) => i64::try_from(value).unwrap_or(i64::MAX),
        Err(errno) => -i64::from(errno.number()),
    }
}

/// What a RESULT says. A negative number that is no errno is [`Errno::Other`] of 65535.
pub fn decode_result(result: i64) -> Result<u64, Errno> {
    u64::try_from(result).map_err(|_| {
        let number = u16::try_from(result.unsigned_abs()).unwrap_or(u16::MAX);
        Errno::from_number(number)
    })
}

/// Where an event is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventState {
    /// Its task has exited or executed another program, or its vCPU went away: it never counts again.
    #[default]
    Exit,
    /// Pinned, and found no counter.
    Error,
    /// Disabled.
    Off,
    /// Wants to count, and is on no counter now.
    Inactive,
    /// On a counter.
    Active,
}

impl EventState {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Exit,
        Self::Error,
        Self::Off,
        Self::Inactive,
        Self::Active,
    ];

    /// Its number.
    pub const fn number(self) -> u64 {
        self as u64
    }

    /// The state of that number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }
}

/// What READ returns.
///
/// RESULT is 0; or 1, "end of file", while the event is in the error state: then only its state is
/// there.
///
/// ```
/// use perf_port::{EventState, Reading};
///
/// let reading = Reading { count: 100, state: EventState::Active, ..Reading::default() };
/// assert_eq!(Reading::from_words(reading.words()), Some(reading));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Counts, with those of inherited events; wraps at 2^64.
    pub count: u64,
    /// How long it wanted to count while its task ran, in nanoseconds.
    pub enabled: u64,
    /// How long of that it was on a counter, in nanoseconds.
    pub running: u64,
    /// Overflows, without those of inherited events.
    pub overflows: u64,
    /// Where it is in its life.
    pub state: EventState,
    /// How often an overflow was held back.
    pub throttled: u64,
}

impl Reading {
    /// Its words, from OUT on.
    pub const fn words(self) -> [u64; OUTS] {
        [
            self.count,
            self.enabled,
            self.running,
            self.overflows,
            self.state.number(),
            self.throttled,
        ]
    }

    /// The reading of these words, if the state is known.
    pub fn from_words(words: [u64; OUTS]) -> Option<Self> {
        let [count, enabled, running, overflows, state, throttled] = words;
        Some(Self {
            count,
            enabled,
            running,
            overflows,
            state: EventState::from_number(state)?,
            throttled,
        })
    }
}

/// What TRAPS returns: what became of the overflows of an event that traps, those of inherited events
/// included.
///
/// At any time `overflows = queued + merged + refused` and `queued = sent + dropped + pending`, except
/// that overflows on other vCPUs may be counted between two words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrapTotals {
    /// Overflows that queued a trap.
    pub queued: u64,
    /// Overflows that found a trap of their event on its way.
    pub merged: u64,
    /// Overflows found by an exit, after it closed the queue.
    pub refused: u64,
    /// Traps that were handed over.
    pub sent: u64,
    /// Traps whose task exited first.
    pub dropped: u64,
    /// Traps on their way.
    pub pending: u64,
}

impl TrapTotals {
    /// Its words, from OUT on.
    pub const fn words(self) -> [u64; OUTS] {
        [
            self.queued,
            self.merged,
            self.refused,
            self.sent,
            self.dropped,
            self.pending,
        ]
    }

    /// The totals of these words.
    pub const fn from_words(
        [queued, merged, refused, sent, dropped, pending]: [u64; OUTS],
    ) -> Self {
        Self {
            queued,
            merged,
            refused,
            sent,
            dropped,
            pending,
        }
    }
}
