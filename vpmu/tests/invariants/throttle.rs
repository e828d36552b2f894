// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! V4: overflows of an event are at least an interval apart; what comes earlier is held back until
//! then and not lost. What costs its guest an exit each is not held back.

use vpmu::context::{Attr, PerfConfig, State};
use vpmu::{Event, EventConfig, Nanos};

use crate::checks::*;
use crate::rig::*;

fn rig() -> Rig {
    let rig = Rig::with(PerfConfig {
        interval: Nanos(100),
        ..PerfConfig::new(2)
    });
    rig.pass(1_000);
    rig
}

#[test]
fn v04_overflows_are_an_interval_apart() {
    let mut rig = rig();
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 1), &task);
    rig.run_task(0, &task);
    rig.happen(0, 10);
    assert_eq!(rig.status(&event).overflows, 1);
    // A counter that is at its end all the time.
    for _ in 0..5 {
        rig.pass(10);
        rig.happen(0, 10);
    }
    let status = rig.status(&event);
    assert_eq!((status.overflows, status.throttled), (1, 1));
    assert_eq!(status.state, State::Active(V0), "it counts on");
    rig.audit();
    let armed = rig.cpu(0).arm();
    assert_eq!((armed.at, armed.in_cycles), (Some(Nanos(1_100)), None));
    rig.pass(49);
    rig.cpu(0).count(None);
    assert_eq!(rig.status(&event).overflows, 1);
    rig.pass(1);
    rig.cpu(0).count(None);
    // Five periods were held back: five overflows.
    let status = rig.status(&event);
    assert_eq!((status.overflows, status.throttled), (6, 1));
    assert_eq!(rig.count_of(&event), 60);
    rig.law(&event);
    let armed = rig.cpu(0).arm();
    assert_eq!((armed.at, armed.in_cycles), (None, Some(10)));
    // Again, and again once.
    rig.happen(0, 10);
    rig.happen(0, 10);
    assert_eq!(rig.status(&event).throttled, 2);
}

/// A task that leaves is told what it caused, and is not told sooner by that when it is back.
#[test]
fn v04_what_leaves_its_counter_overflows_at_once() {
    let mut rig = rig();
    let task = rig.task(0);
    let event = rig.open_task(trapping(10, 1), &task);
    rig.run_task(0, &task);
    rig.happen(0, 10);
    assert_eq!(rig.drain_traps(0).len(), 1);
    rig.happen(0, 15);
    rig.idle(0);
    let status = rig.status(&event);
    assert_eq!((status.overflows, status.throttled), (2, 1));
    rig.run_task(1, &task);
    assert_eq!(rig.drain_traps(1).len(), 1);
    rig.happen(1, 5);
    let status = rig.status(&event);
    assert_eq!((status.overflows, status.throttled), (2, 2));
    rig.pass(100);
    rig.enter(1);
    assert_eq!(rig.status(&event).overflows, 3);
}

/// A limit is reached when it is reached, not while it is held back.
#[test]
fn v04_a_limit_counts_what_overflowed() {
    let mut rig = rig();
    let task = rig.task(0);
    let event = rig.open_task(disabled(sampling(10)), &task);
    rig.run_task(0, &task);
    rig.refresh(&event, 2).unwrap();
    rig.happen(0, 10);
    rig.happen(0, 10);
    rig.enter(0);
    assert_eq!(rig.status(&event).limit, 1);
    assert_eq!(rig.state(&event), State::Active(V0));
    rig.pass(100);
    rig.enter(0);
    let status = rig.status(&event);
    assert_eq!((status.overflows, status.hups), (2, 1));
    assert_eq!(status.state, State::Off);
}

/// The guest pays for each tick with an exit; of cycles it makes any number.
#[test]
fn v04_what_costs_an_exit_each_is_not_held_back() {
    let mut rig = rig();
    let task = rig.task(0);
    let every = |event| Attr {
        sigtrap: Some(1),
        remove_on_exec: true,
        ..Attr::sampling(EventConfig::everywhere(event), 1)
    };
    let ticks = rig.open_task(every(Event::PortTick), &task);
    let cycles = rig.open_task(every(Event::CoreCycles), &task);
    rig.run_task(0, &task);
    for tick in 1..=20 {
        rig.happen(0, 1);
        let status = rig.status(&ticks);
        assert_eq!((status.overflows, status.throttled), (tick, 0));
        let status = rig.status(&cycles);
        assert_eq!(
            (status.overflows, status.throttled),
            (1, u64::from(tick > 1))
        );
    }
    rig.law(&ticks);
    let armed = rig.cpu(0).arm();
    assert_eq!((armed.at, armed.in_cycles), (Some(Nanos(1_100)), Some(1)));
    rig.audit();
}
