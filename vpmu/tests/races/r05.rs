// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R5: the target goes to and fro between two vCPUs, always one step ahead. Each retry costs it a
//! move (I5), so when it stops, the operation ends.

use vpmu::context::{Event, Retry, State, Task};

use crate::checks::*;
use crate::rig::*;

const MOVES: [usize; 5] = [0, 1, 2, 7, 50];

/// Before each of the next `moves` calls, t leaves the vCPU that is called for the other one.
fn flees(rig: &mut Rig, task: &Task, moves: usize) {
    for _ in 0..moves {
        let task = task.clone();
        rig.before_call(move |rig, called| {
            rig.idle(called.0);
            rig.run_task(1 - called.0, &task);
        });
    }
}

fn expect_on(moves: usize) -> State {
    State::Active(if moves.is_multiple_of(2) { V0 } else { V1 })
}

/// 1. t is current on vCPU 0; the installer reads that.
/// 2. Before the call arrives, t moves to the other vCPU. N times.
/// 3. t stays. N + 1 calls, in one round.
#[test]
fn r05_an_installation_makes_one_call_a_move() {
    for moves in MOVES {
        let mut rig = Rig::new(2, 2);
        let task = rig.task(0);
        rig.run_task(0, &task);
        flees(&mut rig, &task, moves);
        rig.log.clear();
        let event = rig.open_task(counting(), &task);
        assert_eq!(rig.state(&event), expect_on(moves));
        assert_eq!(rig.log.calls(), moves + 1);
        assert_eq!(rig.retries(), vec![Retry::Moved; moves]);
        assert_eq!(rig.log.rounds(), 1);
        assert_eq!(rig.script_left(), 0);
    }
}

/// 1. t is current on vCPU 0; the installer reads that.
/// 2. t is switched out right before the call is run and runs on the other vCPU before its answer
///    arrives: not current there, running under the lock. N times.
/// 3. t stays. One round more than t moved (I5).
#[test]
fn r05_an_installation_makes_one_round_a_move() {
    for moves in MOVES {
        let mut rig = Rig::new(2, 2);
        let task = rig.task(0);
        rig.run_task(0, &task);
        for _ in 0..moves {
            let task = task.clone();
            rig.before_call(|rig, called| rig.idle(called.0));
            rig.after_call(move |rig, called| rig.run_task(1 - called.0, &task));
        }
        rig.log.clear();
        let event = rig.open_task(counting(), &task);
        assert_eq!(rig.state(&event), expect_on(moves));
        assert_eq!(rig.log.calls(), moves + 1);
        assert_eq!(rig.retries(), vec![Retry::Running; moves]);
        assert_eq!(rig.log.rounds(), moves + 1);
    }
}

/// The same as the first, for what is done to an event that is there already.
#[test]
fn r05_an_operation_makes_one_call_a_move() {
    type Act = fn(&mut Rig, &Event);
    let acts: [(&str, Act); 4] = [
        ("enable", |rig, event| rig.enable(event).unwrap()),
        ("refresh", |rig, event| rig.refresh(event, 1).unwrap()),
        ("read", |rig, event| assert_eq!(rig.count_of(event), 0)),
        ("disable", |rig, event| rig.disable(event).unwrap()),
    ];
    for moves in MOVES {
        for (name, act) in acts {
            let mut rig = Rig::new(2, 2);
            let task = rig.task(0);
            rig.open_task(counting(), &task);
            let event = rig.open_task(trapping_when_enabled(10, 1), &task);
            rig.run_task(0, &task);
            flees(&mut rig, &task, moves);
            rig.log.clear();
            act(&mut rig, &event);
            assert_eq!(rig.log.calls(), moves + 1, "{name}");
            assert_eq!(rig.retries(), vec![Retry::NotHere; moves], "{name}");
            let then = match name {
                "enable" | "refresh" => expect_on(moves),
                _ => State::Off,
            };
            assert_eq!(rig.state(&event), then, "{name}");
        }
    }
}
