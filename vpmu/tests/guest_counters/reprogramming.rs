// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One event behind each counter, which counts now this and now that.

use vpmu::context::Step;
use vpmu::{CounterSource, EventSelect};

use crate::checks::*;
use crate::rig::*;

#[test]
fn a_counter_counts_what_it_was_last_started_with() {
    let mut rig = Rig::new(1, 2);
    for select in [0x1_00C0, 0x2_00C0, 0x3_003C, 0x3_01C2] {
        let config = EventSelect(select).decode();
        rig.start_with(0, &config).unwrap();
        assert_eq!(rig.programmed(0), Some(config));
    }
    rig.stop(0);
    assert_eq!(rig.programmed(0), None);
    rig.start_with(0, &cycles()).unwrap();
    assert_eq!(rig.programmed(0), Some(cycles()));
}

/// A host event whose attributes stay what they are is not reprogrammed by its neighbours.
#[test]
fn it_changes_nothing_for_others() {
    let mut rig = Rig::new(1, 3);
    let host = rig.open_on_vcpu(counting());
    rig.start_with(1, &cycles()).unwrap();
    for _ in 0..3 {
        rig.start_with(0, &user_instructions()).unwrap();
        rig.unseen(5);
        rig.start_with(0, &cycles()).unwrap();
        rig.unseen(5);
    }
    assert_eq!((rig.take(1), rig.take(0)), (30, 5));
    assert_eq!(rig.count_of(&host), 30);
    assert_eq!(rig.perf.status(&host).unwrap().config, cycles());
}

/// It is the same event for ever, of which the log tells: nothing was opened or closed.
#[test]
fn nothing_is_opened_and_nothing_closed() {
    let mut rig = Rig::new(1, 2);
    for _ in 0..100 {
        rig.start(4).unwrap();
        rig.stop(4);
    }
    let records = rig.log.records();
    assert_eq!(records.len(), 200);
    for pair in records.chunks(2) {
        assert_eq!(
            [pair[0].step, pair[1].step],
            [Step::SlotIn(0), Step::SlotOut(0)]
        );
        for record in pair {
            let event = record.event.unwrap();
            assert_eq!(event.guest_counter(), Some((V0, 4)));
            assert_eq!(record.vcpu, Some(V0));
        }
    }
}

/// While it is stopped, its slot is everybody's.
#[test]
fn a_stopped_counter_holds_nothing() {
    let mut rig = Rig::new(1, 1);
    let host = rig.open_on_vcpu(counting());
    for _ in 0..3 {
        rig.start(0).unwrap();
        assert!(!rig.counts(&host));
        rig.stop(0);
        rig.cpu(0).rotate();
        rig.audit();
        assert!(rig.counts(&host));
        rig.unseen(2);
    }
    assert_eq!(rig.count_of(&host), 6);
    assert_eq!(rig.cpu(0).take(0), 0);
}
