// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Names of events: an [`EventId`] is of one event and is never used again.

use std::collections::BTreeSet;

use vpmu::context::{EventId, Step, Target};

use crate::checks::*;
use crate::rig::*;

/// Contexts get names in blocks, which these many events use up more than once.
const MANY: usize = 150;

#[test]
fn no_two_events_have_one_name() {
    let mut rig = Rig::new(1, 4);
    let (busy, other) = (rig.task(0), rig.task(0));
    rig.open_task(inherited(counting()), &busy);
    let mut opened = 0;
    for _ in 0..MANY {
        let events = [
            rig.open_task(disabled(counting()), &busy),
            rig.open_task(disabled(counting()), &other),
            rig.open(disabled(counting()), Target::Vcpu(V0)).unwrap(),
        ];
        for event in events {
            rig.close(&event).unwrap();
            opened += 1;
        }
    }
    // The copies are seen on their counter only.
    for _ in 0..3 {
        let child = rig.fork(&busy);
        rig.run_task(0, &child);
        rig.idle(0);
    }
    let records = rig.log.records();
    let ids = |step: fn(&Step) -> bool| -> Vec<EventId> {
        let of_step = records.iter().filter(|record| step(&record.step));
        of_step.filter_map(|record| record.event).collect()
    };
    let names = [
        ids(|step| *step == Step::Open),
        ids(|step| matches!(step, Step::SlotIn(_))),
    ];
    let [begun, counted] = names.map(|ids| (ids.len(), BTreeSet::from_iter(ids)));
    assert_eq!(begun.0, opened + 1);
    assert_eq!(begun.1.len(), begun.0, "names of what was opened");
    assert_eq!((counted.0, counted.1.len()), (3, 3), "names of copies");
    assert!(begun.1.is_disjoint(&counted.1), "names of both");
}
