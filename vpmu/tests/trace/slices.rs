// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Slices say who was current and who counted, from when to when.

use vcpu_call::VcpuId;
use vpmu::context::{Attr, Target};

use crate::parsed::{Parsed, Slice, begins, ends, traced};
use crate::rig::{Rig, cycles, trapping};

fn slice(track: &str, name: &str, begin: u64, end: u64, open: bool) -> Slice {
    Slice {
        track: track.to_owned(),
        name: name.to_owned(),
        begin,
        end,
        open,
    }
}

#[test]
fn a_task_and_its_event_are_drawn_where_they_were() {
    let mut rig = Rig::new(2, 2);
    let task = rig.task(0);
    rig.pass(1_001);
    rig.run_task(0, &task);
    rig.pass(1_000);
    let event = rig.open_task(Attr::counting(cycles()), &task);
    rig.pass(500);
    rig.idle(0);
    rig.pass(99);
    rig.run_task(1, &task);
    rig.pass(7);
    rig.close(&event).unwrap();
    rig.pass(3);
    rig.idle(0);

    let trace = traced(&rig.log.records(), 1_000);
    let task = format!("task {}", task.id());
    let event = format!("event {}", event.id());
    assert_eq!(
        trace.slices,
        [
            slice("vCPU 0: counter 0", &event, 2_001, 2_501, false),
            slice("vCPU 0: task", &task, 1_001, 2_501, false),
            slice("vCPU 1: counter 0", &event, 2_600, 2_607, false),
            slice("vCPU 1: task", &task, 2_600, 2_607, true),
        ]
    );
}

/// Tasks, groups, traps, rotation, hotplug, fork and exit, with time passing in between.
fn busy() -> Rig {
    let mut rig = Rig::new(3, 2);
    let tasks = [rig.task(0), rig.task(1), rig.task(2)];
    let mut events = Vec::new();
    for (data, task) in (0..).zip(&tasks) {
        events.push(rig.open_task(trapping(10, data), task));
        let inherit = Attr {
            inherit: true,
            ..Attr::counting(cycles())
        };
        events.push(rig.open_task(inherit, task));
        events.push(rig.open_task(Attr::counting(cycles()), task));
        let vcpu = VcpuId(u32::try_from(data).unwrap());
        let target = Target::Vcpu(vcpu);
        events.push(rig.open(Attr::counting(cycles()), target).unwrap());
    }
    let mut turn = tasks.iter().cycle();
    for round in 0..12 {
        for vcpu in 0..3 {
            rig.idle(vcpu);
            rig.run_task(vcpu, turn.next().unwrap());
            rig.pass(10 * round + 1);
            rig.happen(vcpu, 7);
            rig.drain_traps(vcpu);
            rig.cpu(vcpu).rotate();
            rig.pass(3);
        }
        turn.next();
        for vcpu in 0..3 {
            rig.idle(vcpu);
        }
        match round {
            3 => {
                rig.offline(1).unwrap();
                rig.online(1).unwrap();
            }
            8 => {
                let child = rig.fork(&tasks[0]);
                rig.run_task(0, &child);
                rig.pass(5);
            }
            _ => {}
        }
        rig.close(&events.pop().unwrap()).unwrap();
    }
    rig
}

fn per_track(trace: &Parsed, track: &str) -> Vec<Slice> {
    let on_track = |slice: &&Slice| slice.track == track;
    let mut slices: Vec<_> = trace.slices.iter().filter(on_track).cloned().collect();
    slices.sort_by_key(|slice| (slice.begin, slice.end));
    slices
}

#[test]
fn what_begins_ends_once_and_nothing_overlaps() {
    let rig = busy();
    let records = rig.log.records();
    let trace = traced(&records, records.len());
    let begun = records.iter().filter(begins).count();
    let ended = records.iter().filter(ends).count();
    assert_eq!(trace.dropped, 0);
    assert!(begun > 100, "{begun} slices are no test");
    assert_eq!(trace.slices.len(), begun);
    let open = trace.slices.iter().filter(|slice| slice.open).count();
    assert_eq!(open, begun - ended);
    assert_eq!(trace.instants.len(), records.len() - begun - ended);

    let tracks: std::collections::BTreeSet<_> =
        trace.slices.iter().map(|slice| &slice.track).collect();
    assert_eq!(tracks.len(), 9, "a task and two counters each: {tracks:?}");
    for track in tracks {
        let slices = per_track(&trace, track);
        for pair in slices.windows(2) {
            assert!(pair[0].end <= pair[1].begin, "{pair:?}");
        }
    }
}

#[test]
fn a_full_trace_has_the_end_of_the_whole_one() {
    let records = busy().log.records();
    let whole = traced(&records, records.len());
    for capacity in [1, 2, 3, 10, 99, records.len() / 2, records.len() - 1] {
        let part = traced(&records, capacity);
        let kept = &records[records.len() - capacity..];
        assert_eq!(part.dropped, (records.len() - capacity) as u64);
        // Slices whose begin was dropped begin where they began all the same.
        let gone = whole.slices.len() - part.slices.len();
        assert_eq!(part.slices, whole.slices[gone..]);
        let ended = kept.iter().filter(ends).count();
        let open = whole.slices.iter().filter(|slice| slice.open).count();
        assert_eq!(part.slices.len(), ended + open);
        let gone = whole.instants.len() - part.instants.len();
        assert_eq!(part.instants, whole.instants[gone..]);
        let instants = kept.iter().filter(|it| !begins(it) && !ends(it)).count();
        assert_eq!(part.instants.len(), instants);
    }
}
