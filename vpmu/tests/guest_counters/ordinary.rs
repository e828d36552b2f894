// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU of the perf core is a source like any other (S1 to S3 and S5 of `source`).

use std::sync::Arc;

use vcpu_call::Calls;
use vpmu::context::{Open, Perf, PerfConfig, Target, VcpuThread};
use vpmu::source::MAX_SLOTS;
use vpmu::source::script::ScriptSource;
use vpmu::{CounterSource, EventConfig, Nanos, NotCounted, Wake};

use crate::checks::*;
use crate::rig::*;

#[test]
fn a_counter_counts_from_start_to_stop_and_each_event_once() {
    let mut rig = Rig::new(1, 4);
    rig.unseen(3);
    assert_eq!(rig.take(5), 0);
    rig.start(5).unwrap();
    rig.unseen(7);
    rig.start(2).unwrap();
    rig.unseen(10);
    assert_eq!((rig.take(5), rig.take(2)), (17, 10));
    assert_eq!((rig.take(5), rig.take(2)), (0, 0));
    rig.unseen(4);
    rig.stop(5);
    assert_eq!(
        (rig.take(5), rig.take(2)),
        (0, 4),
        "what nobody took is lost"
    );
    rig.unseen(8);
    rig.start(5).unwrap();
    assert_eq!((rig.take(5), rig.take(2)), (0, 8), "it begins at 0");
    rig.stop(5);
    rig.stop(5);
    rig.stop(2);
    assert!((0..MAX_SLOTS).all(|counter| rig.take(counter) == 0));
    assert!((0..4).all(|slot| rig.source().running(slot).is_none()));
}

#[test]
fn every_slot_that_registers_ask_for_is_there_and_no_other() {
    let mut rig = Rig::new(1, MAX_SLOTS);
    for counter in 0..MAX_SLOTS {
        rig.start(counter).unwrap();
    }
    for beyond in [MAX_SLOTS, MAX_SLOTS + 1, usize::MAX] {
        assert_eq!(rig.start(beyond), Err(NotCounted));
        rig.stop(beyond);
        assert_eq!(rig.take(beyond), 0);
    }
    for counter in 0..MAX_SLOTS {
        let slot = rig.guest_slot(counter).unwrap();
        rig.source().count_slot(slot, 100 + counter as u64);
    }
    for counter in 0..MAX_SLOTS {
        assert_eq!(rig.take(counter), 100 + counter as u64);
    }
}

#[test]
fn starting_anew_drops_what_was_not_taken() {
    let mut rig = Rig::new(1, 2);
    rig.start(0).unwrap();
    rig.unseen(9);
    rig.start(0).unwrap();
    assert_eq!(rig.take(0), 0);
    rig.unseen(1);
    assert_eq!(rig.take(0), 1);
    assert_eq!(rig.log.records().len(), 3, "in, out and in again");
}

#[test]
fn arming_reaches_the_slot_that_counts() {
    let mut rig = Rig::new(1, 4);
    rig.open_on_vcpu(pinned());
    rig.start(9).unwrap();
    let slot = rig.guest_slot(9).unwrap();
    assert_ne!(slot, 9);
    let cpu = rig.cpu(0);
    assert_eq!(CounterSource::arm(cpu, 9, 250), Wake::InCycles(250));
    assert_eq!(cpu.source().armed(slot), Some(250));
    // One that is stopped has no slot to arm.
    assert_eq!(CounterSource::arm(cpu, slot, 77), Wake::InCycles(77));
    assert_eq!(cpu.source().armed(slot), Some(250));
}

#[test]
fn what_the_source_cannot_count_is_refused_and_displaces_nobody() {
    let perf_config = PerfConfig {
        slots: 1,
        ..PerfConfig::new(1)
    };
    let log = Arc::new(Log::default());
    let perf = Perf::with_observer(perf_config, || Nanos(0), Arc::clone(&log));
    let source = ScriptSource::supporting(|config| *config == cycles());
    let cpu = perf.cpu(V0, source).unwrap();
    assert!(cpu.supports(&cycles()));
    assert!(!cpu.supports(&user_instructions()));
    let calls = Calls::new(1, |_| ());
    let mut vcpu = VcpuThread::new(cpu, calls.vcpu(V0).unwrap());
    vcpu.online().unwrap();
    let open = Open::new(counting(), Target::Vcpu(V0));
    let event = perf.open(&open, &mut vcpu).unwrap();
    log.clear();
    assert_eq!(vcpu.start(0, &user_instructions()), Err(NotCounted));
    assert_eq!(log.steps(), []);
    vcpu.cpu_mut().source_mut().count(5);
    let reading = perf.read(&event, &mut vcpu).unwrap().unwrap();
    assert_eq!(reading.count, 5);
    assert_eq!(vcpu.start(0, &cycles()), Ok(()));
    vcpu.cpu_mut().source_mut().count(5);
    assert_eq!(vcpu.take(0), 5);
    let reading = perf.read(&event, &mut vcpu).unwrap().unwrap();
    assert_eq!(reading.count, 5);
}

/// Entries and exits, as often as they are told of.
#[derive(Default)]
struct Doors {
    entered: u32,
    left: u32,
}

impl CounterSource for Doors {
    fn enter_guest(&mut self) {
        self.entered += 1;
    }

    fn exit_guest(&mut self) {
        self.left += 1;
    }

    fn supports(&self, _config: &EventConfig) -> bool {
        true
    }

    fn start(&mut self, _slot: usize, _config: &EventConfig) -> Result<(), NotCounted> {
        Ok(())
    }

    fn stop(&mut self, _slot: usize) {}

    fn take(&mut self, _slot: usize) -> u64 {
        0
    }

    fn arm(&mut self, _slot: usize, _distance: u64) -> Wake {
        Wake::BySource
    }
}

#[test]
fn entries_and_exits_are_told_to_the_source_beneath() {
    let perf = Perf::new(PerfConfig::new(1), || Nanos(0));
    let cpu = perf.cpu(V0, Doors::default()).unwrap();
    let calls = Calls::new(1, |_| ());
    let mut vcpu = VcpuThread::new(cpu, calls.vcpu(V0).unwrap());
    vcpu.online().unwrap();
    CounterSource::enter_guest(&mut vcpu);
    CounterSource::exit_guest(&mut vcpu);
    CounterSource::enter_guest(&mut vcpu);
    let Doors { entered, left } = vcpu.cpu().source();
    assert_eq!((*entered, *left), (2, 1));
    vcpu.start(3, &cycles()).unwrap();
    assert_eq!(CounterSource::arm(&mut vcpu, 3, 9), Wake::BySource);
}
