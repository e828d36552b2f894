// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Event filters as text, to be kept in a file.
//!
//! One statement a line; `#` begins a comment. The first statement is `allow` or `deny`, and says
//! what becomes of the events that the others list, in any order:
//!
//! | Statement | Lists |
//! |---|---|
//! | `event NUMBER umask VALUE` | one event |
//! | `event NUMBER umask VALUE/MASK` | its unit masks of which the bits in MASK are as in VALUE |
//! | `event NUMBER umask any` | all its unit masks |
//! | `except NUMBER umask ...` | takes those off the list again |
//! | `fixed NUMBER...` | fixed-function counters |
//!
//! Numbers are decimal, or hexadecimal behind `0x`.

use alloc::vec::Vec;
use core::str::{FromStr, SplitWhitespace};

use super::{EventFilter, FilterAction, FilterEntry, FilterError};

/// Why a text is no event filter: in which line, counted from 1, and what to write there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterTextError {
    /// It does not say first what it does.
    #[error("Line {line}: An event filter begins with a line `allow` or a line `deny`")]
    NoAction {
        /// The line.
        line: usize,
    },
    /// It says twice what it does.
    #[error("Line {line}: Only one line can be `allow` or `deny`: remove this one")]
    SecondAction {
        /// The line.
        line: usize,
    },
    /// There is no such statement.
    #[error(
        "Line {line}: Give `event NUMBER umask UMASK`, `except NUMBER umask UMASK` or `fixed NUMBER`"
    )]
    Statement {
        /// The line.
        line: usize,
    },
    /// This is no event's number.
    #[error("Line {line}: Event numbers are 0 to 0xFFF")]
    Number {
        /// The line.
        line: usize,
    },
    /// This is no unit mask.
    #[error("Line {line}: Give `umask VALUE`, `umask VALUE/MASK` (0 to 0xFF) or `umask any`")]
    Umask {
        /// The line.
        line: usize,
    },
    /// Nothing can match this.
    #[error("Line {line}: No unit mask is like this: VALUE has a bit that MASK has not")]
    Never {
        /// The line.
        line: usize,
    },
    /// This is no fixed-function counter.
    #[error("Line {line}: Give the numbers of fixed-function counters, 0 to 31")]
    Fixed {
        /// The line.
        line: usize,
    },
    /// This entry is one too many.
    #[error(
        "Line {line}: {}: merge some by `umask VALUE/MASK`",
        FilterError::TooManyEntries
    )]
    TooManyEntries {
        /// The line.
        line: usize,
    },
}

/// Reads the form of a filter's file.
///
/// ```
/// use vpmu::{EventFilter, EventSelect, Vendor};
///
/// let filter: EventFilter = "\
/// allow
/// event 0xC0 umask 0          # instructions
/// event 0xD0 umask any        # loads and stores,
/// except 0xD0 umask 0x80/0xF0 # but not these
/// fixed 0 1
/// "
/// .parse()?;
/// assert!(filter.allows_select(Vendor::Intel, EventSelect(0x53_41D0)));
/// assert!(!filter.allows_select(Vendor::Intel, EventSelect(0x53_81D0)));
/// assert!(filter.allows_fixed(1) && !filter.allows_fixed(2));
///
/// let error = "allow\nevent 0x3C".parse::<EventFilter>().unwrap_err();
/// assert!(error.to_string().starts_with("Line 2: Give `umask VALUE`"));
/// # Ok::<(), vpmu::FilterTextError>(())
/// ```
impl FromStr for EventFilter {
    type Err = FilterTextError;

    fn from_str(text: &str) -> Result<Self, FilterTextError> {
        let mut action = None;
        let mut entries = Vec::new();
        let mut fixed = 0;
        let mut line = 0;
        for written in text.lines() {
            line += 1;
            let statement = written.split('#').next().unwrap_or_default();
            let mut words = statement.split_whitespace();
            let Some(first) = words.next() else {
                continue;
            };
            let is_action = action_named(first).filter(|_| words.clone().next().is_none());
            if action.is_none() {
                action = Some(is_action.ok_or(FilterTextError::NoAction { line })?);
                continue;
            }
            match first {
                "event" => entries.push(entry(words, line)?),
                "except" => entries.push(entry(words, line)?.excluding()),
                "fixed" => fixed |= counters(words).ok_or(FilterTextError::Fixed { line })?,
                _ if is_action.is_some() => return Err(FilterTextError::SecondAction { line }),
                _ => return Err(FilterTextError::Statement { line }),
            }
            if entries.len() > Self::MAX_ENTRIES {
                return Err(FilterTextError::TooManyEntries { line });
            }
        }
        let action = action.ok_or(FilterTextError::NoAction { line: line.max(1) })?;
        Self::new(action, entries, fixed).map_err(|error| match error {
            FilterError::TooManyEntries => FilterTextError::TooManyEntries { line },
            FilterError::Number { .. } => FilterTextError::Number { line },
        })
    }
}

fn action_named(word: &str) -> Option<FilterAction> {
    match word {
        "allow" => Some(FilterAction::Allow),
        "deny" => Some(FilterAction::Deny),
        _ => None,
    }
}

/// What follows `event` or `except`.
fn entry(mut words: SplitWhitespace<'_>, line: usize) -> Result<FilterEntry, FilterTextError> {
    let event = words.next().and_then(number);
    let event = event
        .filter(|&event| event <= 0xFFF)
        .ok_or(FilterTextError::Number { line })?;
    let (Some("umask"), Some(umask), None) = (words.next(), words.next(), words.next()) else {
        return Err(FilterTextError::Umask { line });
    };
    if umask == "any" {
        return Ok(FilterEntry::masked(event, 0, 0));
    }
    let (value, mask) = umask.split_once('/').unwrap_or((umask, "0xFF"));
    let byte = |word| number(word).and_then(|number| u8::try_from(number).ok());
    let (Some(value), Some(mask)) = (byte(value), byte(mask)) else {
        return Err(FilterTextError::Umask { line });
    };
    if value & !mask != 0 {
        return Err(FilterTextError::Never { line });
    }
    Ok(FilterEntry::masked(event, mask, value))
}

/// What follows `fixed`: a bit for each counter.
fn counters(words: SplitWhitespace<'_>) -> Option<u32> {
    let bits = words.map(|word| 1_u32.checked_shl(number(word)?.into()));
    let bits = bits.collect::<Option<Vec<_>>>()?;
    bits.into_iter().reduce(|all, bit| all | bit)
}

fn number(word: &str) -> Option<u16> {
    let (digits, radix) = match word.strip_prefix("0x").or(word.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (word, 10),
    };
    // What the library takes beside digits is a sign.
    if digits.starts_with('+') {
        return None;
    }
    u16::from_str_radix(digits, radix).ok()
}
