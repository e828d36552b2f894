// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU goes away while somebody wants something of it (N4, D2).
//!
//! Its thread ends right there: it serves nobody any more, and whoever still waited for it would
//! wait for ever.

use vcpu_call::VcpuId;
use vpmu::context::order::Place;
use vpmu::context::{Attr, Open, PerfError, State, Target};

use crate::search::{Seen, search_both};
use crate::vm::{Vm, instructions, race, running, switch};

/// R21: an event of a vCPU that goes away is refused, or it ends with the vCPU.
#[test]
fn vcpu_event_vs_offline() {
    static OPENED: Seen = Seen::new();
    static REFUSED: Seen = Seen::new();
    search_both("vcpu_event_vs_offline", 3, |first| {
        let (vm, [cpu]) = Vm::new(0);
        let host = {
            let vm = vm.clone();
            move || {
                let target = Target::Vcpu(VcpuId(0));
                let open = Open::new(Attr::counting(instructions()), target);
                vm.perf.open(&open, &mut vm.host())
            }
        };
        let vcpu = {
            let vm = vm.clone();
            move || vm.live(cpu, |cpu| cpu.offline().unwrap())
        };
        let (opened, cpu) = race(first, host, vcpu);
        assert_eq!(running(&cpu), 0);
        match opened {
            Ok(event) => {
                assert_eq!(vm.state(&event), State::Exit);
                OPENED.count();
            }
            Err(error) => {
                assert_eq!(error, PerfError::NoSuchVcpu(VcpuId(0)));
                REFUSED.count();
            }
        }
    });
    OPENED.assert_seen("an event opened in time");
    REFUSED.assert_seen("an event opened too late");
}

/// R23: the vCPU goes away between accepting a call and running it. What was asked for happens once,
/// there or without it.
#[test]
fn offline_between_accept_and_run() {
    search_both("offline_between_accept_and_run", 3, |first| {
        let (vm, [mut cpu]) = Vm::new(0);
        let task = vm.task(0);
        let event = vm.open(Attr::sampling(instructions(), 10), &task);
        assert!(switch(&mut cpu, Some(&task)));
        let host = {
            let (vm, event) = (vm.clone(), event.clone());
            move || {
                vm.perf.refresh(&event, 3, &mut vm.host()).unwrap();
            }
        };
        let vcpu = {
            let vm = vm.clone();
            move || vm.live(cpu, |cpu| cpu.offline().unwrap())
        };
        let ((), cpu) = race(first, host, vcpu);
        assert_eq!(task.place(), Place::Queued(VcpuId(0)));
        let status = vm.perf.status(&event).unwrap();
        assert_eq!((status.state, status.limit), (State::Inactive, 3));
        assert_eq!(running(&cpu), 0);
    });
}

/// Two hosts take the same vCPU away while a third party's call is on its way.
#[test]
fn offline_twice_vs_close() {
    search_both("offline_twice_vs_close", 3, |first| {
        let (vm, [mut cpu]) = Vm::new(0);
        let task = vm.task(0);
        let event = vm.open(Attr::counting(instructions()), &task);
        assert!(switch(&mut cpu, Some(&task)));
        let hosts = {
            let (vm, event) = (vm.clone(), event.clone());
            move || {
                let other = vm.clone();
                let away = move || {
                    // Refused if the vCPU's own thread was faster.
                    let _ = other.perf.offline(VcpuId(0), &mut other.host());
                };
                let close = move || {
                    vm.perf.close(&event, &mut vm.host()).unwrap();
                };
                race(first, away, close)
            }
        };
        let vcpu = {
            let vm = vm.clone();
            move || vm.live(cpu, |cpu| cpu.offline().unwrap())
        };
        let (_, cpu) = race(first, hosts, vcpu);
        assert_eq!(vm.perf.status(&event), Err(PerfError::Closed));
        assert!(!cpu.cpu().is_online());
        assert_eq!(running(&cpu), 0);
    });
}
