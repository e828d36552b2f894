// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R9: two tasks trade contexts while an ioctl is under way. The engine asks for the context, not
//! for its task, so a stale task cannot arise; what can is a context that changed its vCPU.

use std::sync::{Arc, Mutex};

use vpmu::context::{Leaves, Open, Retry, State, Step, Target};

use crate::checks::*;
use crate::rig::*;
use crate::shares::SharesCpu;

/// 1. t is current on vCPU 0 with context T; u is its twin. The ioctl reads "T is active on vCPU 0".
/// 2. vCPU 0 switches from t to u: they trade, T is u's now, and stays active.
/// 3. The call arrives, finds T, and disables the event there: one call, no retry.
/// 4. The inherited event, in the context that t has now, is disabled under its lock.
#[test]
fn r09_the_context_is_traded_before_the_call_arrives() {
    let mut rig = Rig::new(2, 2);
    let (t, u, events) = rig.twins(&[counting()]);
    let event = &events[0];
    rig.run_task(0, &t);
    rig.happen(0, 3);
    let next = u.clone();
    rig.before_call(move |rig, _| {
        rig.run_task(0, &next);
        rig.happen(0, 4);
    });
    rig.log.clear();
    rig.disable(event).unwrap();
    assert_eq!(rig.swaps(), 1);
    assert_eq!(rig.sent(), [0]);
    assert_eq!(rig.retries(), []);
    assert_eq!(rig.state(event), State::Off);
    assert_eq!(rig.moves(event), (0, 1));
    // Neither twin counts any more, whichever runs.
    rig.happen(0, 100);
    rig.run_task(0, &t);
    rig.happen(0, 100);
    assert_eq!(rig.count_of(event), 7);
}

/// 1. t is current on vCPU 0 with context T; u is its twin. The ioctl reads "T is active on vCPU 0".
/// 2. vCPU 0 switches from t to u, which trades, and then to nobody. u migrates to vCPU 1 and
///    becomes current, with T.
/// 3. t becomes current on vCPU 0 again, with U.
/// 4. The call arrives on vCPU 0: T is not here. The ioctl reads "vCPU 1" and calls that.
/// 5. The inherited event in U is disabled on vCPU 0.
#[test]
fn r09_the_context_is_traded_and_moves_to_another_vcpu() {
    let mut rig = Rig::new(2, 2);
    let (t, u, events) = rig.twins(&[counting()]);
    let event = &events[0];
    rig.run_task(0, &t);
    rig.happen(0, 3);
    let (first, second) = (t.clone(), u.clone());
    rig.before_call(move |rig, _| {
        rig.run_task(0, &second);
        rig.idle(0);
        rig.perf.migrate(&second, V1).unwrap();
        rig.run_task(1, &second);
        rig.run_task(0, &first);
        rig.happen(0, 20);
        rig.happen(1, 4);
    });
    rig.log.clear();
    rig.disable(event).unwrap();
    assert_eq!(rig.swaps(), 1);
    assert_eq!(rig.sent(), [0, 1, 0]);
    assert_eq!(rig.retries(), [Retry::NotHere]);
    assert_eq!(rig.state(event), State::Off);
    rig.happen(0, 100);
    rig.happen(1, 100);
    assert_eq!(rig.count_of(event), 27);
}

/// 1. t is current on vCPU 0 with context T; u is its twin.
/// 2. An event that is not inherited is opened on t: the call is on its way to vCPU 0, for T.
/// 3. vCPU 0 switches to u: the two trade, and T is u's.
/// 4. The call finds that T is not t's any more; the installer starts over with U, which is.
#[test]
fn r09_an_installation_follows_its_task_through_a_trade() {
    let mut rig = Rig::new(2, 2);
    let (t, u, events) = rig.twins(&[counting()]);
    rig.run_task(0, &t);
    let next = u.clone();
    rig.before_call(move |rig, _| rig.run_task(0, &next));
    rig.log.clear();
    let own = rig.open_task(counting(), &t);
    assert_eq!(rig.swaps(), 1);
    assert_eq!(rig.sent(), [0]);
    assert_eq!(rig.retries(), [Retry::Traded]);
    assert_eq!(rig.state(&own), State::Inactive);
    rig.happen(0, 40);
    rig.run_task(0, &t);
    rig.happen(0, 2);
    assert_eq!(rig.swaps(), 1, "they differ now");
    assert_eq!(rig.count_of(&own), 2);
    assert_eq!(rig.count_of(&events[0]), 42);
}

