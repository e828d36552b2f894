// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R17: more overflows come before the trap of the first was delivered. The trap keeps the address
//! of the first (T1).

use vpmu::context::{Sample, State, TrapCounts};

use crate::checks::*;
use crate::rig::*;

/// 1. The event overflows at 0x100: a trap is queued.
/// 2. It overflows at 0x200, and twice at 0x300: merged.
/// 3. The task takes one trap, with 0x100.
/// 4. The event overflows at 0x400: a new trap, with 0x400.
#[test]
fn r17_the_first_address_is_kept() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.happen_at(0, 10, 0x100);
    rig.happen_at(0, 10, 0x200);
    rig.happen_at(0, 20, 0x300);
    let counts = |queued, sent| TrapCounts {
        queued,
        merged: 3,
        sent,
        ..TrapCounts::default()
    };
    rig.check(&event, State::Active(V0), 4, counts(1, 0));
    let addrs = |rig: &mut Rig| {
        let traps = rig.drain_traps(0);
        traps.iter().map(|trap| trap.addr).collect::<Vec<_>>()
    };
    assert_eq!(addrs(&mut rig), [0x100]);
    rig.happen_at(0, 10, 0x400);
    assert_eq!(addrs(&mut rig), [0x400]);
    rig.check(&event, State::Active(V0), 5, counts(2, 2));
}

/// 1. An event that excludes the kernel is found to have overflowed while the guest is in its
///    kernel: a trap is queued, with an address that must not be shown.
/// 2. It overflows at 0x200 in user mode: merged.
/// 3. The trap shows 0, the first.
#[test]
fn r17_a_hidden_address_is_not_made_up_for() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.cpu(0).source_mut().count(10);
    rig.cpu(0).count(Some(Sample {
        addr: 0xffff_8000_0000_0100,
        user: false,
    }));
    rig.happen_at(0, 10, 0x200);
    assert_eq!(rig.enter(0).unwrap().addr, 0);
}
