// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Host time, as the VMM hands it in.

/// A moment or a span of host time in nanoseconds.
///
/// As a moment it is a reading of one monotonic host clock, whose zero is the VMM's choice; the
/// PMU only compares and adds. It has no clock of its own.
///
/// ```
/// use vpmu::Nanos;
///
/// let start = Nanos(5_000);
/// assert_eq!(start.saturating_add(Nanos::from_micros(100)), Nanos(105_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Nanos(pub u64);

impl Nanos {
    /// A span of `micros` microseconds; the longest span there is (some 584 years) if that is more.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// The moment `span` after this one, or the last one there is.
    pub const fn saturating_add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long after `earlier` this moment is; nothing if it is not after it. As well the moment
    /// that is a span `earlier` before this one, or the first one there is.
    pub const fn saturating_sub(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}
