// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! On a host for tests: what the hardware's events need is shown here alone where there is none.

use super::super::test_host::TestHost;
use super::*;
use std::vec::Vec;

fn request(config: u64) -> Request {
    Request {
        kind: 0,
        config,
        usr: true,
        os: true,
        guest_only: true,
    }
}

fn engine(window: Window) -> (Engine<TestHost>, TestHost) {
    let host = TestHost::default();
    (Engine::new(host.clone(), window), host)
}

fn hardware() -> (Engine<TestHost>, TestHost) {
    engine(Window::Hardware)
}

#[test]
fn s1_hardware_counts_from_start_to_stop() {
    let (mut engine, host) = hardware();
    assert_eq!(engine.start(0, request(1)), Ok(()));
    host.pass(7);
    assert_eq!(engine.start(1, request(1)), Ok(()), "an event of its own");
    engine.enter_guest();
    host.pass(100);
    engine.exit_guest();
    assert_eq!((engine.take(0), engine.take(1)), (107, 100));
    engine.stop(0);
    host.pass(1);
    assert_eq!((engine.take(0), engine.take(1)), (0, 1));
    let on: Vec<_> = host.world().events.iter().map(|event| event.on).collect();
    assert_eq!(on, [false, true]);
}

#[test]
fn s1_without_hardware_nothing_counts_outside_of_entry_and_exit() {
    let (mut engine, host) = engine(Window::Calls);
    assert_eq!(engine.start(0, request(1)), Ok(()));
    host.pass(5);
    engine.enter_guest();
    host.pass(3);
    assert_eq!(engine.start(1, request(2)), Ok(()), "inside");
    host.pass(1);
    engine.exit_guest();
    host.pass(5);
    assert_eq!((engine.take(0), engine.take(1)), (4, 1));
    assert_eq!(engine.arm(0, 10), Wake::BySource, "and not by arming");
    host.pass(5);
    assert_eq!(engine.take(0), 0);
}

#[test]
fn s2_a_count_that_goes_back_counts_nothing_and_nothing_twice() {
    let (mut engine, host) = hardware();
    assert_eq!(engine.start(0, request(1)), Ok(()));
    host.pass(100);
    assert_eq!(engine.take(0), 100);
    host.world().events[0].count = 40;
    assert_eq!(engine.take(0), 0);
    host.pass(70);
    assert_eq!(engine.take(0), 10);
}

#[test]
fn the_same_request_gets_its_event_back() {
    let (mut engine, host) = hardware();
    for n in [1, 2, 1, 2, 1] {
        assert_eq!(engine.start(0, request(n)), Ok(()));
        host.pass(5);
        assert_eq!(engine.take(0), 5, "nothing of before");
        engine.stop(0);
    }
    let stats = engine.stats();
    assert_eq!((stats.opened, stats.reused), (2, 3));
    assert!(
        host.world()
            .events
            .iter()
            .all(|event| event.open && !event.on)
    );
}

#[test]
fn an_event_that_comes_back_is_not_armed() {
    let (mut engine, host) = hardware();
    assert_eq!(engine.start(0, request(1)), Ok(()));
    assert_eq!(engine.arm(0, 5), Wake::BySource);
    engine.stop(0);
    assert_eq!(engine.start(3, request(1)), Ok(()));
    assert_eq!(engine.stats().reused, 1);
    host.pass(1_000);
    assert_eq!(host.world().events[0].overflows, 0);
}

#[test]
fn an_overflow_comes_once_and_when_it_is_due() {
    let (mut engine, host) = hardware();
    assert_eq!(engine.start(0, request(1)), Ok(()));
    let overflows = || host.world().events[0].overflows;
    assert_eq!(engine.arm(0, 5), Wake::BySource);
    host.pass(4);
    assert_eq!((overflows(), engine.take(0)), (0, 4));
    assert_eq!(engine.arm(0, 1), Wake::BySource);
    host.pass(1);
    assert_eq!((overflows(), engine.take(0)), (1, 1));
    host.pass(1_000);
    assert_eq!((overflows(), engine.take(0)), (1, 1_000), "taking disarms");
    assert_eq!(engine.arm(0, 7), Wake::BySource);
    host.pass(6);
    assert_eq!(overflows(), 1);
    host.pass(1);
    assert_eq!(overflows(), 2);
}

#[test]
fn s5_arming_costs_nothing_while_the_overflow_ahead_is_the_same() {
    let (mut engine, host) = hardware();
    assert_eq!(engine.start(0, request(1)), Ok(()));
    for _ in 0..10 {
        let distance = 100 - host.world().events[0].count;
        assert_eq!(engine.arm(0, distance), Wake::BySource);
        host.pass(3);
        assert_eq!(engine.take(0), 3);
    }
    assert_eq!(host.world().periods, 1);
    assert_eq!(engine.arm(0, 50), Wake::BySource);
    assert_eq!(host.world().periods, 2, "another overflow");
}

