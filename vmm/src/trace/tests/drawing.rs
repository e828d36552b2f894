// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is drawn for which records.

use proptest::prelude::*;
use serde_json::{Value, json};
use vcpu_call::VcpuId;
use vcpu_life::VcpuState;
use vpmu::context::{EventId, Leaves, Step, TaskId};
use vpmu::{CounterId, EventSelect, PmiOutcome};

use super::parsed::{Event, parse};
use crate::trace::record::{Record, What};
use crate::trace::timeline::Timeline;

const ORIGIN: u64 = 1_000;
/// The id of the guest's own counter 9 on vCPU 0.
const GUEST_COUNTER: EventId = EventId(1 << 63 | 9);

/// Draws records of vCPU 0, each with its time since the trace began.
fn drawn(records: &[(u64, What)]) -> Vec<Event> {
    let records = records.iter().map(|&(at, what)| (Some(0), at, 0, what));
    drawn_from(records)
}

fn drawn_from(records: impl IntoIterator<Item = (Option<u32>, u64, u64, What)>) -> Vec<Event> {
    let mut timeline = Timeline::new("a \"VM\"", ORIGIN);
    for (vcpu, at, lost, what) in records {
        let time = ORIGIN + at;
        timeline.add(vcpu, &Record { time, lost, what });
    }
    timeline.end(0, 0);
    let mut events = parse(timeline.json().text());
    assert_eq!(events.pop().unwrap().name, "end of the trace");
    events
}

fn core(event: Option<EventId>, step: Step) -> What {
    What::Core {
        vcpu: Some(VcpuId(0)),
        task: Some(TaskId(4)),
        event,
        step,
    }
}

fn short(events: &[Event]) -> Vec<(char, &str, u64, u64)> {
    events
        .iter()
        .map(|event| (event.kind, event.name.as_str(), event.from, event.to))
        .collect()
}

#[test]
fn a_vcpu_is_in_the_guest_or_handles_an_exit_within_its_state() {
    let events = drawn(&[
        (1, What::State(0, VcpuState::Running)),
        (5, What::Enter),
        (9, What::Exit("io-out")),
        (12, What::Enter),
        (20, What::Exit("kick")),
        (22, What::State(0, VcpuState::Paused)),
        (40, What::State(0, VcpuState::Running)),
        (41, What::Enter),
    ]);
    assert_eq!(
        short(&events),
        [
            ('B', "running", 1, 1),
            ('X', "guest", 5, 9),
            ('X', "io-out", 9, 12),
            ('X', "guest", 12, 20),
            ('X', "kick", 20, 22),
            ('E', "running", 22, 22),
            ('B', "paused", 22, 22),
            ('E', "paused", 40, 40),
            ('B', "running", 40, 40),
            ('E', "running", 41, 41),
        ]
    );
    assert_eq!(events[1].args, json!({"exit": "io-out"}));
    assert!(events.iter().all(|event| event.track == "vCPU 0"));
}

#[test]
fn where_records_are_missing_no_slice_is_made_up() {
    let events = drawn_from([
        (Some(0), 1, 0, What::Enter),
        // The exit and the next entry were lost.
        (Some(0), 50, 2, What::Exit("io-in")),
        (Some(0), 60, 0, What::Enter),
        // The exit was lost without a word: it cannot be, and still nothing is made up.
        (Some(0), 70, 0, What::Enter),
        (Some(0), 75, 0, What::Exit("kick")),
    ]);
    assert_eq!(
        short(&events),
        [
            ('i', "lost", 50, 50),
            ('X', "io-in", 50, 60),
            ('X', "guest", 70, 75),
            ('X', "kick", 75, 75),
        ]
    );
    assert_eq!(events[0].args, json!({"records": 2}));
}

#[test]
fn a_record_that_comes_late_is_drawn_where_the_one_before_it_is() {
    let events = drawn(&[
        (10, What::Enter),
        (30, What::Overflow(CounterId::Gp(0), Some(7))),
        (29, What::Pmi(PmiOutcome::Fixed(0x21))),
        (40, What::Exit("kick")),
    ]);
    assert_eq!(
        short(&events)[..3],
        [
            ('i', "guest overflow", 30, 30),
            ('i', "PMI", 30, 30),
            ('X', "guest", 10, 40),
        ]
    );
    assert_eq!(events[0].args, json!({"counter": "PMC0", "skid": 7}));
    assert_eq!(
        events[1].args,
        json!({"outcome": "interrupt", "vector": 0x21})
    );
}

#[test]
fn what_the_registers_tell_has_its_words() {
    let select = EventSelect(0x43_00c0);
    let counter = CounterId::Fixed(1);
    let cases = [
        (What::Pmi(PmiOutcome::Nmi), "PMI", json!({"outcome": "NMI"})),
        (
            What::Pmi(PmiOutcome::Masked),
            "PMI",
            json!({"outcome": "masked"}),
        ),
        (
            What::Pmi(PmiOutcome::Undeliverable),
            "PMI",
            json!({"outcome": "undeliverable"}),
        ),
        (
            What::Overflow(counter, None),
            "guest overflow",
            json!({"counter": "FIXED_CTR1"}),
        ),
        (
            What::Throttled(counter, 500),
            "guest overflow held back",
            json!({"counter": "FIXED_CTR1", "for_ns": 500}),
        ),
        (
            What::Still(counter, select, "filtered"),
            "filtered",
            json!({"counter": "FIXED_CTR1", "select": "0x4300c0"}),
        ),
        (
            core(Some(GUEST_COUNTER), Step::Overflow(2)),
            "overflow",
            json!({"task": 4, "guest counter": 9, "overflows": 2}),
        ),
        (
            core(Some(EventId(3)), Step::CallSent(VcpuId(1))),
            "call",
            json!({"task": 4, "event": 3, "to": 1}),
        ),
    ];
    for (what, name, args) in cases {
        let events = drawn(&[(3, what)]);
        assert_eq!(short(&events), [('i', name, 3, 3)]);
        assert_eq!(events[0].args, args);
        assert_eq!(events[0].track, "vCPU 0");
    }
}

