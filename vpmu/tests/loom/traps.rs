// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Overflows and their traps, while somebody does something to the event.

use vcpu_call::VcpuId;
use vpmu::context::{Event, PerfError, State};

use crate::search::{First, Seen, search_both};
use crate::vm::{Cpu, Vm, race, running, switch, take_traps, trapping};

/// So many counts happen in the guest, and the vCPU finds them at its exit.
fn happen(cpu: &mut Cpu, counts: u64) {
    cpu.cpu_mut().source_mut().count(counts);
    cpu.cpu_mut().count(None);
}

/// The host enables an event that overflows once, and that is rescheduled between its overflow and
/// the irq work. Exactly one trap arrives. Returns the vCPU to go on with.
fn enable_vs_overflow(first: First, limit: u64) -> (Vm, Event, Box<Cpu>) {
    let (vm, [mut cpu]) = Vm::new(1);
    let task = vm.task(0);
    let event = vm.open(trapping(10), &task);
    if limit > 0 {
        vm.perf.refresh(&event, limit, &mut vm.host()).unwrap();
    }
    assert!(switch(&mut cpu, Some(&task)));
    let host = {
        let (vm, event) = (vm.clone(), event.clone());
        move || {
            vm.perf.enable(&event, &mut vm.host()).unwrap();
            vm.done();
        }
    };
    let vcpu = {
        let vm = vm.clone();
        move || {
            vm.live(cpu, |cpu| {
                cpu.serve();
                happen(cpu, 10);
                cpu.serve();
                assert!(switch(cpu, None));
                assert!(switch(cpu, Some(&task)));
                cpu.serve();
                cpu.cpu_mut().irq_work();
                assert_eq!(take_traps(cpu).len(), 1);
            })
        }
    };
    let ((), mut cpu) = race(first, host, vcpu);
    assert!(take_traps(&mut cpu).is_empty());
    (vm, event, cpu)
}

/// R10: an enable does not eat the trap, and leaves the event on.
#[test]
fn enable_vs_overflow_without_limit() {
    search_both("enable_vs_overflow_without_limit", 3, |first| {
        let (vm, event, mut cpu) = enable_vs_overflow(first, 0);
        assert_eq!(vm.state(&event), State::Active(VcpuId(0)));
        happen(&mut cpu, 10);
        assert_eq!(take_traps(&mut cpu).len(), 1);
    });
}

/// R13: neither does it at the limit, where the event is on afterwards only if the enable came
/// later.
#[test]
fn enable_vs_overflow_at_the_limit() {
    static OFF: Seen = Seen::new();
    static ON: Seen = Seen::new();
    search_both("enable_vs_overflow_at_the_limit", 3, |first| {
        let (vm, event, cpu) = enable_vs_overflow(first, 1);
        let status = vm.perf.status(&event).unwrap();
        assert_eq!((status.hups, status.limit), (1, 0));
        match status.state {
            State::Off => {
                assert_eq!(running(&cpu), 0);
                OFF.count();
            }
            state => {
                assert_eq!(state, State::Active(VcpuId(0)));
                assert_eq!(running(&cpu), 1);
                ON.count();
            }
        }
    });
    OFF.assert_seen("the enable before the overflow");
    ON.assert_seen("the enable after the overflow");
}

/// R14: the event is closed while its trap is on its way. It arrives, or there was no overflow.
#[test]
fn overflow_vs_close() {
    static TRAPPED: Seen = Seen::new();
    static SILENT: Seen = Seen::new();
    search_both("overflow_vs_close", 3, |first| {
        let (vm, [mut cpu]) = Vm::new(1);
        let task = vm.task(0);
        let event = vm.open(trapping(10), &task);
        assert!(switch(&mut cpu, Some(&task)));
        let host = {
            let (vm, event) = (vm.clone(), event.clone());
            move || {
                vm.perf.close(&event, &mut vm.host()).unwrap();
                vm.done();
            }
        };
        let vcpu = {
            let vm = vm.clone();
            move || {
                let mut traps = Vec::new();
                let cpu = vm.live(cpu, |cpu| {
                    cpu.serve();
                    happen(cpu, 10);
                    assert!(switch(cpu, None));
                    assert!(switch(cpu, Some(&task)));
                    cpu.serve();
                    traps = take_traps(cpu);
                });
                (cpu, traps)
            }
        };
        let ((), (mut cpu, traps)) = race(first, host, vcpu);
        let counts = event.traps();
        assert_eq!(counts.queued, counts.sent);
        assert_eq!(counts.sent, u64::try_from(traps.len()).unwrap());
        assert!(take_traps(&mut cpu).is_empty());
        assert_eq!(vm.perf.status(&event), Err(PerfError::Closed));
        assert_eq!(running(&cpu), 0);
        TRAPPED.count_if(!traps.is_empty());
        SILENT.count_if(traps.is_empty());
    });
    TRAPPED.assert_seen("the overflow before the close");
    SILENT.assert_seen("the close before the overflow");
}

/// R16: two tasks with a trap on its way close each other's event. Neither waits for a trap.
#[test]
fn two_tasks_close_each_others_event() {
    search_both("two_tasks_close_each_others_event", 3, |first| {
        let (vm, mut cpus) = Vm::new::<2>(2);
        let tasks = [vm.task(0), vm.task(1)];
        let events = [0, 1].map(|own: usize| vm.open(trapping(10), &tasks[own]));
        for (cpu, task) in cpus.iter_mut().zip(&tasks) {
            assert!(switch(cpu, Some(task)));
            happen(cpu, 10);
        }
        let [zero, one] = cpus;
        let life = |cpu, vm: Vm, others: Event| {
            move || {
                vm.live(cpu, |cpu| {
                    vm.perf.close(&others, cpu).unwrap();
                    vm.done();
                    assert_eq!(take_traps(cpu).len(), 1);
                })
            }
        };
        let (zero, one) = race(
            first,
            life(zero, vm.clone(), events[1].clone()),
            life(one, vm.clone(), events[0].clone()),
        );
        assert_eq!((running(&zero), running(&one)), (0, 0));
        for event in &events {
            assert_eq!((event.traps().queued, event.traps().sent), (1, 1));
            assert_eq!(vm.perf.status(event), Err(PerfError::Closed));
        }
    });
}
