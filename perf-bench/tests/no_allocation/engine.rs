// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf core between exit and entry, and reading.

use std::iter;

use perf_bench::engine::{Engine, Overflowing, Switching, cycles};
use vcpu_call::VcpuId;
use vpmu::context::{Attr, Event, Leaves, Open, Reading, Target, Task};

use crate::{TIMES, allocations_of};

const WARM_UP: u32 = 16;

/// Allocations of doing `act` many times when it was done some times before.
fn allocations_when_warm(mut act: impl FnMut()) -> u64 {
    (0..WARM_UP).for_each(|_| act());
    allocations_of(|| (0..TIMES).for_each(|_| act()))
}

#[test]
fn switching_allocates_nothing() {
    for events in [0, 1, 8] {
        let mut switching = Switching::between(events).unwrap();
        let allocated = allocations_when_warm(|| {
            switching.switch().unwrap();
            assert_eq!(switching.running(), events);
        });
        assert_eq!(allocated, 0, "{events} events each");
        assert_eq!(switching.switched(), u64::from(WARM_UP + TIMES));
    }
}

#[test]
fn trading_contexts_allocates_nothing() {
    for events in [1, 8] {
        let mut switching = Switching::between_twins(events).unwrap();
        let allocated = allocations_when_warm(|| {
            switching.switch().unwrap();
            assert!(switching.traded().unwrap());
        });
        assert_eq!(allocated, 0, "{events} events each");
    }
}

/// More events than counters, so that groups wait and take turns.
#[test]
fn rotating_allocates_nothing() {
    const VCPU: VcpuId = VcpuId(0);
    let engine = Engine::new(1, |_| ());
    let mut vcpu = engine.vcpu(VCPU).unwrap();
    let task = engine.current(&mut vcpu).unwrap();
    for _ in 0..20 {
        let attr = Attr::counting(cycles());
        engine.open(attr, &task, &mut vcpu).unwrap();
    }
    let allocated = allocations_when_warm(|| {
        assert!(vcpu.cpu_mut().arm().rotate);
        vcpu.cpu_mut().rotate();
    });
    assert_eq!(allocated, 0);
}

#[test]
fn an_overflow_that_traps_allocates_nothing() {
    let mut overflowing = Overflowing::trapping().unwrap();
    let allocated = allocations_when_warm(|| {
        overflowing.overflow();
        assert!(overflowing.to_user().unwrap().is_some());
    });
    assert_eq!(allocated, 0);
}

#[test]
fn an_overflow_that_its_owner_is_told_of_allocates_nothing() {
    let mut overflowing = Overflowing::telling().unwrap();
    let allocated = allocations_when_warm(|| {
        overflowing.overflow();
        assert_eq!(overflowing.to_user().unwrap(), None);
    });
    assert_eq!(allocated, 0);
    assert_eq!(overflowing.told(), u64::from(WARM_UP + TIMES));
}

/// As many traps are on their way at the same time as there can be, from the first time on: their
/// room was made when the events were opened.
#[test]
fn overflows_of_all_counters_at_once_allocate_nothing() {
    const VCPU: VcpuId = VcpuId(0);
    let engine = Engine::new(1, |_| ());
    let mut vcpu = engine.vcpu(VCPU).unwrap();
    let task = engine.current(&mut vcpu).unwrap();
    let attr = Attr {
        sigtrap: Some(7),
        remove_on_exec: true,
        ..Attr::sampling(cycles(), 1)
    };
    for _ in 0..16 {
        engine.open(attr, &task, &mut vcpu).unwrap();
    }
    let overflow = || {
        let cpu = vcpu.cpu_mut();
        cpu.source_mut().count(1);
        cpu.count(None);
        cpu.irq_work();
        let mut traps = 0;
        while cpu.return_to_user().is_some() {
            cpu.trap_done().unwrap();
            traps += 1;
        }
        assert_eq!(traps, 16);
        cpu.arm();
    };
    let allocated = allocations_of(|| {
        iter::repeat_with(overflow)
            .take(TIMES as usize)
            .for_each(drop)
    });
    assert_eq!(allocated, 0);
}

#[test]
fn reading_on_the_own_vcpu_allocates_nothing() {
    const VCPU: VcpuId = VcpuId(0);
    let engine = Engine::new(1, |_| ());
    let mut vcpu = engine.vcpu(VCPU).unwrap();
    let task = engine.current(&mut vcpu).unwrap();
    let leader = group(&engine, &task, 4, &mut vcpu);
    let perf = engine.perf();
    let mut counts = 0;
    let allocated = allocations_when_warm(|| {
        counts += 1;
        vcpu.cpu_mut().source_mut().count(1);
        let reading = perf.read(&leader, &mut vcpu).unwrap().unwrap();
        assert_eq!(reading.count, counts);
    });
    assert_eq!(allocated, 0, "one event");
    let mut readings = [Reading::default(); 4];
    let allocated = allocations_when_warm(|| {
        counts += 1;
        vcpu.cpu_mut().source_mut().count(1);
        let events = perf.read_group(&leader, &mut readings, &mut vcpu).unwrap();
        assert_eq!(events, readings.len());
        assert!(readings.iter().all(|reading| reading.count == counts));
    });
    assert_eq!(allocated, 0, "a group, into the caller's buffer");
}

/// Where no vCPU is asked: the task is blocked.
#[test]
fn reading_from_outside_allocates_nothing() {
    const VCPU: VcpuId = VcpuId(0);
    let engine = Engine::new(1, |_| ());
    let mut vcpu = engine.vcpu(VCPU).unwrap();
    let task = engine.current(&mut vcpu).unwrap();
    let leader = group(&engine, &task, 4, &mut vcpu);
    vcpu.cpu_mut().source_mut().count(5);
    let cpu = vcpu.cpu_mut();
    cpu.switch(Some(&task), Leaves::Blocked, None).unwrap();
    let mut host = engine.host();
    let mut readings = [Reading::default(); 4];
    let allocated = allocations_when_warm(|| {
        let events = engine
            .perf()
            .read_group(&leader, &mut readings, &mut host)
            .unwrap();
        assert_eq!(events, readings.len());
        assert!(readings.iter().all(|reading| reading.count == 5));
    });
    assert_eq!(allocated, 0);
}

/// A group of so many events on `task`; its leader.
fn group(
    engine: &Engine,
    task: &Task,
    events: usize,
    by: &mut impl vpmu::context::Caller,
) -> Event {
    let attr = Attr::counting(cycles());
    let leader = engine.open(attr, task, by).unwrap();
    for _ in 1..events {
        let open = Open {
            group: Some(&leader),
            ..Open::new(attr, Target::Task(task))
        };
        engine.perf().open(&open, by).unwrap();
    }
    leader
}
