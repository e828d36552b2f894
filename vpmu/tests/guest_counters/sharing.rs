// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest's counters and the host's events on the same counters (G2, G3, G5).

use vpmu::context::{Open, State, Step, Target};
use vpmu::{CounterSource, NotCounted};

use crate::checks::*;
use crate::rig::*;

#[test]
fn g5_a_guests_counter_takes_a_free_counter_first() {
    let mut rig = Rig::new(1, 3);
    let host = rig.open_on_vcpu(counting());
    rig.start(0).unwrap();
    rig.start(1).unwrap();
    assert!(rig.counts(&host));
    rig.happen(0, 5);
    assert_eq!((rig.take(0), rig.take(1)), (5, 5));
    assert_eq!(rig.count_of(&host), 5);
}

#[test]
fn g5_a_guests_counter_displaces_what_is_flexible_and_gives_it_back() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    rig.run_task(0, &task);
    let of_task = rig.open_task(counting(), &task);
    let machine = rig.open_on_vcpu(counting());
    rig.unseen(4);
    rig.start(0).unwrap();
    // The task's came last, so it goes first.
    assert!(rig.counts(&machine) && !rig.counts(&of_task));
    assert!(rig.cpu(0).arm().rotate, "who waits gets a turn");
    rig.unseen(3);
    rig.start(1).unwrap();
    assert!(!rig.counts(&machine) && !rig.counts(&of_task));
    rig.happen(0, 100);
    assert_eq!(rig.count_of(&machine), 7);
    assert_eq!(rig.count_of(&of_task), 4);
    assert_eq!((rig.take(0), rig.take(1)), (103, 100));
    // Rotation finds nothing to give.
    rig.cpu(0).rotate();
    rig.audit();
    assert!(!rig.counts(&machine) && !rig.counts(&of_task));
    rig.stop(0);
    rig.cpu(0).rotate();
    rig.audit();
    assert!(rig.counts(&machine) || rig.counts(&of_task));
    assert_eq!(rig.take(1), 0);
}

#[test]
fn g2_a_guests_counter_goes_in_front_of_the_tasks_pinned_events() {
    let mut rig = Rig::new(1, 1);
    let task = rig.task(0);
    rig.run_task(0, &task);
    let of_task = rig.open_task(pinned(), &task);
    assert!(rig.counts(&of_task));
    rig.start(0).unwrap();
    assert_eq!(rig.state(&of_task), State::Error);
    rig.stop(0);
    assert_eq!(rig.state(&of_task), State::Error, "until it is enabled");
    rig.enable(&of_task).unwrap();
    assert!(rig.counts(&of_task));
}

#[test]
fn g3_where_pinned_events_hold_all_a_guests_counter_is_refused() {
    let mut rig = Rig::new(1, 2);
    let first = rig.open_on_vcpu(pinned());
    let second = rig.open_on_vcpu(pinned());
    rig.log.clear();
    assert_eq!(rig.start(0), Err(NotCounted));
    assert_eq!(rig.log.count(|step| *step == Step::Failed), 1);
    assert_eq!(rig.guest_slot(0), None);
    rig.happen(0, 6);
    assert_eq!(rig.take(0), 0);
    for event in [&first, &second] {
        assert!(rig.counts(event), "nobody in front is displaced");
        assert_eq!(rig.count_of(event), 6);
    }
    // Another attempt, and another.
    assert_eq!(rig.start(0), Err(NotCounted));
    rig.close(&first).unwrap();
    assert_eq!(rig.guest_slot(0), None, "only starting it revives it");
    rig.start(0).unwrap();
    rig.happen(0, 6);
    assert_eq!(rig.take(0), 6);
    assert_eq!(
        rig.start(1),
        Err(NotCounted),
        "the guest's own are pinned as well"
    );
    assert_eq!(rig.count_of(&second), 12);
}

/// The host's event is told, by its state; the guest's counter goes on.
#[test]
fn g5_a_pinned_event_that_comes_later_displaces_no_guests_counter() {
    let mut rig = Rig::new(1, 2);
    rig.start(0).unwrap();
    rig.start(1).unwrap();
    rig.unseen(3);
    let late = rig.open_on_vcpu(pinned());
    assert_eq!(rig.state(&late), State::Error);
    rig.enable(&late).unwrap();
    rig.audit();
    assert_eq!(rig.state(&late), State::Error);
    rig.unseen(3);
    assert_eq!((rig.take(0), rig.take(1)), (6, 6));
}

/// First come is who ran first, not who was opened first.
#[test]
fn g5_an_older_pinned_event_that_is_enabled_later_displaces_no_guests_counter() {
    let mut rig = Rig::new(1, 1);
    let older = rig.open_on_vcpu(disabled(pinned()));
    rig.start(0).unwrap();
    rig.unseen(3);
    rig.enable(&older).unwrap();
    rig.audit();
    assert_eq!(rig.state(&older), State::Error);
    rig.unseen(3);
    assert_eq!(rig.take(0), 6);
}

