// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R6: "it does not run" was read without a lock, and is not true any more. An installer may save
//! the call for such a task only because it asks again under the lock (N3).

use std::sync::{Arc, Mutex};

use vpmu::context::{Leaves, Open, Retry, State, Step, Target};

use crate::checks::*;
use crate::rig::*;
use crate::shares::SharesCpu;

/// 1. t is queued on vCPU 1. The installer publishes its first context and reads "not running".
/// 2. vCPU 1 switches to t: a context without events, nothing to schedule.
/// 3. The installer takes the context's lock, finds t running, and starts over.
/// 4. The second look finds vCPU 1, which installs. t never was in user mode uncounted after that.
#[test]
fn r06_a_look_without_a_lock_decides_nothing() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(1);
    let cpu = Arc::new(Mutex::new(rig.cpus[1].take().unwrap()));
    let (runs_on, runs) = (Arc::clone(&cpu), task.clone());
    rig.log.clear();
    rig.log.at(Step::Round(1), move || {
        let mut cpu = runs_on.lock().unwrap();
        cpu.switch(None, Leaves::Queued, Some(runs)).unwrap();
    });
    let mut by = SharesCpu(Arc::clone(&cpu));
    let open = Open::new(counting(), Target::Task(&task));
    let event = rig.perf.open(&open, &mut by).unwrap();
    assert_eq!(rig.state(&event), State::Active(V1));
    assert_eq!(rig.retries(), [Retry::Running]);
    assert_eq!(rig.log.rounds(), 2);
    assert_eq!(rig.sent(), [1]);
    {
        let mut cpu = cpu.lock().unwrap();
        cpu.source_mut().count(8);
    }
    let read = rig.perf.read(&event, &mut by).unwrap().unwrap();
    assert_eq!(read.count, 8);
}

/// 1. t is queued on vCPU 1. The installer reads "not running".
/// 2. vCPU 1 switches to t and away from it again.
/// 3. The look was stale and right: the event is added under the lock, without a call.
#[test]
fn r06_a_task_that_ran_in_between_costs_nothing() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(1);
    let cpu = Arc::new(Mutex::new(rig.cpus[1].take().unwrap()));
    let (runs_on, runs) = (Arc::clone(&cpu), task.clone());
    rig.log.clear();
    rig.log.at(Step::Round(1), move || {
        let mut cpu = runs_on.lock().unwrap();
        cpu.switch(None, Leaves::Queued, Some(runs.clone()))
            .unwrap();
        cpu.switch(Some(&runs), Leaves::Blocked, None).unwrap();
    });
    let mut by = SharesCpu(Arc::clone(&cpu));
    let open = Open::new(counting(), Target::Task(&task));
    let event = rig.perf.open(&open, &mut by).unwrap();
    assert_eq!(rig.state(&event), State::Inactive);
    assert_eq!(rig.log.rounds(), 1);
    assert_eq!(rig.sent(), []);
}

/// 1. t is queued and u, its twin, is current on vCPU 1. The installer reads "not running".
/// 2. vCPU 1 switches to t: the two trade contexts.
/// 3. Under the lock, the context is not t's any more. That the installer has another one to look in,
///    and that t runs by now, is one round: there was one switch (I5).
#[test]
fn r06_a_trade_costs_one_round() {
    let mut rig = Rig::new(2, 2);
    let (u, t, _events) = rig.twins(&[counting()]);
    rig.perf.migrate(&u, V1).unwrap();
    rig.run_task(1, &u);
    let cpu = Arc::new(Mutex::new(rig.cpus[1].take().unwrap()));
    let (runs_on, stops, runs) = (Arc::clone(&cpu), u.clone(), t.clone());
    rig.log.clear();
    rig.log.at(Step::Round(1), move || {
        let mut cpu = runs_on.lock().unwrap();
        cpu.switch(Some(&stops), Leaves::Queued, Some(runs))
            .unwrap();
    });
    let mut by = SharesCpu(Arc::clone(&cpu));
    let open = Open::new(counting(), Target::Task(&t));
    let event = rig.perf.open(&open, &mut by).unwrap();
    assert_eq!(rig.swaps(), 1);
    assert_eq!(rig.retries(), [Retry::Traded]);
    assert_eq!(rig.log.rounds(), 2);
    assert_eq!(rig.state(&event), State::Active(V1));
}

/// 1. t is queued on vCPU 1, which is idle. The installer reads "not running".
/// 2. vCPU 1 switches to t. Under the lock, the installer finds t running, and starts over.
/// 3. vCPU 1 switches on to u, t's twin. They do not trade: the installer was here for t.
/// 4. The second look finds t queued, with the context that the installer has.
#[test]
fn r06_a_context_that_was_found_stays() {
    let mut rig = Rig::new(2, 2);
    let (t, u, _events) = rig.twins(&[counting()]);
    rig.perf.migrate(&t, V1).unwrap();
    let cpu = Arc::new(Mutex::new(rig.cpus[1].take().unwrap()));
    let (first, second, log) = (Arc::clone(&cpu), Arc::clone(&cpu), Arc::clone(&rig.log));
    let (runs, stops) = (t.clone(), t.clone());
    rig.log.clear();
    rig.log.at(Step::Round(1), move || {
        let mut cpu = first.lock().unwrap();
        cpu.switch(None, Leaves::Queued, Some(runs)).unwrap();
        log.at(Step::Retry(Retry::Running), move || {
            let mut cpu = second.lock().unwrap();
            cpu.switch(Some(&stops), Leaves::Queued, Some(u)).unwrap();
        });
    });
    let mut by = SharesCpu(Arc::clone(&cpu));
    let open = Open::new(counting(), Target::Task(&t));
    let event = rig.perf.open(&open, &mut by).unwrap();
    assert_eq!(rig.swaps(), 0);
    assert_eq!(rig.retries(), [Retry::Running]);
    assert_eq!(rig.log.rounds(), 2);
    assert_eq!(rig.state(&event), State::Inactive);
}
