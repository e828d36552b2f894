// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Everybody asks for something at once, on real threads.

use std::thread;

use vcpu_call::{NotRun, VcpuId};
use vcpu_life::{Goal, Plug, Refused, VcpuState};

use crate::machine::{LONG, Vm, ends, served};

const VCPUS: u32 = 4;
const ROUNDS: u32 = 500;

/// Removes and adds one vCPU.
fn plugs(vm: &Vm, id: usize) {
    for _ in 0..ROUNDS {
        assert_eq!(vm.cpus.unplug(id), Ok(()));
        vm.wait_for(id, VcpuState::Offline);
        assert_eq!(vm.cpus.unplug(id), Err(Refused::NotPresent));
        assert_eq!(vm.cpus.plug(id), Ok(Plug::Wake));
        let state = vm.cpus.wait_plugged(id, LONG).unwrap();
        assert!(matches!(state, VcpuState::Running | VcpuState::Paused));
    }
}

fn pauses(vm: &Vm) {
    for _ in 0..ROUNDS {
        vm.settle(Goal::Pause);
        vm.settle(Goal::Run);
    }
}

/// How many calls were answered.
fn calls(vm: &Vm) -> u32 {
    let mut me = vm.calls.outside();
    let mut answered = 0;
    for n in 0..ROUNDS {
        match me.call(VcpuId(n % VCPUS), n) {
            Ok(answer) => {
                assert_eq!(answer, served(n));
                answered += 1;
            }
            Err(why) => assert_eq!(why, NotRun::Offline),
        }
    }
    answered
}

#[test]
fn nothing_is_missed_when_all_ask_at_once() {
    ends(|| {
        let vm = Vm::new(VCPUS);
        let threads: Vec<_> = (0..4).map(|id| vm.create(id)).collect();
        vm.cpus.wait_all(Goal::Run, LONG).unwrap();
        let answered = thread::scope(|scope| {
            scope.spawn(|| plugs(&vm, 1));
            scope.spawn(|| plugs(&vm, 2));
            scope.spawn(|| pauses(&vm));
            scope.spawn(|| pauses(&vm));
            let caller = scope.spawn(|| calls(&vm));
            caller.join().unwrap()
        });
        // Half of them are always there.
        assert!(answered >= ROUNDS / 2, "{answered}");
        vm.stop(threads);
    });
}