/// 1. t is current on vCPU 1 with context T; u is its twin, with U. An event is opened on u: the
///    installer has U, and reads "not running".
/// 2. vCPU 1 switches from t to u, which trade, and then to nobody: u does not run, and has T.
/// 3. The installer takes the lock of U, which is t's by now, and starts over with T.
#[test]
fn r09_an_installation_without_a_call_follows_its_task_through_a_trade() {
    let mut rig = Rig::new(2, 2);
    let (t, u, _) = rig.twins(&[counting()]);
    rig.run_task(1, &t);
    let cpu = Arc::new(Mutex::new(rig.cpus[1].take().unwrap()));
    let (trades, leaves, comes) = (Arc::clone(&cpu), t.clone(), u.clone());
    rig.log.clear();
    rig.log.at(Step::Round(1), move || {
        let mut cpu = trades.lock().unwrap();
        cpu.switch(Some(&leaves), Leaves::Queued, Some(comes.clone()))
            .unwrap();
        cpu.switch(Some(&comes), Leaves::Queued, None).unwrap();
    });
    let mut by = SharesCpu(Arc::clone(&cpu));
    let open = Open::new(counting(), Target::Task(&u));
    let own = rig.perf.open(&open, &mut by).unwrap();
    assert_eq!(rig.swaps(), 1);
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.retries(), [Retry::Traded]);
    let mut count_of = |task| {
        let mut cpu = cpu.lock().unwrap();
        cpu.switch(None, Leaves::Queued, Some(task)).unwrap();
        cpu.source_mut().count(5);
        let current = cpu.current().cloned();
        cpu.switch(current.as_ref(), Leaves::Queued, None).unwrap();
        drop(cpu);
        rig.perf.read(&own, &mut by).unwrap().unwrap().count
    };
    assert_eq!((count_of(t), count_of(u)), (0, 5));
}

/// 1. t is queued, its twin u has an event more than it, that t must not get.
/// 2. vCPU 0 switches from t to u, and back: they trade no more, although u's context still has all
///    that it was copied from.
#[test]
fn r09_a_copy_with_an_event_more_is_not_traded() {
    let mut rig = Rig::new(1, 4);
    let (t, u, events) = rig.twins(&[counting()]);
    let own = rig.open_task(counting(), &u);
    rig.run_task(0, &t);
    rig.happen(0, 5);
    rig.run_task(0, &u);
    rig.happen(0, 2);
    rig.run_task(0, &t);
    rig.happen(0, 5);
    assert_eq!(rig.swaps(), 0);
    assert_eq!(rig.count_of(&own), 2);
    assert_eq!(rig.count_of(&events[0]), 12);
}

/// 1. t is current on vCPU 0 with context T; u is its twin. t exits: the call, for T, is on its way.
/// 2. vCPU 0 switches from t to u. T is relied on, so they do not trade.
/// 3. The call finds T gone from vCPU 0; T is buried here. u counts on.
#[test]
fn r09_a_context_that_is_being_buried_is_not_traded() {
    let mut rig = Rig::new(1, 2);
    let (t, u, events) = rig.twins(&[counting()]);
    rig.run_task(0, &t);
    rig.happen(0, 3);
    let next = u.clone();
    rig.before_call(move |rig, _| rig.run_task(0, &next));
    rig.log.clear();
    rig.exit(&t).unwrap();
    assert_eq!(rig.swaps(), 0);
    assert_eq!(rig.sent(), [0]);
    assert_eq!(rig.retries(), [Retry::NotHere]);
    assert!(t.has_exited() && !u.has_exited());
    assert_eq!(rig.state(&events[0]), State::Exit);
    rig.happen(0, 4);
    assert_eq!(rig.count_of(&events[0]), 7);
}