#[test]
fn a_slot_is_drawn_while_an_event_is_on_it() {
    let events = drawn(&[
        (2, core(Some(GUEST_COUNTER), Step::SlotIn(1))),
        (4, core(Some(EventId(7)), Step::SlotIn(0))),
        (8, core(Some(GUEST_COUNTER), Step::SlotOut(1))),
        // Its end was lost, and the begin of the next one's was not.
        (9, core(Some(EventId(8)), Step::SlotIn(0))),
        // Its begin was lost.
        (9, core(None, Step::SlotOut(2))),
        (10, core(None, Step::SwitchIn)),
        (11, core(None, Step::SwitchOut(Leaves::Blocked))),
    ]);
    assert_eq!(
        short(&events),
        [
            ('B', "guest counter 9", 2, 2),
            ('B', "event 7", 4, 4),
            ('E', "guest counter 9", 8, 8),
            ('E', "event 7", 9, 9),
            ('B', "event 8", 9, 9),
            ('B', "task 4", 10, 10),
            ('E', "task 4", 11, 11),
            ('E', "event 8", 11, 11),
        ]
    );
    let tracks: Vec<_> = events.iter().map(|event| event.track.as_str()).collect();
    assert_eq!(tracks[..2], ["vCPU 0 slot 1", "vCPU 0 slot 0"]);
    assert_eq!(tracks[5], "vCPU 0 task");
    assert_eq!(events[0].args, json!({"task": 4, "guest counter": 9}));
    assert_eq!(events[6].args, json!({"leaves": "blocked"}));
}

#[test]
fn each_counter_of_each_vcpu_has_a_plot() {
    let counted = |vcpu, at, value| {
        let what = What::Counted(CounterId::Gp(2), value);
        (Some(vcpu), at, 0, what)
    };
    let events = drawn_from([counted(0, 1, 5), counted(1, 2, 1 << 60), counted(0, 3, 6)]);
    assert_eq!(
        short(&events),
        [
            ('C', "vCPU 0 PMC2", 1, 1),
            ('C', "vCPU 1 PMC2", 2, 2),
            ('C', "vCPU 0 PMC2", 3, 3),
        ]
    );
    assert_eq!(events[1].args, json!({"counted": 1_u64 << 60}));
}

#[test]
fn threads_that_are_no_vcpus_share_a_track_and_tell_of_vcpus() {
    let open = What::Core {
        vcpu: None,
        task: None,
        event: Some(EventId(1)),
        step: Step::Open,
    };
    let starting = What::State(3, VcpuState::Starting);
    let events = drawn_from([(None, 1, 0, open), (None, 2, 4, starting)]);
    let tracks: Vec<_> = events
        .iter()
        .map(|event| (event.track.as_str(), event.name.as_str()))
        .collect();
    assert_eq!(
        tracks,
        [
            ("host", "open"),
            ("host", "lost"),
            ("vCPU 3", "starting"),
            ("vCPU 3", "starting"),
        ]
    );
}

#[test]
fn the_end_says_what_is_missing() {
    let mut timeline = Timeline::new("vm", ORIGIN);
    timeline.end(12, 3);
    let events = parse(timeline.json().text());
    assert_eq!(short(&events), [('i', "end of the trace", 0, 0)]);
    assert_eq!(events[0].args, json!({"records": 12, "dropped": 3}));
}

#[test]
fn the_process_has_the_name_of_the_vm() {
    let mut timeline = Timeline::new("a \"VM\"", ORIGIN);
    timeline.end(0, 0);
    let all: Value = serde_json::from_str(timeline.json().text()).unwrap();
    assert_eq!(all[0]["name"], "process_name");
    assert_eq!(all[0]["args"]["name"], "a \"VM\"");
}

fn what() -> impl Strategy<Value = What> {
    let step = prop_oneof![
        (0..3_usize).prop_map(Step::SlotIn),
        (0..3_usize).prop_map(Step::SlotOut),
        Just(Step::SwitchIn),
        Just(Step::SwitchOut(Leaves::Queued)),
        Just(Step::Rotate),
    ];
    let state = (0..2_u32, prop::sample::select(&VcpuState::ALL[..]));
    prop_oneof![
        3 => Just(What::Enter),
        3 => Just(What::Exit("io-out")),
        2 => state.prop_map(|(vcpu, state)| What::State(vcpu, state)),
        1 => Just(What::Pmi(PmiOutcome::Nmi)),
        1 => (0..99_u64).prop_map(|count| What::Counted(CounterId::Gp(0), count)),
        3 => step.prop_map(|step| core(Some(EventId(1)), step)),
    ]
}

proptest! {
    /// Rule 4, whatever is recorded, late or lost. [`parse`] looks after it.
    #[test]
    fn on_each_track_time_goes_on_and_slices_nest(
        records in prop::collection::vec(
            (prop::option::of(0..2_u32), 0..40_u64, prop::bool::weighted(0.1), what()),
            0..80,
        )
    ) {
        let mut clock = 100;
        let records = records.into_iter().map(|(vcpu, jitter, lost, what)| {
            clock += 10;
            (vcpu, clock - jitter, u64::from(lost), what)
        });
        drawn_from(records.collect::<Vec<_>>());
    }
}
