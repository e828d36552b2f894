// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sets of slots, so that what does not run costs nothing to pass over.

use crate::source::MAX_SLOTS;
use crate::{CounterId, PmuModel};

/// A set of slots below [`MAX_SLOTS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots(u16);

const _: () = assert!(MAX_SLOTS == u16::BITS as usize, "a bit for each slot");

impl Slots {
    /// Those of the counters that `model` has.
    pub(crate) fn of(model: PmuModel) -> Self {
        let mut slots = Self::default();
        for n in 0..model.gp_counters() {
            slots.set(n, true);
        }
        for n in model.fixed_counters() {
            slots.set(CounterId::Fixed(0).slot() + n, true);
        }
        slots
    }

    pub(crate) const fn contains(self, slot: usize) -> bool {
        self.0 >> slot & 1 != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn set(&mut self, slot: usize, there: bool) {
        self.0 = self.0 & !(1 << slot) | (there as u16) << slot;
    }

    pub(crate) const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The lowest first.
impl Iterator for Slots {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let slot = (self.0 != 0).then(|| self.0.trailing_zeros() as usize);
        self.0 &= self.0.wrapping_sub(1);
        slot
    }
}
