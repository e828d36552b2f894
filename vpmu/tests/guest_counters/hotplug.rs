// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU goes and comes back (I10).

use vcpu_call::{Calls, VcpuId};
use vpmu::context::{Open, Perf, PerfConfig, State, Target, VcpuThread};
use vpmu::source::script::ScriptSource;
use vpmu::{Nanos, NotCounted};

use crate::checks::*;
use crate::rig::*;

#[test]
fn i10_the_guests_counters_stop_with_their_vcpu() {
    let mut rig = Rig::new(1, 2);
    rig.start(0).unwrap();
    rig.start(9).unwrap();
    rig.unseen(5);
    rig.offline(0).unwrap();
    rig.audit();
    assert!((0..2).all(|slot| rig.source().running(slot).is_none()));
    assert_eq!((rig.take(0), rig.take(9)), (0, 0));
    assert_eq!(rig.start(0), Err(NotCounted), "nothing counts there");
    rig.stop(9);
    rig.online(0).unwrap();
    rig.audit();
    rig.unseen(5);
    assert_eq!(
        (rig.take(0), rig.take(9)),
        (0, 0),
        "nor by itself afterwards"
    );
    rig.start(9).unwrap();
    rig.unseen(5);
    assert_eq!((rig.take(0), rig.take(9)), (0, 5));
}

#[test]
fn i10_events_of_the_host_end_and_the_guests_do_not() {
    let mut rig = Rig::new(1, 2);
    for _ in 0..3 {
        let host = rig.open_on_vcpu(pinned());
        rig.start(0).unwrap();
        rig.unseen(3);
        rig.offline(0).unwrap();
        rig.audit();
        assert_eq!(rig.state(&host), State::Exit);
        assert_eq!(rig.count_of(&host), 3);
        rig.online(0).unwrap();
    }
}

/// The thread that has the vCPU ends, and another one gets it.
#[test]
fn another_threads_vcpu_has_the_same_counters() {
    let mut rig = Rig::new(1, 2);
    rig.start(1).unwrap();
    rig.unseen(5);
    rig.cpus[0] = None;
    let cpu = rig.perf.cpu(V0, ScriptSource::new()).unwrap();
    rig.cpus[0] = Some(cpu);
    rig.audit();
    assert_eq!(rig.start(1), Err(NotCounted), "it is offline as yet");
    rig.online(0).unwrap();
    let host = rig.open_on_vcpu(counting());
    rig.start(1).unwrap();
    rig.happen(0, 4);
    assert_eq!((rig.take(1), rig.count_of(&host)), (4, 4));
}

/// Every vCPU has its own.
#[test]
fn counters_of_the_same_number_on_two_vcpus_are_two() {
    use vpmu::CounterSource;
    let mut rig = Rig::with(PerfConfig {
        slots: 1,
        ..PerfConfig::new(2)
    });
    for vcpu in 0..2 {
        rig.cpu(vcpu).start(0, &cycles()).unwrap();
        rig.cpu(vcpu).source_mut().count(u64::from(vcpu) + 1);
    }
    let records = rig.log.records().into_iter();
    let mut names: Vec<_> = records.filter_map(|record| record.event).collect();
    names.dedup();
    assert_eq!(names.len(), 2);
    rig.offline(1).unwrap();
    rig.audit();
    assert_eq!((rig.cpu(0).take(0), rig.cpu(1).take(0)), (1, 0));
}

#[test]
fn i10_going_twice_is_going_once_and_coming_too() {
    let calls = Calls::new(1, |_: VcpuId| ());
    let perf = Perf::new(PerfConfig::new(1), || Nanos(0));
    let cpu = perf.cpu(V0, ScriptSource::new()).unwrap();
    let mut vcpu = VcpuThread::new(cpu, calls.vcpu(V0).unwrap());
    assert_eq!(vcpu.offline(), Ok(()), "it never came");
    let open = Open::new(pinned(), Target::Vcpu(V0));
    for _ in 0..2 {
        assert!(perf.open(&open, &mut vcpu).is_err());
        vcpu.online().unwrap();
        let event = perf.open(&open, &mut vcpu).unwrap();
        vcpu.online().unwrap();
        assert_eq!(perf.status(&event).unwrap().state, State::Active(V0));
        vcpu.offline().unwrap();
        assert_eq!(vcpu.offline(), Ok(()));
        assert_eq!(perf.status(&event).unwrap().state, State::Exit);
    }
}
