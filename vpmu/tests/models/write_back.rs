// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P02 to P06, P22 to P26, P30, P31, P33: what each register takes and gives back, bit by bit.

use vpmu::{MsrWrite, PmuModel};

use crate::rig::Rig;
use crate::shapes;
use crate::table::{Register, Writes, registers};

/// Every register of every model that `wanted` picks, with a PMU for it.
fn each(wanted: impl Fn(Writes) -> bool, check: impl Fn(PmuModel, &Register)) {
    let mut checked = 0;
    for model in shapes::all() {
        for register in registers(&model) {
            if wanted(register.writes) {
                check(model, &register);
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "{checked} registers are not all of them");
}

/// What a write of `value` over `before` is answered, and what is read then.
fn expected(writes: Writes, value: u64, before: u64) -> (MsrWrite, u64) {
    match writes {
        Writes::Kept { accepted, kept } if value & !accepted == 0 => (MsrWrite::Done, value & kept),
        Writes::Acts { accepted } if value & !accepted == 0 => (MsrWrite::Done, 0),
        _ => (MsrWrite::GeneralProtection, before),
    }
}

/// Each bit alone, written to a fresh PMU, answers and reads as the table says of a register that
/// held `before`.
fn each_bit(model: PmuModel, register: &Register, before: u64) {
    let name = &register.name;
    for bit in 0..64 {
        let mut rig = Rig::new(model);
        let (answer, read) = expected(register.writes, 1 << bit, before);
        assert_eq!(
            rig.pmu.write_msr(register.msr, 1 << bit),
            answer,
            "{model}: {name} bit {bit}"
        );
        assert_eq!(rig.read(register.msr), read, "{model}: {name} bit {bit}");
    }
}

#[test]
fn p03_p22_p26_p30_each_bit_is_kept_dropped_or_reserved() {
    each(
        |writes| matches!(writes, Writes::Kept { .. }),
        |model, register| each_bit(model, register, register.reset),
    );
}

#[test]
fn p03_p22_p26_a_reserved_bit_refuses_the_others_too() {
    each(
        |writes| matches!(writes, Writes::Kept { .. }),
        |model, register| {
            let Writes::Kept { accepted, kept } = register.writes else {
                unreachable!("only those were picked");
            };
            let mut rig = Rig::new(model);
            // Every other bit that there is, then the rest of them.
            let first = 0x5555_5555_5555_5555 & accepted;
            rig.write(register.msr, first);
            for bit in (0..64).filter(|bit| accepted & 1 << bit == 0) {
                rig.refuse(register.msr, !first & accepted | 1 << bit);
                assert_eq!(
                    rig.read(register.msr),
                    first & kept,
                    "{model}: {}",
                    register.name
                );
            }
            rig.write(register.msr, !first & accepted);
            assert_eq!(
                rig.read(register.msr),
                !first & kept,
                "{model}: {}",
                register.name
            );
        },
    );
}

#[test]
fn p05_p23_p25_read_only_registers_fault() {
    each(
        |writes| writes == Writes::Never,
        |model, register| {
            let mut rig = Rig::new(model);
            for value in [0, 1, register.reset, u64::MAX] {
                rig.refuse(register.msr, value);
                assert_eq!(
                    rig.read(register.msr),
                    register.reset,
                    "{model}: {}",
                    register.name
                );
            }
        },
    );
}

#[test]
fn p06_p24_p33_acting_registers_read_zero() {
    each(
        |writes| matches!(writes, Writes::Acts { .. }),
        |model, register| each_bit(model, register, 0),
    );
}

#[test]
fn p01_registers_do_not_share_what_they_hold() {
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        // Low values, that every register takes: of a field each what it can hold.
        let plain: Vec<_> = registers(&model)
            .into_iter()
            .filter(|register| match register.writes {
                Writes::Legacy => true,
                Writes::Kept { .. } => !alias(register),
                Writes::Never | Writes::Acts { .. } => false,
            })
            .collect();
        let value = |at: usize, register: &Register| match register.writes {
            Writes::Kept { kept, .. } => kept & (0x11 * (at as u64 + 1)),
            _ => 0x11 * (at as u64 + 1),
        };
        for (at, register) in plain.iter().enumerate() {
            rig.write(register.msr, value(at, register));
        }
        for (at, register) in plain.iter().enumerate() {
            assert_eq!(
                rig.read(register.msr),
                value(at, register),
                "{model}: {}",
                register.name
            );
        }
    }
}

/// Whether it is another number of a register listed before.
fn alias(register: &Register) -> bool {
    let amd = register.msr.0 >= 0xC001_0200 && register.msr.0 < 0xC001_0208;
    amd || register.name.starts_with("IA32_A_PMC")
}
