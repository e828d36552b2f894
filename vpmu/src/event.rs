// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Event selects: the bits a guest writes, and what they ask to be counted.
//!
//! SDM volume 3B, chapter "Performance Monitoring", "Architectural Performance Monitoring Version 1
//! Facilities", figure "Layout of IA32_PERFEVTSELx MSRs"; the events are those of table "UMask and
//! Event Select Encodings for Pre-Defined Architectural Performance Events".

/// The value of an IA32_PERFEVTSELx register.
///
/// Bits 7:0 are the event select, 15:8 the unit mask, 31:24 the counter mask; the others have
/// constants here. Which are reserved depends on the model (P03 of
/// [`registers`](crate::registers)); this type takes any value.
///
/// ```
/// use vpmu::{Event, EventSelect};
///
/// let select = EventSelect(EventSelect::EN | EventSelect::USR | EventSelect::OS | 0x013C);
/// assert!(select.enabled() && !select.interrupts());
/// let config = select.decode();
/// assert_eq!(config.event, Event::RefCycles);
/// assert!(config.usr && config.os && config.cmask == 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EventSelect(pub u64);

/// What to count: an [`EventSelect`] taken apart, without its enable, interrupt and pin-control
/// bits.
///
/// ```
/// use vpmu::EventSelect;
///
/// let enabled = EventSelect(0x53_003C);
/// let disabled = EventSelect(0x13_003C);
/// assert_eq!(enabled.decode(), disabled.decode());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventConfig {
    /// The event.
    pub event: Event,
    /// Count at CPL 1, 2 and 3.
    pub usr: bool,
    /// Count at CPL 0.
    pub os: bool,
    /// Count rising edges of the condition instead of cycles in it.
    pub edge: bool,
    /// Invert the comparison with `cmask`.
    pub invert: bool,
    /// Count a cycle when at least this many events happened in it; 0 counts the events.
    pub cmask: u8,
    /// Count on every logical processor of the core.
    pub any_thread: bool,
}

/// An event by its meaning. More will get names as sources learn to count them.
///
/// ```
/// use vpmu::{Event, EventSelect};
///
/// let instructions = EventSelect(0xC0).decode().event;
/// assert_eq!(instructions, Event::Other { select: 0xC0, umask: 0 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// Unhalted core cycles (event 3CH, umask 00H).
    CoreCycles,
    /// Unhalted reference cycles (event 3CH, umask 01H).
    RefCycles,
    /// Anything else.
    Other {
        /// The event select field.
        select: u8,
        /// The unit mask field.
        umask: u8,
    },
}

impl EventSelect {
    /// Bit 16: count at CPL 1, 2 and 3.
    pub const USR: u64 = 1 << 16;
    /// Bit 17: count at CPL 0.
    pub const OS: u64 = 1 << 17;
    /// Bit 18: count rising edges of the condition.
    pub const EDGE: u64 = 1 << 18;
    /// Bit 19: pin control: toggle the PMi pins on each event instead of on overflow.
    pub const PIN_CONTROL: u64 = 1 << 19;
    /// Bit 20: interrupt through the local APIC on overflow, the PMI.
    pub const INT: u64 = 1 << 20;
    /// Bit 21: count on every logical processor of the core. From version 3 on; reserved before.
    pub const ANY_THREAD: u64 = 1 << 21;
    /// Bit 22: enable the counter.
    pub const EN: u64 = 1 << 22;
    /// Bit 23: invert the comparison with the counter mask.
    pub const INV: u64 = 1 << 23;
    /// Bits 31:24: counter mask.
    pub const CMASK: u64 = 0xFF << 24;

    /// Whether the enable bit is set.
    pub const fn enabled(self) -> bool {
        self.0 & Self::EN != 0
    }

    /// Whether an overflow asks for a PMI.
    pub const fn interrupts(self) -> bool {
        self.0 & Self::INT != 0
    }

    /// The bits that decide what is counted: all but enable, interrupt and pin control.
    pub const fn what(self) -> Self {
        Self(self.0 & !(Self::EN | Self::INT | Self::PIN_CONTROL))
    }

    /// What is to be counted.
    pub const fn decode(self) -> EventConfig {
        let [select, umask, _, cmask, ..] = self.0.to_le_bytes();
        let event = match (select, umask) {
            (0x3C, 0) => Event::CoreCycles,
            (0x3C, 1) => Event::RefCycles,
            (select, umask) => Event::Other { select, umask },
        };
        EventConfig {
            event,
            usr: self.0 & Self::USR != 0,
            os: self.0 & Self::OS != 0,
            edge: self.0 & Self::EDGE != 0,
            invert: self.0 & Self::INV != 0,
            cmask,
            any_thread: self.0 & Self::ANY_THREAD != 0,
        }
    }
}
