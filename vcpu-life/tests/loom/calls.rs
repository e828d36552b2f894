// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! C8: who is called is there or is not, and says so either way.

use loom::thread::{self, JoinHandle};
use vcpu_call::{NotRun, VcpuId};
use vcpu_life::{Goal, VcpuState};

use crate::machine::{LIMIT, Vm, served};
use crate::search::{Seen, search};

fn call(vm: &Vm) -> JoinHandle<Result<u32, NotRun>> {
    let vm = vm.clone();
    thread::spawn(move || vm.calls.outside().call(VcpuId(0), 7))
}

#[test]
fn c8_a_call_to_a_vcpu_that_is_being_paused_is_answered() {
    search(
        "c8_a_call_to_a_vcpu_that_is_being_paused_is_answered",
        2,
        || {
            let vm = Vm::new(1);
            let thread = vm.create(0);
            vm.cpus.wait_plugged(0, LIMIT).unwrap();
            let answer = call(&vm);
            vm.cpus.ask_all(Goal::Pause);
            assert_eq!(vm.cpus.wait_all(Goal::Pause, LIMIT), Ok(()));
            assert_eq!(answer.join().unwrap(), Ok(served(7)));
            vm.stop([thread]);
        },
    );
}

#[test]
fn c8_a_call_to_a_vcpu_that_is_resumed_is_answered() {
    search("c8_a_call_to_a_vcpu_that_is_resumed_is_answered", 2, || {
        let vm = Vm::new(1);
        vm.cpus.ask_all(Goal::Pause);
        let thread = vm.create(0);
        vm.wait_for(0, VcpuState::Paused);
        let answer = call(&vm);
        vm.cpus.ask_all(Goal::Run);
        assert_eq!(answer.join().unwrap(), Ok(served(7)));
        vm.stop([thread]);
    });
}

#[test]
fn c8_a_call_to_a_vcpu_that_goes_is_answered_or_refused() {
    static ANSWERED: Seen = Seen::new();
    static REFUSED: Seen = Seen::new();
    search(
        "c8_a_call_to_a_vcpu_that_goes_is_answered_or_refused",
        3,
        || {
            let vm = Vm::new(1);
            let thread = vm.create(0);
            vm.cpus.wait_plugged(0, LIMIT).unwrap();
            let answer = call(&vm);
            vm.cpus.unplug(0).unwrap();
            vm.wait_for(0, VcpuState::Offline);
            match answer.join().unwrap() {
                Ok(n) => {
                    assert_eq!(n, served(7));
                    ANSWERED.count();
                }
                Err(why) => {
                    assert_eq!(why, NotRun::Offline);
                    REFUSED.count();
                }
            }
            vm.stop([thread]);
        },
    );
    ANSWERED.assert_seen("a call answered");
    REFUSED.assert_seen("a call refused");
}

#[test]
fn c8_a_call_to_a_vcpu_that_comes_is_answered_or_refused() {
    static ANSWERED: Seen = Seen::new();
    static REFUSED: Seen = Seen::new();
    search(
        "c8_a_call_to_a_vcpu_that_comes_is_answered_or_refused",
        3,
        || {
            let vm = Vm::new(1);
            let answer = call(&vm);
            let thread = vm.create(0);
            match answer.join().unwrap() {
                Ok(n) => {
                    assert_eq!(n, served(7));
                    ANSWERED.count();
                }
                Err(why) => {
                    assert_eq!(why, NotRun::Offline);
                    REFUSED.count();
                }
            }
            vm.stop([thread]);
        },
    );
    ANSWERED.assert_seen("a call answered");
    REFUSED.assert_seen("a call refused");
}
