// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R24: announcements are switched on while the guest switches, and a trap is raised while the guest
//! returns to user mode. Each side stores, passes a fence and looks; these tests take the steps one
//! after the other in every order, and `tests/loom` takes the fences away.

use std::cell::Cell;

use vcpu_call::VcpuId;
use vpmu::context::PerfError;
use vpmu::context::announce::{Announcements, Flag};

use crate::checks::*;
use crate::rig::*;

/// 1. The guest switches to 7: nobody asked.
/// 2. The host asks: it sees 7, and kicked everybody.
/// 3. The next switch is announced.
#[test]
fn r24_a_switch_before_the_question_is_in_the_page() {
    let vm = Announcements::new(2);
    assert_eq!(vm.guest_switches(V1, 7), Ok(false));
    let mut kicked = Vec::new();
    assert_eq!(vm.turn_on(|vcpu| kicked.push(vcpu)), [0, 7]);
    assert_eq!(kicked, [V0, V1]);
    assert_eq!(vm.guest_switches(V1, 8), Ok(true));
    assert_eq!(vm.guest_switches(V0, 9), Ok(true));
}

/// 1. The host raises the flag and kicks.
/// 2. Before it reads the page of the vCPU that it kicks, the guest switches there: seen both ways.
/// 3. After it has read the first page, the guest switches on that vCPU: not in the page, announced.
#[test]
fn r24_a_switch_during_the_question_is_seen_once_at_least() {
    let vm = Announcements::new(2);
    let announced = Cell::new([false; 2]);
    let pages = vm.turn_on(|vcpu| {
        let now = match vcpu {
            V0 => [vm.guest_switches(V0, 5).unwrap(), false],
            _ => [vm.guest_switches(V0, 6).unwrap(), true],
        };
        announced.set(now);
    });
    assert_eq!(pages, [5, 0], "6 came after the look");
    assert_eq!(announced.get(), [true, true], "so 6 is announced");
}

/// 1. Nobody is interested any more: switches are not announced.
/// 2. The host asks again: it sees what is current by then.
#[test]
fn r24_asking_again_starts_anew() {
    let vm = Announcements::new(1);
    vm.turn_on(|_| ());
    assert_eq!(vm.guest_switches(V0, 1), Ok(true));
    vm.turn_off();
    assert_eq!(vm.guest_switches(V0, 2), Ok(false));
    assert_eq!(vm.turn_on(|_| ()), [2]);
    let absent = VcpuId(1);
    assert_eq!(
        vm.guest_switches(absent, 3),
        Err(PerfError::NoSuchVcpu(absent))
    );
}

/// The same with the engine behind it: the task that the page shows is adopted, and an event that
/// is opened then counts at once.
///
/// 1. The guest switches to t, unannounced.
/// 2. The host asks, reads t from the page, and switches the vCPU to it.
/// 3. An event of t is opened: on a counter.
#[test]
fn r24_a_task_that_was_never_announced_is_counted() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let vm = Announcements::new(1);
    assert_eq!(vm.guest_switches(V0, task.id().0), Ok(false));
    let current = vm.turn_on(|_| ());
    assert_eq!(current, [task.id().0]);
    rig.run_task(0, &task);
    let event = rig.open_task(counting(), &task);
    rig.happen(0, 3);
    assert_eq!(rig.count_of(&event), 3);
}

/// What the guest's kernel and the host do about a trap, with what each finds.
struct Return {
    waits: Flag,
    in_user: Flag,
}

impl Return {
    fn new() -> Self {
        Self {
            waits: Flag::new(),
            in_user: Flag::new(),
        }
    }
}

/// 1. t overflows while it is in its kernel: a trap is queued, its flag is raised; the vCPU is not
///    in user mode, so it is not kicked.
/// 2. The guest's kernel looks right before it returns to user mode, and takes the trap.
#[test]
fn r24_a_trap_raised_before_the_look_is_taken_by_the_kernel() {
    let (mut rig, ret) = (Rig::new(1, 2), Return::new());
    let task = rig.task(0);
    rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    rig.happen(0, 10);
    assert!(!ret.waits.raise_and_look(&ret.in_user), "no kick");
    assert!(ret.in_user.raise_and_look(&ret.waits), "a trap waits");
    assert_eq!(rig.drain_traps(0).len(), 1);
    ret.waits.lower();
    assert!(!ret.waits.is_raised());
}

/// 1. The guest's kernel looks: no trap. It is past its look, and not in user mode yet.
/// 2. t overflows: a trap is queued, its flag is raised, and the host finds the vCPU past the look.
/// 3. The kick brings the vCPU out before its next user instruction: the trap is handed over there.
#[test]
fn r24_a_trap_raised_after_the_look_kicks_the_vcpu() {
    let (mut rig, ret) = (Rig::new(1, 2), Return::new());
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 5), &task);
    rig.run_task(0, &task);
    assert!(!ret.in_user.raise_and_look(&ret.waits), "no trap waits");
    rig.happen(0, 10);
    assert!(ret.waits.raise_and_look(&ret.in_user), "kick");
    let trap = rig.enter(0).unwrap();
    assert_eq!((trap.task, trap.event), (task.id(), event.id()));
    ret.in_user.lower();
    assert!(!ret.in_user.is_raised());
}
