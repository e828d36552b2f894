// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I16: a limit is exact: so many overflows, one HUP, then OFF; the last trap is not lost, and the
//! event can be refreshed again.

use std::sync::Arc;

use vpmu::context::{Notice, State, Target};

use crate::checks::*;
use crate::rig::*;

#[test]
fn i16_a_limit_is_exact() {
    let mut rig = Rig::new(1, 4);
    let diary = Arc::new(Diary::default());
    let task = rig.task(0);
    let event = rig.open_owned(disabled(sampling(10)), Target::Task(&task), &diary);
    rig.run_task(0, &task);
    for again in 1..4 {
        rig.refresh(&event, 3).unwrap();
        assert_eq!(rig.state(&event), State::Active(V0));
        for left in [2, 1, 0] {
            rig.happen(0, 10);
            assert_eq!(rig.status(&event).limit, left);
        }
        // From that overflow on it stands still, even before anybody made it OFF.
        let count = rig.count_of(&event);
        rig.happen(0, 1_000);
        assert_eq!(rig.count_of(&event), count);
        rig.enter(0);
        rig.audit();
        rig.happen(0, 1_000);
        let status = rig.status(&event);
        assert_eq!(status.state, State::Off);
        assert_eq!((status.overflows, status.hups), (3 * again, again));
        assert_eq!(rig.count_of(&event), 30 * again);
        let one = (event.id(), Notice::Overflow(1));
        assert_eq!(diary.read(), [one, one, one, (event.id(), Notice::Hup)]);
    }
}

/// More counts than the limit has room for, found at once: no more overflows all the same.
#[test]
fn i16_a_limit_is_exact_for_what_is_found_at_once() {
    for (counts, overflows, left) in [(20, 2, 0), (25, 2, 0), (95, 2, 0), (19, 1, 1)] {
        let mut rig = Rig::new(1, 4);
        let task = rig.task(0);
        let event = rig.open_task(disabled(trapping(10, 7)), &task);
        rig.run_task(0, &task);
        rig.refresh(&event, 2).unwrap();
        rig.happen(0, counts);
        rig.enter(0);
        let status = rig.status(&event);
        assert_eq!((status.overflows, status.limit), (overflows, left));
        assert_eq!(status.hups, u64::from(left == 0));
        assert_eq!(rig.is_on(&event), left > 0);
        assert_eq!(rig.law(&event).merged, overflows - 1);
    }
}

/// Whatever takes it off its counter before the irq work.
#[test]
fn i16_the_last_trap_survives_whatever_comes_before_the_irq_work() {
    for between in 0..5 {
        let mut rig = Rig::new(2, 1);
        let task = rig.task(0);
        let event = rig.open_task(disabled(trapping(10, 7)), &task);
        rig.run_task(0, &task);
        let rival = rig.open_task(disabled(counting()), &task);
        rig.refresh(&event, 1).unwrap();
        rig.happen(0, 10);
        let mut vcpu = 0;
        match between {
            0 => {
                rig.idle(0);
                rig.run_task(1, &task);
                vcpu = 1;
            }
            1 => {
                rig.enable(&rival).unwrap();
                rig.cpu(0).rotate();
            }
            2 => rig.disable(&event).unwrap(),
            3 => {
                rig.offline(0).unwrap();
                rig.run_task(1, &task);
                vcpu = 1;
            }
            _ => {}
        }
        rig.cpu(vcpu).irq_work();
        rig.audit();
        assert_eq!(rig.state(&event), State::Off, "{between}");
        assert_eq!(rig.drain_traps(vcpu).len(), 1, "{between}");
        let status = rig.status(&event);
        assert_eq!((status.overflows, status.hups), (1, 1), "{between}");
        // It works again.
        rig.disable(&rival).unwrap();
        rig.refresh(&event, 1).unwrap();
        rig.happen(vcpu, 10);
        assert_eq!(rig.drain_traps(vcpu).len(), 1, "{between}");
    }
}

#[test]
fn i16_limits_add_up_and_none_is_no_limit() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let event = rig.open_task(disabled(sampling(10)), &task);
    rig.run_task(0, &task);
    rig.refresh(&event, 2).unwrap();
    rig.refresh(&event, 3).unwrap();
    assert_eq!(rig.status(&event).limit, 5);
    rig.happen(0, 1_000);
    rig.enter(0);
    assert_eq!(rig.status(&event).overflows, 5);
    assert_eq!(rig.state(&event), State::Off);
    // None: it runs on.
    rig.refresh(&event, 0).unwrap();
    rig.happen(0, 1_000);
    rig.enter(0);
    assert_eq!(rig.status(&event).overflows, 105);
    assert_eq!(rig.state(&event), State::Active(V0));
    // Enabled before the irq work, it runs on without one as well.
    rig.refresh(&event, 1).unwrap();
    rig.happen(0, 10);
    rig.enable(&event).unwrap();
    rig.happen(0, 1_000);
    rig.enter(0);
    assert_eq!(rig.status(&event).overflows, 206);
    assert_eq!(rig.state(&event), State::Active(V0));
    // The sum stays at the top.
    rig.refresh(&event, u64::MAX).unwrap();
    rig.refresh(&event, 1).unwrap();
    assert_eq!(rig.status(&event).limit, u64::MAX);
}

/// What happened before does not use up the new limit, whether anybody has looked at it or not.
#[test]
fn i16_a_limit_is_for_what_comes() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let event = rig.open_task(sampling(10), &task);
    rig.run_task(0, &task);
    rig.cpu(0).source_mut().count(30);
    rig.refresh(&event, 4).unwrap();
    assert_eq!(rig.status(&event).overflows, 3);
    assert_eq!(rig.status(&event).limit, 4);
    rig.happen(0, 39);
    assert_eq!(rig.status(&event).limit, 1);
    rig.happen(0, 1);
    rig.enter(0);
    assert_eq!(rig.status(&event).overflows, 7);
    assert_eq!(rig.state(&event), State::Off);
}

/// Nor does it stop an event that is enabled after it stopped.
#[test]
fn i16_enabling_undoes_a_stop_that_nobody_has_looked_at() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let event = rig.open_task(disabled(sampling(10)), &task);
    rig.run_task(0, &task);
    rig.refresh(&event, 1).unwrap();
    rig.cpu(0).source_mut().count(10);
    rig.enable(&event).unwrap();
    rig.enter(0);
    let status = rig.status(&event);
    assert_eq!((status.overflows, status.hups), (1, 1));
    assert_eq!(status.state, State::Active(V0));
}

/// A leader that stops takes its group off the counters, and only itself is OFF.
#[test]
fn i16_a_leader_at_its_limit_stops_its_group() {
    let mut rig = Rig::new(1, 4);
    let task = rig.task(0);
    let leader = rig.open_task(disabled(sampling(10)), &task);
    let sibling = rig.open_in_group(counting(), &task, &leader).unwrap();
    rig.run_task(0, &task);
    rig.refresh(&leader, 1).unwrap();
    rig.happen(0, 10);
    rig.enter(0);
    assert_eq!(rig.state(&leader), State::Off);
    assert_eq!(rig.state(&sibling), State::Inactive);
    rig.happen(0, 10);
    assert_eq!(rig.count_of(&sibling), 10);
    rig.refresh(&leader, 1).unwrap();
    rig.happen(0, 10);
    assert_eq!(rig.count_of(&sibling), 20);
}
