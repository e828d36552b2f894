// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! R21: a vCPU goes offline while an event is opened on it. Both go through the gate of the vCPU's
//! context, so the event ends with the vCPU or is refused; none is left on a dead one.

use vpmu::context::{Event, Open, PerfError, State, Target};

use crate::checks::*;
use crate::other::*;
use crate::rig::*;

/// 1. vCPU 1 goes offline: inside the gate, the call on its way.
/// 2. Another thread opens an event on vCPU 1, and waits at the gate.
/// 3. vCPU 1 is offline.
/// 4. The open enters: ENODEV. vCPU 1 is not called.
#[test]
fn r21_open_comes_second() {
    let mut rig = Rig::new(2, 2);
    let before = rig.open(counting(), Target::Vcpu(V1)).unwrap();
    let opens: Act<Result<Event, PerfError>> =
        Box::new(|perf, by| perf.open(&Open::new(counting(), Target::Vcpu(V1)), by));
    let queue = Queue::while_called(&mut rig, vec![opens]);
    rig.log.clear();
    rig.offline(1).unwrap();
    let opened = queue.finish(&mut rig).remove(0);
    assert_eq!(opened.unwrap_err(), PerfError::NoSuchVcpu(V1));
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.served(1), 1, "going offline");
    assert_eq!(rig.state(&before), State::Exit);
}

/// 1. An event is opened on vCPU 1: inside the gate, the call on its way.
/// 2. Another thread takes vCPU 1 offline, and waits at the gate.
/// 3. The event is on a counter.
/// 4. vCPU 1 goes offline: the event ends, and is readable for ever.
/// 5. vCPU 1 comes back: the event does not. A new one counts.
#[test]
fn r21_open_comes_first() {
    let mut rig = Rig::new(2, 2);
    let offline: Act<Result<(), PerfError>> = Box::new(|perf, by| perf.offline(V1, by));
    let queue = Queue::while_called(&mut rig, vec![offline]);
    let event = rig.open(counting(), Target::Vcpu(V1)).unwrap();
    assert_eq!(rig.state(&event), State::Active(V1));
    rig.happen(1, 6);
    assert_eq!(queue.finish(&mut rig), [Ok(())]);
    assert_eq!(rig.state(&event), State::Exit);
    assert_eq!(
        rig.open(counting(), Target::Vcpu(V1)).unwrap_err(),
        PerfError::NoSuchVcpu(V1)
    );
    rig.online(1).unwrap();
    assert_eq!(rig.state(&event), State::Exit);
    let new = rig.open(counting(), Target::Vcpu(V1)).unwrap();
    rig.enable(&event).unwrap();
    rig.happen(1, 9);
    assert_eq!((rig.count_of(&event), rig.count_of(&new)), (6, 9));
}

/// 1. An event is opened on vCPU 1, which is online.
/// 2. vCPU 1's thread ends before it took the call.
/// 3. The call is refused: ENODEV, and nothing stays attached.
#[test]
fn r21_the_thread_ends_under_the_call() {
    let mut rig = Rig::new(2, 2);
    rig.before_call(|rig, _| drop(rig.cpus[1].take()));
    rig.log.clear();
    assert_eq!(
        rig.open(counting(), Target::Vcpu(V1)).unwrap_err(),
        PerfError::NoSuchVcpu(V1)
    );
    assert_eq!(rig.sent(), [1]);
    assert_eq!(rig.served(1), 0);
    assert_eq!(rig.retries(), []);
}
