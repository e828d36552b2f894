// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a model is put together, and why it may be refused.

use super::{PmuKind, PmuModel};

/// Why a PMU model was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No model has this name.
    #[error(
        "Unknown PMU model (known: amd-k7, amd-core, amd-v2, intel-v1, intel-v2, intel-v3, intel-v4, \
         intel-v5)"
    )]
    Unknown,
    /// What follows the name makes no sense.
    #[error("A PMU model is NAME[,counters=N][,fixed=N][,width=N][,full-width=on|off]")]
    Syntax,
    /// There cannot be so many general-purpose counters.
    #[error("{kind} has {min} to {max} general-purpose counters, not {given}")]
    Counters {
        /// The kind that was asked for.
        kind: PmuKind,
        /// How many were asked for.
        given: u8,
        /// The least there can be.
        min: u8,
        /// The most there can be.
        max: u8,
    },
    /// There cannot be so many fixed-function counters.
    #[error("{kind} has {min} to {max} fixed-function counters, not {given}")]
    Fixed {
        /// The kind that was asked for.
        kind: PmuKind,
        /// How many were asked for.
        given: u8,
        /// The least there can be.
        min: u8,
        /// The most there can be.
        max: u8,
    },
    /// Counters cannot be that wide.
    #[error("{kind} has counters of {min} to {max} bits, not {given}")]
    Width {
        /// The kind that was asked for.
        kind: PmuKind,
        /// The width that was asked for, in bits.
        given: u8,
        /// The narrowest there can be, in bits.
        min: u8,
        /// The widest there can be, in bits.
        max: u8,
    },
    /// Full-width writes are Intel's.
    #[error("{kind} has no full-width writes: its counters take all their bits at any write")]
    FullWidth {
        /// The kind that was asked for.
        kind: PmuKind,
    },
}

/// A PMU model in the making: what is not said is as [`PmuModel::of`] has it.
///
/// ```
/// use vpmu::{ModelError, PmuKind, PmuModel};
///
/// let model = PmuModel::builder(PmuKind::IntelV3).counters(8).width(40).build()?;
/// assert_eq!((model.gp_counters(), model.counter_width()), (8, 40));
///
/// let wrong = PmuModel::builder(PmuKind::AmdK7).counters(5).build();
/// assert_eq!(wrong.unwrap_err().to_string(), "amd-k7 has 4 to 4 general-purpose counters, not 5");
/// # Ok::<(), ModelError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct PmuModelBuilder(PmuModel);

impl PmuModelBuilder {
    pub(super) const fn new(kind: PmuKind) -> Self {
        Self(PmuModel::of(kind))
    }

    /// So many general-purpose counters.
    pub const fn counters(mut self, counters: u8) -> Self {
        self.0.gp_counters = counters;
        self
    }

    /// So many fixed-function counters, the first ones.
    pub const fn fixed(mut self, fixed: u8) -> Self {
        self.0.fixed_counters = fixed;
        self
    }

    /// Counters of so many bits, general-purpose and fixed-function ones.
    pub const fn width(mut self, bits: u8) -> Self {
        self.0.counter_width = bits;
        self
    }

    /// Whether counters can also be written in full, by IA32_A_PMCx.
    pub const fn full_width_writes(mut self, there: bool) -> Self {
        self.0.full_width_writes = there;
        self
    }

    /// The model.
    ///
    /// # Errors
    /// What this kind of PMU cannot be like.
    pub fn build(self) -> Result<PmuModel, ModelError> {
        let model = self.0;
        let kind = model.kind;
        let limits = kind.limits();
        let beyond = |given: u8, (min, max): (u8, u8)| {
            (!(min..=max).contains(&given)).then_some((given, min, max))
        };
        if let Some((given, min, max)) = beyond(model.gp_counters, limits.counters) {
            return Err(ModelError::Counters {
                kind,
                given,
                min,
                max,
            });
        }
        if let Some((given, min, max)) = beyond(model.fixed_counters, limits.fixed) {
            return Err(ModelError::Fixed {
                kind,
                given,
                min,
                max,
            });
        }
        if let Some((given, min, max)) = beyond(model.counter_width, limits.width) {
            return Err(ModelError::Width {
                kind,
                given,
                min,
                max,
            });
        }
        if model.full_width_writes && kind.version().is_none() {
            return Err(ModelError::FullWidth { kind });
        }
        Ok(model)
    }
}
