// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The local APIC's LVT entry for the performance counters, through which PMIs go.
//!
//! SDM volume 3A, chapter "Advanced Programmable Interrupt Controller (APIC)", "Local Vector
//! Table": offset 340H of the register page, MSR 834H in x2APIC mode.

/// How a PMI reaches the CPU: the delivery mode, bits 10:8, and the vector, bits 7:0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// As this interrupt vector (16 to 255).
    Fixed(u8),
    /// As a non-maskable interrupt.
    Nmi,
    /// Not as an interrupt that a counter can raise here: the delivery mode field. 0, the fixed
    /// mode, stands for a vector below 16, which is illegal ("Interrupt Vector Assignments" and
    /// "Error Handling" there).
    Other(u8),
}

/// The value of the LVT performance monitoring counters register.
///
/// ```
/// use vpmu::{Delivery, Lvtpc};
///
/// assert_eq!(Lvtpc(0x400).delivery(), Delivery::Nmi);
/// assert_eq!(Lvtpc(0xEE).delivery(), Delivery::Fixed(0xEE));
/// assert!(Lvtpc(0xEE).with_mask().masked());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lvtpc(pub u32);

impl Lvtpc {
    /// Bit 16: no interrupt is delivered. Set after reset.
    pub const MASK: u32 = 1 << 16;

    /// Whether the entry is masked.
    pub const fn masked(self) -> bool {
        self.0 & Self::MASK != 0
    }

    /// How the entry delivers when it is not masked.
    pub const fn delivery(self) -> Delivery {
        let [vector, mode, ..] = self.0.to_le_bytes();
        match mode & 0b111 {
            0b000 if vector >= 16 => Delivery::Fixed(vector),
            0b100 => Delivery::Nmi,
            mode => Delivery::Other(mode),
        }
    }

    /// The entry with its mask bit set.
    pub const fn with_mask(self) -> Self {
        Self(self.0 | Self::MASK)
    }
}
