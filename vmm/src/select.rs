// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events and event selects in words: a short name, and the name in the vendor's manual.
//!
//! Intel SDM volume 3B, table "UMask and Event Select Encodings for Pre-Defined Architectural
//! Performance Events"; AMD's Processor Programming References, "Core Performance Monitor Counters".

use vpmu::{Event, EventConfig, EventSelect, Vendor};

/// An event that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its meaning.
    pub(crate) event: Event,
    /// Bits 15:0 of the select that asks for it: umask and event number.
    pub(crate) select: EventSelect,
    /// As `perf list` has it, or alike.
    pub(crate) name: &'static str,
    /// As the vendor's manual has it.
    manual: &'static str,
}

const fn named(event: Event, select: u64, name: &'static str, manual: &'static str) -> Named {
    Named {
        event,
        select: EventSelect(select),
        name,
        manual,
    }
}

const INTEL: [Named; 7] = [
    named(Event::CoreCycles, 0x003c, "cycles", "UnHalted Core Cycles"),
    named(
        Event::Instructions,
        0x00c0,
        "instructions",
        "Instruction Retired",
    ),
    named(
        Event::RefCycles,
        0x013c,
        "ref-cycles",
        "UnHalted Reference Cycles",
    ),
    named(
        Event::LlcReferences,
        0x4f2e,
        "cache-references",
        "LLC Reference",
    ),
    named(Event::LlcMisses, 0x412e, "cache-misses", "LLC Misses"),
    named(
        Event::Branches,
        0x00c4,
        "branches",
        "Branch Instruction Retired",
    ),
    named(
        Event::BranchMisses,
        0x00c5,
        "branch-misses",
        "Branch Misses Retired",
    ),
];

const AMD: [Named; 6] = [
    named(Event::CoreCycles, 0x76, "cycles", "Cycles Not in Halt"),
    named(
        Event::Instructions,
        0xc0,
        "instructions",
        "Retired Instructions",
    ),
    named(Event::MicroOps, 0xc1, "micro-ops", "Retired Micro-Ops"),
    named(
        Event::Branches,
        0xc2,
        "branches",
        "Retired Branch Instructions",
    ),
    named(
        Event::BranchMisses,
        0xc3,
        "branch-misses",
        "Retired Mispredicted Branch Instructions",
    ),
    named(
        Event::TakenBranches,
        0xc4,
        "taken-branches",
        "Retired Taken Branch Instructions",
    ),
];

/// An event of the perf port's, which no counter of the guest's PMU can be programmed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortEvent {
    /// Its meaning.
    pub(crate) event: Event,
    /// What it counts.
    pub(crate) what: &'static str,
}

/// The events of the perf port's, which guests have with every model: for events that the host or
/// the guest opens.
pub(crate) const PORT_EVENTS: [PortEvent; 1] = [PortEvent {
    event: Event::PortTick,
    what: "the guest's stores to the port's tick page, to the unit; by user mode and kernel mode",
}];

/// The events of this vendor's that have names.
pub(crate) const fn named_events(vendor: Vendor) -> &'static [Named] {
    match vendor {
        Vendor::Intel => &INTEL,
        Vendor::Amd => &AMD,
    }
}

/// The short name of an event; `other` without one.
pub(crate) fn name_of(event: Event) -> &'static str {
    let mut all = INTEL.iter().chain(&AMD);
    all.find(|named| named.event == event)
        .map_or("other", |named| named.name)
}

/// What a select asks for, by the vendor's names: `Instruction Retired (C0H, umask 00H) in user
/// mode`.
pub(crate) fn describe(select: EventSelect, vendor: Vendor) -> String {
    let config = select.decode_for(vendor);
    let number = select.event_number(vendor);
    let number = match vendor {
        Vendor::Intel => format!("{number:02X}H"),
        Vendor::Amd => format!("PMCx{number:03X}"),
    };
    let code = format!("{number}, umask {:02X}H", select.umask());
    let event = named_events(vendor)
        .iter()
        .find(|named| named.event == config.event);
    let event = match event {
        Some(named) => format!("{} ({code})", named.manual),
        None => code,
    };
    format!("{event}{}", conditions(&config))
}

fn conditions(config: &EventConfig) -> String {
    let mode = match (config.usr, config.os) {
        (true, true) => "",
        (true, false) => " in user mode",
        (false, true) => " in kernel mode",
        (false, false) => " in no mode",
    };
    let mut extras = Vec::new();
    if config.edge {
        extras.push("edges".to_owned());
    }
    if config.cmask != 0 {
        let inverted = if config.invert {
            "fewer than"
        } else {
            "at least"
        };
        extras.push(format!("cycles with {inverted} {}", config.cmask));
    } else if config.invert {
        extras.push("inverted".to_owned());
    }
    if config.any_thread {
        extras.push("on any thread".to_owned());
    }
    match extras.len() {
        0 => mode.to_owned(),
        _ => format!("{mode}, {}", extras.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_the_one_of_its_select() {
        for vendor in [Vendor::Intel, Vendor::Amd] {
            for named in named_events(vendor) {
                assert_eq!(named.select.decode_for(vendor).event, named.event);
                assert_eq!(name_of(named.event), named.name);
            }
        }
        for event in Event::ARCHITECTURAL {
            assert!(INTEL.iter().any(|named| named.event == event));
        }
        // What is the port's is not the registers'.
        for port in PORT_EVENTS {
            let all = INTEL.iter().chain(&AMD);
            assert!(all.clone().all(|named| named.event != port.event));
        }
        assert_eq!(
            name_of(Event::Other {
                select: 1,
                umask: 2
            }),
            "other"
        );
    }

    #[test]
    fn a_select_is_told_by_its_vendors_names() {
        for (select, vendor, text) in [
            (
                0x53_00c0,
                Vendor::Intel,
                "Instruction Retired (C0H, umask 00H)",
            ),
            (
                0x53_00c0,
                Vendor::Amd,
                "Retired Instructions (PMCx0C0, umask 00H)",
            ),
            (
                0x51_412e,
                Vendor::Intel,
                "LLC Misses (2EH, umask 41H) in user mode",
            ),
            (
                0x52_0076,
                Vendor::Amd,
                "Cycles Not in Halt (PMCx076, umask 00H) in kernel mode",
            ),
            (0x53_02b1, Vendor::Intel, "B1H, umask 02H"),
            (0x1_0053_0187, Vendor::Amd, "PMCx187, umask 01H"),
            (
                0x40_00c4,
                Vendor::Intel,
                "Branch Instruction Retired (C4H, umask 00H) in no mode",
            ),
            (
                0x0257_003c,
                Vendor::Intel,
                "UnHalted Core Cycles (3CH, umask 00H), edges, cycles with at least 2",
            ),
            (
                0x02d3_003c,
                Vendor::Intel,
                "UnHalted Core Cycles (3CH, umask 00H), cycles with fewer than 2",
            ),
            (
                0xd3_003c,
                Vendor::Intel,
                "UnHalted Core Cycles (3CH, umask 00H), inverted",
            ),
            (
                0x71_003c,
                Vendor::Intel,
                "UnHalted Core Cycles (3CH, umask 00H) in user mode, on any thread",
            ),
        ] {
            assert_eq!(describe(EventSelect(select), vendor), text, "{select:#x}");
        }
    }
}
