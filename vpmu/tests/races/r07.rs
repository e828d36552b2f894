// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R7: open found the context of a task that exits before open is alone with it.

use vpmu::context::{Event, Open, PerfError, State, Step, Target};

use crate::checks::*;
use crate::other::*;
use crate::rig::*;

/// 1. t exits: the exit is inside the context's gate and calls vCPU 0.
/// 2. Another thread opens an event of t: it finds the context, and waits at the gate.
/// 3. The exit buries the context and leaves.
/// 4. The open enters and finds a tombstone: ESRCH, and nothing is attached (I8).
#[test]
fn r07_open_waits_for_an_exit_and_finds_a_tombstone() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    let first = rig.open_task(counting(), &task);
    rig.run_task(0, &task);
    rig.happen(0, 3);
    let target = task.clone();
    let opens: Act<Result<Event, PerfError>> =
        Box::new(move |perf, by| perf.open(&Open::new(counting(), Target::Task(&target)), by));
    let queue = Queue::while_called(&mut rig, vec![opens]);
    rig.log.clear();
    rig.exit(&task).unwrap();
    let opened = queue.finish(&mut rig).remove(0);
    assert_eq!(opened.unwrap_err(), PerfError::NoSuchTask);
    assert_eq!(rig.sent(), [0], "the exit's");
    assert_eq!(rig.log.rounds(), 0);
    assert!(task.has_exited());
    assert_eq!(rig.state(&first), State::Exit);
    assert_eq!(rig.count_of(&first), 3);
}

/// 1. The first event of t is opened: the installation is inside the gate and calls vCPU 0.
/// 2. t exits, on another thread: it waits at the gate.
/// 3. The installation ends: the event is on a counter.
/// 4. The exit enters, and ends the event. It is readable.
#[test]
fn r07_an_exit_waits_for_open_and_ends_the_event() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    rig.run_task(0, &task);
    let exits = task.clone();
    let exits: Act<Result<(), PerfError>> = Box::new(move |perf, by| perf.exit(&exits, by));
    let queue = Queue::while_called(&mut rig, vec![exits]);
    rig.log.clear();
    let event = rig.open_task(counting(), &task);
    assert_eq!(rig.state(&event), State::Active(V0));
    rig.happen(0, 3);
    assert_eq!(queue.finish(&mut rig), [Ok(())]);
    assert_eq!(rig.state(&event), State::Exit);
    assert_eq!(rig.moves(&event), (1, 1));
    rig.happen(0, 100);
    assert_eq!(rig.count_of(&event), 3);
    assert_eq!(rig.exit(&task), Err(PerfError::NoSuchTask));
    assert_eq!(
        rig.open(counting(), Target::Task(&task)).unwrap_err(),
        PerfError::NoSuchTask
    );
}

/// 1. t exits: the exit is inside the context's gate and calls vCPU 0.
/// 2. t exits on another thread, too: it finds the context, and waits at the gate.
/// 3. The first exit buries the context and leaves.
/// 4. The second enters and finds a tombstone: ESRCH.
#[test]
fn r07_an_exit_waits_for_an_exit_and_finds_a_tombstone() {
    let mut rig = Rig::new(1, 2);
    let task = rig.task(0);
    rig.open_task(counting(), &task);
    rig.run_task(0, &task);
    let exits = task.clone();
    let exits: Act<Result<(), PerfError>> = Box::new(move |perf, by| perf.exit(&exits, by));
    let queue = Queue::while_called(&mut rig, vec![exits]);
    rig.log.clear();
    rig.exit(&task).unwrap();
    assert_eq!(queue.finish(&mut rig), [Err(PerfError::NoSuchTask)]);
    assert_eq!(rig.log.count(|step| *step == Step::Exited), 1);
}
