// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From what a guest wants counted to what Linux is asked for.

use core::arch::x86_64::__cpuid;

use perf_event_open_sys::bindings::{
    PERF_COUNT_HW_BRANCH_INSTRUCTIONS, PERF_COUNT_HW_BRANCH_MISSES, PERF_COUNT_HW_CACHE_MISSES,
    PERF_COUNT_HW_CACHE_REFERENCES, PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_HW_INSTRUCTIONS,
    PERF_COUNT_HW_REF_CPU_CYCLES, PERF_COUNT_SW_PAGE_FAULTS, PERF_COUNT_SW_TASK_CLOCK,
    PERF_TYPE_HARDWARE, PERF_TYPE_RAW, PERF_TYPE_SOFTWARE,
};

use crate::{Event, EventConfig, Vendor};

/// Where the modifiers are in the raw config of either vendor.
const EDGE: u64 = 1 << 18;
const INV: u64 = 1 << 23;
const CMASK_SHIFT: u32 = 24;

/// The event select of what stands for software events.
const SOFTWARE_SELECT: u16 = 0xFF;

/// [`HostSource::TASK_CLOCK`](super::HostSource::TASK_CLOCK).
pub(super) const TASK_CLOCK: Event = Event::Other {
    select: SOFTWARE_SELECT,
    umask: 1,
};

/// [`HostSource::PAGE_FAULTS`](super::HostSource::PAGE_FAULTS).
pub(super) const PAGE_FAULTS: Event = Event::Other {
    select: SOFTWARE_SELECT,
    umask: 2,
};

/// The part of `perf_event_attr` in which our events differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) kind: u32,
    pub(super) config: u64,
    pub(super) usr: bool,
    pub(super) os: bool,
    /// Count only while the CPU is in a guest.
    pub(super) guest_only: bool,
}

/// Whose CPU this is, if it is of a vendor we know.
pub(super) fn host_vendor() -> Option<Vendor> {
    let leaf = __cpuid(0);
    let mut name = [0; 12];
    let registers = [leaf.ebx, leaf.edx, leaf.ecx];
    for (bytes, register) in name.chunks_exact_mut(4).zip(registers) {
        bytes.copy_from_slice(&register.to_le_bytes());
    }
    match &name {
        b"GenuineIntel" => Some(Vendor::Intel),
        // Hygon's are AMD's design.
        b"AuthenticAMD" | b"HygonGenuine" => Some(Vendor::Amd),
        _ => None,
    }
}

/// What a `host` CPU is asked to count for a guest whose PMU is of `guest`; `None` if it has nothing
/// that means the same.
pub(super) fn hardware(
    config: &EventConfig,
    guest: Vendor,
    host: Option<Vendor>,
) -> Option<Request> {
    if config.any_thread {
        return None;
    }
    let plain = !config.edge && !config.invert && config.cmask == 0;
    let (kind, number) = match generalized(config.event, host) {
        Some(number) if plain => (PERF_TYPE_HARDWARE, u64::from(number)),
        _ => (PERF_TYPE_RAW, raw(config, guest, host?)?),
    };
    Some(Request {
        kind,
        config: number,
        usr: config.usr,
        os: config.os,
        guest_only: true,
    })
}

/// The same by the event's number in the manual of `host`, even if it has a name.
pub(super) fn by_number(config: &EventConfig, host: Vendor) -> Option<Request> {
    Some(Request {
        kind: PERF_TYPE_RAW,
        config: raw(config, host, host)?,
        ..hardware(config, host, Some(host))?
    })
}

/// What is counted by Linux itself. `kernel`: it lets this program count its kernel.
pub(super) fn software(config: &EventConfig, kernel: bool) -> Option<Request> {
    let plain = !config.edge && !config.invert && config.cmask == 0 && !config.any_thread;
    let (number, os) = match config.event {
        // A clock runs at every level, whatever it is told to exclude. But an overflow that finds
        // the CPU at an excluded one is dropped, and for Linux that is where a guest is: whoever may
        // not count the kernel is not told of overflows in guests.
        TASK_CLOCK if config.usr && config.os => (PERF_COUNT_SW_TASK_CLOCK, kernel),
        PAGE_FAULTS if kernel || !config.os => (PERF_COUNT_SW_PAGE_FAULTS, config.os),
        _ => return None,
    };
    plain.then_some(Request {
        kind: PERF_TYPE_SOFTWARE,
        config: number.into(),
        usr: config.usr,
        os,
        guest_only: false,
    })
}

