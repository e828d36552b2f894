// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The names of counters: which one it is, in a message, in a status register, for RDPMC.

use core::fmt;

/// A counter of one vCPU's PMU, by kind and number.
///
/// Intel's general-purpose counters are IA32_PMCn, AMD's PerfCtrn; fixed-function counters
/// (IA32_FIXED_CTRn) are Intel's alone. A name says nothing about whether the counter is there.
///
/// ```
/// use vpmu::CounterId;
///
/// assert_eq!(CounterId::Gp(0).to_string(), "PMC0");
/// let fixed = CounterId::Fixed(1);
/// assert_eq!(fixed.to_string(), "FIXED_CTR1");
/// assert_eq!((fixed.slot(), fixed.status_bit()), (9, 33));
/// assert_eq!(fixed.rdpmc_index(), 0x4000_0001);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CounterId {
    /// General-purpose counter 0 to 7.
    Gp(u8),
    /// Fixed-function counter 0 to 2.
    Fixed(u8),
}

/// The slot of fixed-function counter 0; the general-purpose ones lie below.
const FIRST_FIXED_SLOT: usize = 8;

impl CounterId {
    /// The slot of the [`CounterSource`](crate::CounterSource) in which it counts, 0 to 15:
    /// general-purpose counters first, fixed-function ones from 8 on.
    pub const fn slot(self) -> usize {
        match self {
            Self::Gp(n) => n as usize,
            Self::Fixed(n) => FIRST_FIXED_SLOT + n as usize,
        }
    }

    /// The number of its bit in the global status and control registers: 32 is that of
    /// fixed-function counter 0.
    pub const fn status_bit(self) -> u32 {
        match self {
            Self::Gp(n) => n as u32,
            Self::Fixed(n) => 32 + n as u32,
        }
    }

    /// What RDPMC takes in ECX for it: bit 30 says that it is a fixed-function counter.
    pub const fn rdpmc_index(self) -> u32 {
        match self {
            Self::Gp(n) => n as u32,
            Self::Fixed(n) => 1 << 30 | n as u32,
        }
    }

    /// The counter that counts in `slot`, one of the 16.
    pub(crate) const fn of_slot(slot: usize) -> Self {
        let [n, ..] = (slot % FIRST_FIXED_SLOT).to_le_bytes();
        if slot < FIRST_FIXED_SLOT {
            Self::Gp(n)
        } else {
            Self::Fixed(n)
        }
    }
}

impl fmt::Display for CounterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gp(n) => write!(f, "PMC{n}"),
            Self::Fixed(n) => write!(f, "FIXED_CTR{n}"),
        }
    }
}
