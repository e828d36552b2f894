// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest runs counters of its own PMU while the host asks something of their vCPU (G5, X9).

use vcpu_call::VcpuId;
use vpmu::context::{Attr, Open, State, Target};
use vpmu::{CounterSource, NotCounted};

use crate::search::{Seen, search_both};
use crate::vm::{Vm, instructions, race, running};

fn pinned() -> Attr {
    Attr {
        pinned: true,
        ..Attr::counting(instructions())
    }
}

/// Two want the last counter. One of them has it, and the other one is told.
#[test]
fn guest_counter_vs_pinned_event() {
    static GUESTS: Seen = Seen::new();
    static HOSTS: Seen = Seen::new();
    search_both("guest_counter_vs_pinned_event", 3, |first| {
        let (vm, [mut cpu]) = Vm::new(1);
        assert_eq!(cpu.start(0, &instructions()), Ok(()));
        let host = {
            let vm = vm.clone();
            move || {
                let open = Open::new(pinned(), Target::Vcpu(VcpuId(0)));
                let event = vm.perf.open(&open, &mut vm.host()).unwrap();
                let state = vm.state(&event);
                vm.done();
                (event, state)
            }
        };
        let vcpu = {
            let vm = vm.clone();
            move || {
                let mut started = Err(NotCounted);
                let cpu = vm.live(cpu, |cpu| {
                    cpu.cpu_mut().source_mut().count(2);
                    // The host's call may be there, or come later.
                    cpu.serve();
                    started = cpu.start(9, &instructions());
                    cpu.cpu_mut().source_mut().count(3);
                    assert_eq!(cpu.take(0), 5);
                    assert_eq!(cpu.take(9), if started.is_ok() { 3 } else { 0 });
                });
                (started, cpu)
            }
        };
        let ((event, state), (started, cpu)) = race(first, host, vcpu);
        assert_eq!(cpu.cpu().audit(), Ok(()));
        assert_eq!(running(&cpu), 2);
        assert!(cpu.cpu().guest_slot(0).is_some());
        assert_eq!(cpu.cpu().guest_slot(9).is_some(), started.is_ok());
        let expected = match started {
            Ok(()) => State::Error,
            Err(NotCounted) => State::Active(VcpuId(0)),
        };
        assert_eq!(state, expected, "and it stays so");
        assert_eq!(vm.state(&event), expected);
        GUESTS.count_if(started.is_ok());
        HOSTS.count_if(started.is_err());
    });
    GUESTS.assert_seen("the guest's counter came first");
    HOSTS.assert_seen("the host's event came first");
}

/// The host takes the vCPU away while the guest starts a counter: nothing of it is left.
#[test]
fn guest_counter_vs_offline() {
    static COUNTED: Seen = Seen::new();
    static REFUSED: Seen = Seen::new();
    search_both("guest_counter_vs_offline", 3, |first| {
        let (vm, [cpu]) = Vm::new(1);
        let host = {
            let vm = vm.clone();
            move || {
                let gone = vm.perf.offline(VcpuId(0), &mut vm.host());
                vm.done();
                gone
            }
        };
        let vcpu = {
            let vm = vm.clone();
            move || {
                vm.live(cpu, |cpu| {
                    cpu.serve();
                    let started = cpu.start(0, &instructions());
                    cpu.cpu_mut().source_mut().count(3);
                    cpu.serve();
                    let taken = cpu.take(0);
                    assert!(taken == 0 || (taken == 3 && started.is_ok()));
                    COUNTED.count_if(taken == 3);
                    REFUSED.count_if(started.is_err());
                })
            }
        };
        let (gone, mut cpu) = race(first, host, vcpu);
        assert_eq!(gone, Ok(()));
        assert_eq!(cpu.cpu().audit(), Ok(()));
        assert_eq!((running(&cpu), cpu.take(0)), (0, 0));
        assert_eq!(cpu.start(0, &instructions()), Err(NotCounted));
    });
    COUNTED.assert_seen("a counter that counted before the vCPU went away");
    REFUSED.assert_seen("a counter that came too late");
}
