// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P03: the event selects and their reserved bits.

use vpmu::msr::IA32_PERFEVTSEL0;
use vpmu::{Event, EventSelect, MsrWrite, PmuModel};

use crate::rig::{CYCLES, Rig};

#[test]
fn p03_each_bit_is_accepted_or_reserved() {
    for bit in 0..64 {
        let mut rig = Rig::new();
        rig.select(1, 0x3C);
        let value = 1 << bit;
        let reserved = bit == 21 || bit >= 32;
        let (answer, read) = if reserved {
            (MsrWrite::GeneralProtection, 0x3C)
        } else {
            (MsrWrite::Done, value)
        };
        assert_eq!(
            rig.pmu.write_msr(IA32_PERFEVTSEL0.nth(1), value),
            answer,
            "bit {bit}"
        );
        assert_eq!(rig.read(IA32_PERFEVTSEL0.nth(1)), read, "bit {bit}");
    }
}

#[test]
fn p03_any_thread_is_there_in_versions_3_and_4() {
    for (model, there) in [
        (PmuModel::INTEL_V1, false),
        (PmuModel::INTEL_V2, false),
        (PmuModel::INTEL_V3, true),
        (PmuModel::INTEL_V4, true),
        (PmuModel::INTEL_V5, false),
    ] {
        let mut rig = Rig::of(model);
        let select = CYCLES | EventSelect::ANY_THREAD;
        if there {
            rig.select(0, select);
            let config = rig.pmu.source().running(0).expect("it runs");
            assert!(config.any_thread, "{model}");
        } else {
            rig.refuse(IA32_PERFEVTSEL0, select);
        }
    }
}

#[test]
fn p03_a_refused_write_does_not_stop_the_counter() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES);
    rig.count(10);
    let refused = rig.pmu.write_msr(IA32_PERFEVTSEL0, EventSelect::ANY_THREAD);
    assert_eq!(refused, MsrWrite::GeneralProtection);
    rig.count(10);
    assert_eq!(rig.value(0), 20);
}

#[test]
fn p03_selects_decode_as_the_manual_lays_them_out() {
    let plain = EventSelect(0).decode();
    for (select, event) in [
        (0x003C, Event::CoreCycles),
        (0x013C, Event::RefCycles),
        (0x00C0, Event::Instructions),
        (0x4F2E, Event::LlcReferences),
        (0x412E, Event::LlcMisses),
        (0x00C4, Event::Branches),
        (0x00C5, Event::BranchMisses),
        (
            0x023C,
            Event::Other {
                select: 0x3C,
                umask: 2,
            },
        ),
    ] {
        assert_eq!(EventSelect(select).decode().event, event, "{select:#x}");
    }
    for (bits, changed) in [
        (1 << 16, vpmu::EventConfig { usr: true, ..plain }),
        (1 << 17, vpmu::EventConfig { os: true, ..plain }),
        (
            1 << 18,
            vpmu::EventConfig {
                edge: true,
                ..plain
            },
        ),
        (1 << 19, plain),
        (1 << 20, plain),
        (
            1 << 21,
            vpmu::EventConfig {
                any_thread: true,
                ..plain
            },
        ),
        (1 << 22, plain),
        (
            1 << 23,
            vpmu::EventConfig {
                invert: true,
                ..plain
            },
        ),
        (
            0xA5 << 24,
            vpmu::EventConfig {
                cmask: 0xA5,
                ..plain
            },
        ),
    ] {
        assert_eq!(EventSelect(bits).decode(), changed, "{bits:#x}");
    }
    assert!(EventSelect(1 << 22).enabled() && !EventSelect(!(1 << 22)).enabled());
    assert!(EventSelect(1 << 20).interrupts() && !EventSelect(!(1 << 20)).interrupts());
}

#[test]
fn p03_pin_control_changes_nothing_that_is_counted() {
    let mut rig = Rig::new();
    rig.select(0, CYCLES | EventSelect::PIN_CONTROL);
    rig.count(9);
    rig.select(0, CYCLES);
    rig.count(9);
    assert_eq!(rig.value(0), 18);
}