#[test]
fn a_distance_is_never_nothing_and_never_more_than_linux_takes() {
    let (mut engine, host) = hardware();
    assert_eq!(engine.start(0, request(1)), Ok(()));
    for (distance, period) in [(0, 1), (1, 1), (NEVER, NEVER), (u64::MAX, NEVER)] {
        assert_eq!(engine.arm(0, distance), Wake::BySource);
        assert_eq!(host.world().events[0].period, period, "{distance}");
    }
}

#[test]
fn a_period_that_is_refused_leaves_it_to_the_vmm() {
    let (mut engine, host) = hardware();
    assert_eq!(engine.start(0, request(1)), Ok(()));
    assert_eq!(engine.arm(0, 9), Wake::BySource);
    host.world().refuses_periods = true;
    assert_eq!(engine.arm(0, 5), Wake::InCycles(5));
    assert_eq!(engine.stats().refused, 1);
    host.pass(2);
    assert_eq!(engine.take(0), 2, "it counts all the same");
    host.world().refuses_periods = false;
    assert_eq!(engine.arm(0, 3), Wake::BySource);
    host.pass(3);
    assert_eq!(host.world().events[0].overflows, 1);
}

#[test]
fn s4_what_has_no_counter_now_does_not_start() {
    let (mut engine, host) = hardware();
    host.world().taken = true;
    assert_eq!(engine.start(0, request(1)), Err(NotCounted));
    assert!(!host.world().events[0].open);
    host.world().taken = false;
    assert_eq!(engine.start(0, request(1)), Ok(()));
    host.world().refuses = Some(|_| Some(libc::EMFILE));
    assert_eq!(engine.start(0, request(2)), Err(NotCounted));
    host.pass(3);
    assert_eq!(engine.take(0), 0, "it was stopped for that");
    assert_eq!(engine.stats().refused, 2);
}

#[test]
fn a_counter_that_was_lost_is_noticed_and_asked_for_again() {
    let (mut engine, host) = hardware();
    assert_eq!(engine.start(0, request(1)), Ok(()));
    host.pass(10);
    assert_eq!(engine.take(0), 10);
    host.world().taken = true;
    host.world().events[0].lost = true;
    host.pass(10);
    assert_eq!((engine.take(0), engine.take(0)), (0, 0));
    assert_eq!(engine.stats().stood_still, 2);
    host.world().taken = false;
    assert_eq!(engine.take(0), 0, "this asks");
    host.pass(4);
    assert_eq!(engine.take(0), 4);
    assert_eq!(engine.stats().stood_still, 3);
}

#[test]
fn s3_slots_that_do_not_run() {
    let (mut engine, host) = hardware();
    assert_eq!(engine.start(0, request(1)), Ok(()));
    host.pass(9);
    assert_eq!(engine.start(0, request(1)), Ok(()), "anew");
    host.pass(2);
    assert_eq!(engine.take(0), 2);
    for slot in [1, MAX_SLOTS, usize::MAX] {
        engine.stop(slot);
        assert_eq!(engine.take(slot), 0);
        assert_eq!(engine.arm(slot, 0), Wake::InCycles(1));
    }
    assert_eq!(engine.start(MAX_SLOTS, request(1)), Err(NotCounted));
}

#[test]
fn the_source_moves_to_another_thread_when_nothing_runs() {
    let (mut engine, host) = hardware();
    assert_eq!(engine.start(0, request(1)), Ok(()));
    assert_eq!(engine.start(1, request(1)), Ok(()));
    engine.stop(1);
    host.world().thread = 2;
    assert_eq!(
        engine.start(1, request(1)),
        Err(NotCounted),
        "slot 0 counts the old thread"
    );
    engine.stop(0);
    assert_eq!(engine.start(1, request(1)), Ok(()));
    assert_eq!(
        engine.stats().opened,
        3,
        "what was open counts the old thread"
    );
    let open: Vec<_> = host.world().events.iter().map(|event| event.open).collect();
    assert_eq!(open, [false, false, true]);
}

#[test]
fn whatever_a_guest_programs_a_bounded_number_of_events_is_open() {
    let (mut engine, host) = hardware();
    for n in 0..1_000 {
        let slot = usize::try_from(n).unwrap() % MAX_SLOTS;
        assert_eq!(engine.start(slot, request(n)), Ok(()));
        host.pass(1);
        assert_eq!(engine.take(slot), 1);
    }
    let open = host
        .world()
        .events
        .iter()
        .filter(|event| event.open)
        .count();
    assert_eq!(open, 2 * MAX_SLOTS);
}
