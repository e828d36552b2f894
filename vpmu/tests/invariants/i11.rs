// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! I11: an event never runs for longer than it is enabled, neither time goes back, nor does the
//! count but for a reset, and a reading is the event's own with those of all who inherited it.

use vpmu::Nanos;
use vpmu::context::{Event, Reading};

use crate::checks::*;
use crate::rig::*;

#[track_caller]
fn grows(rig: &mut Rig, event: &Event, last: &mut Reading) {
    let now = rig.read(event).unwrap();
    assert!(now.count >= last.count, "{last:?} {now:?}");
    assert!(now.time_enabled >= last.time_enabled, "{last:?} {now:?}");
    assert!(now.time_running >= last.time_running, "{last:?} {now:?}");
    assert!(now.time_running <= now.time_enabled, "{now:?}");
    *last = now;
}

#[test]
fn i11_counts_and_times_only_grow() {
    let mut rig = Rig::new(2, 1);
    let task = rig.task(0);
    let event = rig.open_task(counting(), &task);
    // Takes the counter in turns with the other, so that it does not always run.
    let rival = rig.open_task(counting(), &task);
    let mut last = Reading::default();
    for round in 0..30 {
        let vcpu = round % 2;
        rig.run_task(vcpu, &task);
        rig.happen(vcpu, 3);
        rig.pass(10);
        grows(&mut rig, &event, &mut last);
        rig.cpu(vcpu).rotate();
        rig.pass(1);
        grows(&mut rig, &event, &mut last);
        if round == 10 {
            rig.disable(&event).unwrap();
        }
        if round == 20 {
            rig.enable(&event).unwrap();
        }
        grows(&mut rig, &event, &mut last);
        rig.idle(vcpu);
        rig.pass(100);
        grows(&mut rig, &event, &mut last);
    }
    // It was off from the eleventh to the twenty-first round: 20 rounds of 11 ns, the rest half.
    assert_eq!(last.time_enabled.0, 20 * 11);
    assert!(last.time_running.0 > 0 && last.time_running.0 < 20 * 11);
    assert!(last.count > 0 && last.count < 60);
    rig.close(&rival).unwrap();
    rig.reset(&event).unwrap();
    let after = rig.read(&event).unwrap();
    assert_eq!(after.count, 0);
    assert_eq!(after.time_enabled, last.time_enabled);
    assert_eq!(after.time_running, last.time_running);
}

/// Read(parent) = own + live children + dead children.
#[test]
fn i11_a_reading_sums_up_the_family() {
    let mut rig = Rig::new(3, 4);
    let parent = rig.task(0);
    let event = rig.open_task(inherited(counting()), &parent);
    let children = [rig.fork(&parent), rig.fork(&parent)];
    let grandchild = rig.fork(&children[0]);
    rig.run_task(0, &parent);
    rig.happen(0, 1);
    rig.run_task(1, &children[0]);
    rig.happen(1, 10);
    rig.run_task(2, &children[1]);
    rig.happen(2, 100);
    rig.pass(5);
    rig.idle(2);
    rig.run_task(2, &grandchild);
    rig.happen(2, 1_000);
    rig.pass(5);
    let expected = (1_111, Nanos(30), Nanos(30));
    assert_eq!(rig.totals(&event), expected);
    // Whoever exits leaves what they counted, looked at or not.
    rig.cpu(1).source_mut().count(10_000);
    rig.exit(&children[0]).unwrap();
    let expected = (11_111, expected.1, expected.2);
    assert_eq!(rig.totals(&event), expected);
    rig.exit(&grandchild).unwrap();
    rig.exit(&children[1]).unwrap();
    assert_eq!(rig.totals(&event), expected);
    rig.exit(&parent).unwrap();
    assert_eq!(rig.totals(&event), expected);
    // A reset is one of everything that was counted.
    rig.reset(&event).unwrap();
    assert_eq!(rig.totals(&event), (0, expected.1, expected.2));
}
