// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Event selects: the bits a guest writes, and what they ask to be counted.
//!
//! SDM volume 3B, chapter "Performance Monitoring", "Architectural Performance Monitoring Version 1
//! Facilities", figure "Layout of IA32_PERFEVTSELx MSRs"; the events are those of table "UMask and
//! Event Select Encodings for Pre-Defined Architectural Performance Events".

use core::fmt;
use core::str::FromStr;

use crate::Vendor;

/// The value of an IA32_PERFEVTSELx, or of AMD's PerfEvtSeln or PERF_CTLn.
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

/// An event by its meaning: Intel's architectural events, those of AMD's core that mean the same or
/// have been the same since the K7, one of the perf port's, and all others by their numbers.
///
/// ```
/// use vpmu::{Event, EventSelect, Vendor};
///
/// assert_eq!(EventSelect(0x003C).decode_for(Vendor::Intel).event, Event::CoreCycles);
/// assert_eq!(EventSelect(0x0076).decode_for(Vendor::Amd).event, Event::CoreCycles);
/// let other = Event::Other { select: 0x187, umask: 1 };
/// assert_eq!(EventSelect(0x1_0000_0187).decode_for(Vendor::Amd).event, other);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// Unhalted core cycles (Intel 3CH, umask 00H; AMD 76H, cycles not in halt).
    CoreCycles,
    /// Instructions retired (Intel C0H, umask 00H; AMD C0H).
    Instructions,
    /// Unhalted reference cycles (Intel 3CH, umask 01H).
    RefCycles,
    /// References to the last-level cache (Intel 2EH, umask 4FH).
    LlcReferences,
    /// Misses of the last-level cache (Intel 2EH, umask 41H).
    LlcMisses,
    /// Branch instructions retired (Intel C4H, umask 00H; AMD C2H).
    Branches,
    /// Mispredicted branch instructions retired (Intel C5H, umask 00H; AMD C3H).
    BranchMisses,
    /// Micro-operations retired (AMD C1H).
    MicroOps,
    /// Taken branch instructions retired (AMD C4H).
    TakenBranches,
    /// Stores of the guest's to the tick page of the perf port, each of which is an exit. No counter
    /// of a guest's PMU can be programmed with it: no event select of any vendor's asks for it.
    PortTick,
    /// Anything else.
    Other {
        /// The event select field: 8 bits of Intel's, 12 of AMD's.
        select: u16,
        /// The unit mask field.
        umask: u8,
    },
}

/// No event has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("No event has this name: there are {}", Names)]
pub struct UnknownEvent;

/// All names, for a message.
struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (_, name)) in Event::NAMED.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

/// By its short name.
///
/// ```
/// use vpmu::Event;
///
/// assert_eq!("ref-cycles".parse(), Ok(Event::RefCycles));
/// let unknown = "cycels".parse::<Event>().unwrap_err();
/// assert!(unknown.to_string().starts_with("No event has this name: there are cycles, "));
/// ```
impl FromStr for Event {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, UnknownEvent> {
        let mut named = Self::NAMED.iter();
        let found = named.find(|(_, known)| *known == name);
        found.map(|(event, _)| *event).ok_or(UnknownEvent)
    }
}

impl Event {
    /// The events that have a short name, as `perf list` has it, or alike.
    pub const NAMED: [(Self, &'static str); 10] = [
        (Self::CoreCycles, "cycles"),
        (Self::Instructions, "instructions"),
        (Self::RefCycles, "ref-cycles"),
        (Self::LlcReferences, "cache-references"),
        (Self::LlcMisses, "cache-misses"),
        (Self::Branches, "branches"),
        (Self::BranchMisses, "branch-misses"),
        (Self::MicroOps, "micro-ops"),
        (Self::TakenBranches, "taken-branches"),
        (Self::PortTick, "port.tick"),
    ];

    /// Its short name, if it has one.
    pub fn name(self) -> Option<&'static str> {
        let mut named = Self::NAMED.iter();
        let found = named.find(|(event, _)| *event == self);
        found.map(|(_, name)| *name)
    }

    /// Intel's architectural events in the order of their bits in CPUID.0AH:EBX (SDM volume 2A,
    /// CPUID, leaf 0AH).
    pub const ARCHITECTURAL: [Self; 7] = [
        Self::CoreCycles,
        Self::Instructions,
        Self::RefCycles,
        Self::LlcReferences,
        Self::LlcMisses,
        Self::Branches,
        Self::BranchMisses,
    ];

    /// The events of Intel's fixed-function counters 0 to 2 (SDM volume 3B, "Association of
    /// Fixed-Function Performance Counters with Architectural Performance Events").
    pub const FIXED: [Self; 3] = [Self::Instructions, Self::CoreCycles, Self::RefCycles];

    const fn intel(select: u8, umask: u8) -> Self {
        match (select, umask) {
            (0x3C, 0x00) => Self::CoreCycles,
            (0xC0, 0x00) => Self::Instructions,
            (0x3C, 0x01) => Self::RefCycles,
            (0x2E, 0x4F) => Self::LlcReferences,
            (0x2E, 0x41) => Self::LlcMisses,
            (0xC4, 0x00) => Self::Branches,
            (0xC5, 0x00) => Self::BranchMisses,
            (select, umask) => Self::Other {
                select: select as u16,
                umask,
            },
        }
    }

    const fn amd(select: u16, umask: u8) -> Self {
        match (select, umask) {
            (0x76, 0) => Self::CoreCycles,
            (0xC0, 0) => Self::Instructions,
            (0xC1, 0) => Self::MicroOps,
            (0xC2, 0) => Self::Branches,
            (0xC3, 0) => Self::BranchMisses,
            (0xC4, 0) => Self::TakenBranches,
            (select, umask) => Self::Other { select, umask },
        }
    }
}

impl EventConfig {
    /// `event` at every privilege level, each occurrence once.
    pub const fn everywhere(event: Event) -> Self {
        Self {
            event,
            usr: true,
            os: true,
            edge: false,
            invert: false,
            cmask: 0,
            any_thread: false,
        }
    }
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

    /// What is to be counted, if it is Intel's select.
    pub const fn decode(self) -> EventConfig {
        self.decode_for(Vendor::Intel)
    }

    /// The number of the event: 8 bits of Intel's; AMD's has four more, bits 35:32.
    pub const fn event_number(self, vendor: Vendor) -> u16 {
        let [low, ..] = self.0.to_le_bytes();
        match vendor {
            Vendor::Intel => low as u16,
            Vendor::Amd => low as u16 | ((self.0 >> 32 & 0xF) as u16) << 8,
        }
    }

    /// The unit mask.
    pub const fn umask(self) -> u8 {
        self.0.to_le_bytes()[1]
    }

    /// What is to be counted, if it is a select of this vendor's.
    pub const fn decode_for(self, vendor: Vendor) -> EventConfig {
        let [select, umask, _, cmask, ..] = self.0.to_le_bytes();
        let event = match vendor {
            Vendor::Intel => Event::intel(select, umask),
            Vendor::Amd => Event::amd(self.event_number(vendor), umask),
        };
        EventConfig {
            event,
            usr: self.0 & Self::USR != 0,
            os: self.0 & Self::OS != 0,
            edge: self.0 & Self::EDGE != 0,
            invert: self.0 & Self::INV != 0,
            cmask,
            any_thread: matches!(vendor, Vendor::Intel) && self.0 & Self::ANY_THREAD != 0,
        }
    }
}
