// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R11: an overflow of t, and vCPU 0 switches to its twin u before the trap was delivered. Two tasks
//! do not trade contexts while a trap is on its way (W2), so u cannot get it.

use vpmu::context::{State, TrapCounts};

use crate::checks::*;
use crate::rig::*;

fn counts(queued: u64, sent: u64) -> TrapCounts {
    TrapCounts {
        queued,
        sent,
        ..TrapCounts::default()
    }
}

/// 1. t overflows on vCPU 0: a trap for t is queued.
/// 2. vCPU 0 switches from t to u: the contexts stay where they are.
/// 3. Irq work and return to user mode with u: nothing.
/// 4. vCPU 0 switches to t: t gets the trap.
/// 5. Now nothing is on its way, and the next switch trades.
#[test]
fn r11_the_trap_stays_with_its_task() {
    let mut rig = Rig::new(1, 2);
    let (t, u, events) = rig.twins(&[trapping(10, 5)]);
    let event = &events[0];
    rig.run_task(0, &t);
    rig.happen(0, 10);
    rig.run_task(0, &u);
    assert_eq!(rig.swaps(), 0);
    assert_eq!(rig.enter(0), None);
    rig.happen(0, 3);
    rig.run_task(0, &t);
    assert_eq!(rig.swaps(), 0);
    let trap = rig.enter(0).unwrap();
    assert_eq!(trap.task, t.id());
    rig.cpu(0).trap_done().unwrap();
    rig.check(event, State::Active(V0), 1, counts(1, 1));
    rig.run_task(0, &u);
    assert_eq!(rig.swaps(), 1, "they are twins still");
    assert_eq!(rig.enter(0), None);
    assert_eq!(rig.count_of(event), 13);
}

/// 1. t counts up to its overflow on vCPU 0, and nobody looks.
/// 2. vCPU 0 switches from t to u: that looks first, while t is the current task (W1), and finds
///    the overflow. So they do not trade.
/// 3. u gets nothing, t gets the trap when it runs again.
#[test]
fn r11_an_overflow_found_by_the_switch_is_of_the_task_that_leaves() {
    let mut rig = Rig::new(1, 2);
    let (t, u, events) = rig.twins(&[trapping(10, 5)]);
    let event = &events[0];
    rig.run_task(0, &t);
    rig.cpu(0).source_mut().count(10);
    rig.run_task(0, &u);
    assert_eq!(rig.swaps(), 0);
    rig.check(event, State::Inactive, 1, counts(1, 0));
    assert_eq!(rig.enter(0), None);
    rig.run_task(0, &t);
    assert_eq!(rig.enter(0).unwrap().task, t.id());
}

/// 1. u has a trap on its way: it overflowed, and was switched out before it went to user mode.
/// 2. vCPU 0 switches from t, which has none, to u: no trade either.
/// 3. u gets its trap.
#[test]
fn r11_the_trap_of_the_task_that_comes_stays_with_it() {
    let mut rig = Rig::new(1, 2);
    let (t, u, _events) = rig.twins(&[trapping(10, 5)]);
    rig.run_task(0, &u);
    rig.happen(0, 10);
    rig.idle(0);
    rig.run_task(0, &t);
    assert_eq!(rig.enter(0), None);
    rig.run_task(0, &u);
    assert_eq!(rig.swaps(), 0);
    let trap = rig.enter(0).unwrap();
    assert_eq!(trap.task, u.id());
}
