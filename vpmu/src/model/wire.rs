// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A model taken apart: to be shown whole, and to be serialised and judged anew on the way back.

use core::fmt;

use super::PmuModel;

/// A model with every part of it, those that are usual included.
pub(super) struct InFull(pub(super) PmuModel);

impl fmt::Display for InFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.0;
        let full_width = if model.full_width_writes { "on" } else { "off" };
        write!(
            f,
            "{},counters={},fixed={},width={},full-width={full_width} (unavailable events: {:#x})",
            model.kind,
            model.gp_counters,
            model.fixed_counters,
            model.counter_width,
            model.unavailable_events
        )
    }
}

/// What is serialised in place of a model: whoever writes one by hand gets no model that the builder
/// would refuse.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Parts {
    kind: alloc::string::String,
    counters: u8,
    fixed: u8,
    width: u8,
    full_width_writes: bool,
    unavailable_events: u8,
}

#[cfg(feature = "serde")]
impl From<PmuModel> for Parts {
    fn from(model: PmuModel) -> Self {
        Self {
            kind: model.kind.name().into(),
            counters: model.gp_counters,
            fixed: model.fixed_counters,
            width: model.counter_width,
            full_width_writes: model.full_width_writes,
            unavailable_events: model.unavailable_events,
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Parts> for PmuModel {
    type Error = super::ModelError;

    fn try_from(parts: Parts) -> Result<Self, Self::Error> {
        let model = Self::builder(parts.kind.parse()?)
            .counters(parts.counters)
            .fixed(parts.fixed)
            .width(parts.width)
            .full_width_writes(parts.full_width_writes)
            .build()?;
        let known = (1 << Self::ARCHITECTURAL_EVENTS) - 1;
        Ok(Self {
            unavailable_events: parts.unavailable_events & known,
            ..model
        })
    }
}
