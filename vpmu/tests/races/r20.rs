// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R20: the limit stops the counter at the very overflow, and that must not be for ever: however the
//! event is enabled again, it counts again.

use vpmu::context::{Event, State, TrapCounts};

use crate::checks::*;
use crate::rig::*;

fn reach_the_limit(rig: &mut Rig, event: &Event) {
    rig.happen(0, 10);
    // Between the overflow and irq work nothing is counted: the counter stands.
    rig.happen(0, 1_000);
    assert_eq!(rig.drain_traps(0).len(), 1);
    rig.cpu(0).irq_work();
    assert_eq!(rig.state(event), State::Off);
}

/// 1. The event, enabled for one overflow, overflows; its counter stands from there on.
/// 2. Irq work: OFF.
/// 3. refresh(1): it counts again, to the next overflow. Three times over.
/// 4. enable: it counts again, without a limit.
/// 5. disable, enable: it counts again.
#[test]
fn r20_an_event_counts_again_after_its_limit() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping_when_enabled(10, 5), &task);
    rig.run_task(0, &task);
    for limits in 1..=3 {
        rig.refresh(&event, 1).unwrap();
        assert_eq!(rig.state(&event), State::Active(V0));
        reach_the_limit(&mut rig, &event);
        assert_eq!(rig.count_of(&event), 10 * limits);
        assert_eq!(rig.perf.status(&event).unwrap().hups, limits);
    }
    rig.enable(&event).unwrap();
    for overflows in 4..=6 {
        rig.happen(0, 10);
        assert_eq!(rig.perf.status(&event).unwrap().overflows, overflows);
        assert_eq!(rig.drain_traps(0).len(), 1);
    }
    rig.disable(&event).unwrap();
    rig.happen(0, 1_000);
    rig.enable(&event).unwrap();
    rig.happen(0, 10);
    assert_eq!(rig.drain_traps(0).len(), 1);
    let sent = TrapCounts {
        queued: 7,
        sent: 7,
        ..TrapCounts::default()
    };
    rig.check(&event, State::Active(V0), 7, sent);
    assert_eq!(rig.count_of(&event), 70);
}

/// 1. An exit comes late: the event, enabled for two overflows, is found three and a half periods
///    on.
/// 2. Two overflows, no third (I16). What was counted is counted.
/// 3. refresh(1): a whole period to the next one.
#[test]
fn r20_a_late_look_finds_no_more_than_the_limit() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let event = rig.open_task(trapping_when_enabled(10, 5), &task);
    rig.run_task(0, &task);
    rig.refresh(&event, 2).unwrap();
    rig.happen(0, 35);
    rig.cpu(0).irq_work();
    let counts = |queued, sent| TrapCounts {
        queued,
        merged: 1,
        sent,
        ..TrapCounts::default()
    };
    rig.check(&event, State::Off, 2, counts(1, 0));
    assert_eq!(rig.drain_traps(0).len(), 1);
    assert_eq!(rig.count_of(&event), 35);
    rig.refresh(&event, 1).unwrap();
    rig.happen(0, 9);
    assert_eq!(rig.perf.status(&event).unwrap().overflows, 2);
    rig.happen(0, 1);
    rig.cpu(0).irq_work();
    rig.check(&event, State::Off, 3, counts(2, 1));
}