/// The name that Linux has for `event` on every CPU.
const fn generalized(event: Event, host: Option<Vendor>) -> Option<u32> {
    Some(match event {
        Event::CoreCycles => PERF_COUNT_HW_CPU_CYCLES,
        Event::Instructions => PERF_COUNT_HW_INSTRUCTIONS,
        // At the rate of the TSC, as the fixed-function counter does.
        Event::RefCycles => PERF_COUNT_HW_REF_CPU_CYCLES,
        Event::Branches => PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
        Event::BranchMisses => PERF_COUNT_HW_BRANCH_MISSES,
        // On AMD's, what has these names is about the second level.
        Event::LlcReferences if matches!(host, Some(Vendor::Intel)) => {
            PERF_COUNT_HW_CACHE_REFERENCES
        }
        Event::LlcMisses if matches!(host, Some(Vendor::Intel)) => PERF_COUNT_HW_CACHE_MISSES,
        _ => return None,
    })
}

/// The raw config that means the same on a `host` CPU.
fn raw(config: &EventConfig, guest: Vendor, host: Vendor) -> Option<u64> {
    let (select, umask) = match (config.event, host) {
        // Numbers mean something only on the CPU whose manual they are from.
        (Event::Other { .. }, _) if guest != host => return None,
        (Event::Other { select, umask }, _) => (select, umask),
        (Event::CoreCycles, Vendor::Intel) => (0x3C, 0x00),
        (Event::RefCycles, Vendor::Intel) => (0x3C, 0x01),
        (Event::Instructions, _) => (0xC0, 0x00),
        (Event::LlcReferences, Vendor::Intel) => (0x2E, 0x4F),
        (Event::LlcMisses, Vendor::Intel) => (0x2E, 0x41),
        (Event::Branches, Vendor::Intel) => (0xC4, 0x00),
        (Event::BranchMisses, Vendor::Intel) => (0xC5, 0x00),
        (Event::CoreCycles, Vendor::Amd) => (0x76, 0x00),
        (Event::MicroOps, Vendor::Amd) => (0xC1, 0x00),
        (Event::Branches, Vendor::Amd) => (0xC2, 0x00),
        (Event::BranchMisses, Vendor::Amd) => (0xC3, 0x00),
        (Event::TakenBranches, Vendor::Amd) => (0xC4, 0x00),
        _ => return None,
    };
    let [low, high] = select.to_le_bytes();
    let mut number = u64::from(low) | u64::from(umask) << 8 | u64::from(high) << 32;
    number |= u64::from(config.cmask) << CMASK_SHIFT;
    if config.edge {
        number |= EDGE;
    }
    if config.invert {
        number |= INV;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventSelect;
    use std::vec::Vec;

    fn asked(select: u64, guest: Vendor, host: Vendor) -> Option<(u32, u64)> {
        let config = EventSelect(select).decode_for(guest);
        hardware(&config, guest, Some(host)).map(|request| (request.kind, request.config))
    }

    #[test]
    fn an_event_is_asked_for_by_its_meaning() {
        use Vendor::{Amd, Intel};
        let named = |number: u32| Some((PERF_TYPE_HARDWARE, u64::from(number)));
        let raw = |number: u64| Some((PERF_TYPE_RAW, number));
        for (select, guest, host, expected) in [
            (0x3_003C, Intel, Intel, named(PERF_COUNT_HW_CPU_CYCLES)),
            (0x3_003C, Intel, Amd, named(PERF_COUNT_HW_CPU_CYCLES)),
            (0x3_0076, Amd, Intel, named(PERF_COUNT_HW_CPU_CYCLES)),
            (0x3_00C0, Amd, Amd, named(PERF_COUNT_HW_INSTRUCTIONS)),
            (0x3_013C, Intel, Intel, named(PERF_COUNT_HW_REF_CPU_CYCLES)),
            (
                0x3_00C4,
                Intel,
                Amd,
                named(PERF_COUNT_HW_BRANCH_INSTRUCTIONS),
            ),
            (0x3_00C3, Amd, Intel, named(PERF_COUNT_HW_BRANCH_MISSES)),
            (
                0x3_4F2E,
                Intel,
                Intel,
                named(PERF_COUNT_HW_CACHE_REFERENCES),
            ),
            (0x3_412E, Intel, Intel, named(PERF_COUNT_HW_CACHE_MISSES)),
            (0x3_4F2E, Intel, Amd, None),
            (0x3_412E, Intel, Amd, None),
            // Taken branches and micro-operations: AMD's alone.
            (0x3_00C4, Amd, Amd, raw(0xC4)),
            (0x3_00C1, Amd, Amd, raw(0xC1)),
            (0x3_00C4, Amd, Intel, None),
            // Modifiers, by the host's numbers.
            (0x27_003C, Intel, Intel, None),
            (0x3_003C | 3 << 24, Intel, Intel, raw(0x0300_003C)),
            (0x3_003C | 3 << 24, Intel, Amd, raw(0x0300_0076)),
            (0x87_00C0 | 1 << 24, Intel, Amd, raw(0x0184_00C0)),
            // Other events: by their numbers, on the same vendor's CPU only.
            (0x3_0187, Intel, Intel, raw(0x187)),
            (0x3_0187, Intel, Amd, None),
            (0x1_0003_04AE, Amd, Amd, raw(0x1_0000_04AE)),
            (0x1_0003_04AE, Amd, Intel, None),
        ] {
            assert_eq!(
                asked(select, guest, host),
                expected,
                "{select:#x} of {guest} on {host}"
            );
        }
    }

    #[test]
    fn an_unknown_cpu_is_asked_by_name_alone() {
        let unknown = |select| hardware(&EventSelect(select).decode(), Vendor::Intel, None);
        assert!(unknown(0x3_00C0).is_some());
        for select in [0x7_00C0, 0x3_0187, 0x3_412E] {
            assert_eq!(unknown(select), None, "{select:#x}");
        }
    }

    #[test]
    fn privilege_levels_are_passed_on_and_only_the_guest_is_counted() {
        for (usr, os) in [(true, true), (true, false), (false, true), (false, false)] {
            let config = EventConfig {
                usr,
                os,
                ..EventConfig::everywhere(Event::Instructions)
            };
            let request = hardware(&config, Vendor::Intel, None).unwrap();
            assert_eq!(
                (request.usr, request.os, request.guest_only),
                (usr, os, true)
            );
        }
    }

    #[test]
    fn software_events_reach_into_the_kernel_where_they_may() {
        let levels = |event, kernel| {
            let request = software(&EventConfig::everywhere(event), kernel);
            request.map(|request| (request.usr, request.os))
        };
        assert_eq!(levels(TASK_CLOCK, true), Some((true, true)));
        assert_eq!(levels(TASK_CLOCK, false), Some((true, false)));
        assert_eq!(levels(PAGE_FAULTS, true), Some((true, true)));
        assert_eq!(levels(PAGE_FAULTS, false), None);
    }

    #[test]
    fn software_events_are_those_two_unmodified() {
        let everywhere = EventConfig::everywhere;
        let events: Vec<_> = [TASK_CLOCK, PAGE_FAULTS]
            .map(|event| software(&everywhere(event), true).map(|request| request.config))
            .to_vec();
        assert_eq!(
            events,
            [
                Some(PERF_COUNT_SW_TASK_CLOCK.into()),
                Some(PERF_COUNT_SW_PAGE_FAULTS.into())
            ]
        );
        assert_eq!(software(&everywhere(Event::CoreCycles), true), None);
        let changes: [fn(&mut EventConfig); 4] = [
            |config| config.edge = true,
            |config| config.invert = true,
            |config| config.cmask = 1,
            |config| config.any_thread = true,
        ];
        for change in changes {
            let mut config = everywhere(PAGE_FAULTS);
            change(&mut config);
            assert_eq!(software(&config, true), None, "{config:?}");
        }
        for (usr, os) in [(true, false), (false, true)] {
            let level = |event| EventConfig {
                usr,
                os,
                ..everywhere(event)
            };
            assert_eq!(
                software(&level(TASK_CLOCK), true),
                None,
                "a clock knows no levels"
            );
            let faults = software(&level(PAGE_FAULTS), true).unwrap();
            assert_eq!((faults.usr, faults.os), (usr, os));
        }
    }
}