/// Whatever the host does: the slot stays, and no count is dropped or taken by anybody else.
#[test]
fn g5_nothing_moves_a_running_guests_counter() {
    let mut rig = Rig::new(1, 4);
    let front = rig.open_on_vcpu(pinned());
    rig.start(3).unwrap();
    rig.start(8).unwrap();
    let slots = [3, 8].map(|counter| rig.guest_slot(counter));
    let configs = [3, 8].map(|counter| rig.programmed(counter));
    let mut happened = 0;
    let step = |rig: &mut Rig, counts: u64| {
        rig.audit();
        assert_eq!([3, 8].map(|counter| rig.guest_slot(counter)), slots);
        assert_eq!([3, 8].map(|counter| rig.programmed(counter)), configs);
        rig.unseen(counts);
        counts
    };
    let (one, other) = (rig.task(0), rig.task(0));
    rig.run_task(0, &one);
    happened += step(&mut rig, 1);
    let events: Vec<_> = (0..3).map(|_| rig.open_task(counting(), &one)).collect();
    happened += step(&mut rig, 2);
    rig.open_task(pinned(), &other);
    rig.run_task(0, &other);
    happened += step(&mut rig, 4);
    rig.run_task(0, &one);
    happened += step(&mut rig, 8);
    rig.cpu(0).rotate();
    happened += step(&mut rig, 16);
    // Places all that is pinned anew.
    let late = rig.open_on_vcpu(pinned());
    happened += step(&mut rig, 32);
    rig.close(&front).unwrap();
    happened += step(&mut rig, 64);
    rig.close(&late).unwrap();
    rig.disable(&events[0]).unwrap();
    rig.enable(&events[0]).unwrap();
    happened += step(&mut rig, 128);
    rig.cpu(0).count(None);
    rig.cpu(0).irq_work();
    rig.cpu(0).arm();
    happened += step(&mut rig, 256);
    rig.exit(&one).unwrap();
    happened += step(&mut rig, 512);
    assert_eq!((rig.take(3), rig.take(8)), (happened, happened));
}

/// Groups that wait keep a counter from nobody: it is placed in front of them.
#[test]
fn g5_a_guests_counter_starts_while_groups_take_turns() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    rig.run_task(0, &task);
    let leader = rig.open_task(counting(), &task);
    rig.open_in_group(counting(), &task, &leader).unwrap();
    let alone = rig.open_task(counting(), &task);
    assert!(rig.cpu(0).arm().rotate && !rig.counts(&alone));
    rig.start(0).unwrap();
    assert!(!rig.counts(&leader), "a group goes as a whole");
    assert!(
        rig.counts(&alone),
        "and leaves its other counter to who fits"
    );
    rig.unseen(5);
    assert_eq!(rig.take(0), 5);
}

#[test]
fn g5_a_limit_reached_meanwhile_stops_only_its_event() {
    let mut rig = Rig::new(1, 2);
    let attr = vpmu::context::Attr::sampling(cycles(), 10);
    let event = rig.open_on_vcpu(disabled(attr));
    rig.start(0).unwrap();
    rig.refresh(&event, 1).unwrap();
    rig.happen(0, 10);
    rig.cpu(0).irq_work();
    rig.audit();
    assert_eq!(rig.state(&event), State::Off);
    rig.happen(0, 10);
    assert_eq!(rig.take(0), 20);
}

/// By calls, from a thread that is no vCPU's.
#[test]
fn events_of_the_vcpu_come_and_go_while_the_guest_counts() {
    let mut rig = Rig::new(2, 2);
    rig.start(0).unwrap();
    for round in 1..=3 {
        rig.before_call(|rig, vcpu| {
            assert_eq!(vcpu, V0);
            rig.unseen(1);
        });
        let event = rig.open_on_vcpu(counting());
        rig.unseen(1);
        rig.before_call(|rig, _| rig.stop(1));
        assert_eq!(rig.count_of(&event), 1);
        rig.close(&event).unwrap();
        rig.audit();
        assert_eq!(rig.take(0), 2, "round {round}");
    }
    let group = rig.open_on_vcpu(pinned());
    let perf = rig.perf.clone();
    let open = Open {
        group: Some(&group),
        ..Open::new(counting(), Target::Vcpu(V0))
    };
    let member = perf.open(&open, &mut rig).unwrap();
    rig.audit();
    assert_eq!(
        rig.state(&group),
        State::Error,
        "there is one left, not two"
    );
    rig.close(&member).unwrap();
    rig.enable(&group).unwrap();
    assert!(rig.counts(&group));
    assert!(rig.cpu(0).guest_slot(0).is_some());
}

/// The vCPU does not look at its own context when all that runs is the guest's.
#[test]
fn a_vcpu_without_events_of_the_host_is_idle_for_the_host() {
    let mut rig = Rig::new(1, 2);
    rig.start(0).unwrap();
    CounterSource::arm(rig.cpu(0), 0, 9);
    rig.cpu(0).count(None);
    let slot = rig.guest_slot(0).unwrap();
    assert_eq!(rig.cpu(0).arm(), vpmu::context::Armed::default());
    assert_eq!(rig.source().armed(slot), Some(9), "nobody took its counts");
}
