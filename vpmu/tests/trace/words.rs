// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What each step is called.

use serde_json::{Value, json};
use vcpu_call::VcpuId;
use vpmu::Nanos;
use vpmu::context::{EventId, Record, Retry, Step, TaskId};

use crate::parsed::traced;
use crate::rig::{Rig, trapping};

/// A step, its name, and what it tells beside its task and event.
fn words() -> Vec<(Step, &'static str, Value)> {
    vec![
        (Step::Created(None), "created", json!({})),
        (Step::Created(Some(TaskId(5))), "forked", json!({"from": 5})),
        (Step::Exec, "exec", json!({})),
        (Step::Exited, "exit", json!({})),
        (Step::Online, "online", json!({})),
        (Step::Offline, "offline", json!({})),
        (Step::Swap(TaskId(6)), "swap", json!({"with": 6})),
        (Step::Migrate(VcpuId(2)), "migrate", json!({"to": 2})),
        (Step::Wake(VcpuId(2)), "wake", json!({"to": 2})),
        (Step::Refused, "refused", json!({})),
        (Step::Open, "open", json!({})),
        (Step::Close, "close", json!({})),
        (Step::Round(3), "round", json!({"round": 3})),
        (Step::CallSent(VcpuId(1)), "call", json!({"to": 1})),
        (
            Step::CallRefused(VcpuId(1)),
            "call refused",
            json!({"to": 1}),
        ),
        (Step::CallServed, "call served", json!({})),
        (Step::Retry(Retry::Moved), "retry", json!({"why": "moved"})),
        (
            Step::Retry(Retry::Running),
            "retry",
            json!({"why": "running"}),
        ),
        (
            Step::Retry(Retry::NotHere),
            "retry",
            json!({"why": "not here"}),
        ),
        (
            Step::Retry(Retry::Offline),
            "retry",
            json!({"why": "offline"}),
        ),
        (Step::Failed, "failed", json!({})),
        (Step::Rotate, "rotate", json!({})),
        (Step::Overflow(4), "overflow", json!({"overflows": 4})),
        (Step::Throttled, "throttled", json!({})),
        (Step::Limit, "limit", json!({})),
        (Step::IrqWork, "irq work", json!({})),
        (Step::TrapQueued, "trap queued", json!({})),
        (Step::TrapMerged, "trap merged", json!({})),
        (Step::TrapSent, "trap sent", json!({})),
        (Step::TrapsDropped(2), "traps dropped", json!({"traps": 2})),
    ]
}

#[test]
fn every_instant_says_what_it_is_about() {
    let records: Vec<_> = words()
        .iter()
        .map(|(step, ..)| Record {
            time: Nanos(1_234),
            vcpu: Some(VcpuId(3)),
            task: Some(TaskId(8)),
            event: Some(EventId(9)),
            step: *step,
        })
        .collect();
    let instants = traced(&records, 100).instants;
    assert_eq!(instants.len(), records.len());
    for ((step, name, mut args), seen) in words().into_iter().zip(instants) {
        args["task"] = json!(8);
        args["event"] = json!(9);
        let expected = ("vCPU 3: task".to_owned(), name.to_owned(), 1_234, args);
        assert_eq!(seen, expected, "{step:?}");
    }
}

#[test]
fn threads_that_are_no_vcpus_share_a_track() {
    let record = Record {
        time: Nanos(7),
        vcpu: None,
        task: None,
        event: None,
        step: Step::Close,
    };
    let expected = ("host: threads".to_owned(), "close".to_owned(), 7, json!({}));
    assert_eq!(traced(&[record], 1).instants, [expected]);
}

#[test]
fn traps_that_an_exit_drops_are_told_wherever_the_task_is() {
    for running in [true, false] {
        let mut rig = Rig::new(1, 1);
        let task = rig.task(0);
        let event = rig.open_task(trapping(10, 1), &task);
        rig.run_task(0, &task);
        rig.happen(0, 10);
        if !running {
            rig.idle(0);
        }
        rig.exit(&task).unwrap();
        assert_eq!(event.traps().dropped, 1);
        let trace = traced(&rig.log.records(), 100);
        let dropped: Vec<_> = trace
            .instants
            .into_iter()
            .filter(|instant| instant.1 == "traps dropped")
            .map(|instant| instant.3)
            .collect();
        let id = task.id().0;
        assert_eq!(dropped, [json!({"task": id, "traps": 1})], "{running}");
    }
}
