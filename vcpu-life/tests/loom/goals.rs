// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! C2, C3 and C5: goals for all vCPUs.

use loom::thread;
use vcpu_life::{Goal, VcpuState};

use crate::machine::{LIMIT, Vm};
use crate::search::{Seen, search};

/// Wherever it is on its way into the guest.
#[test]
fn c2_a_stop_is_never_missed() {
    search("c2_a_stop_is_never_missed", 4, || {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        vm.stop([thread]);
        assert_eq!(vm.cpus.state(0), VcpuState::Finished);
    });
}

#[test]
fn c2_a_pause_settles_and_a_resume_too() {
    search("c2_a_pause_settles_and_a_resume_too", 3, || {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        vm.cpus.ask_all(Goal::Pause);
        assert_eq!(vm.cpus.wait_all(Goal::Pause, LIMIT), Ok(()));
        assert_eq!(vm.cpus.state(0), VcpuState::Paused);
        vm.cpus.ask_all(Goal::Run);
        assert_eq!(vm.cpus.wait_all(Goal::Run, LIMIT), Ok(()));
        assert_eq!(vm.cpus.state(0), VcpuState::Running);
        vm.stop([thread]);
    });
}

/// The second finds the kick of the first under way.
#[test]
fn c3_two_requests_with_one_kick_are_both_seen() {
    search("c3_two_requests_with_one_kick_are_both_seen", 3, || {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        vm.cpus.wait_plugged(0, LIMIT).unwrap();
        let other = {
            let vm = vm.clone();
            thread::spawn(move || vm.cpus.kick_all())
        };
        vm.stop([thread]);
        other.join().unwrap();
    });
}

#[test]
fn c3_two_requesters_are_both_heard() {
    search("c3_two_requesters_are_both_heard", 3, || {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        let other = {
            let vm = vm.clone();
            thread::spawn(move || {
                vm.cpus.ask_all(Goal::Pause);
                assert_eq!(vm.cpus.wait_all(Goal::Pause, LIMIT), Ok(()));
            })
        };
        vm.stop([thread]);
        other.join().unwrap();
    });
}

/// Two vCPUs of which nobody has made the threads yet: the goals are there to be seen.
#[test]
fn c5_two_requesters_leave_all_vcpus_with_one_goal() {
    static PAUSED: Seen = Seen::new();
    static RUN: Seen = Seen::new();
    search("c5_two_requesters_leave_all_vcpus_with_one_goal", 2, || {
        let vm = Vm::new(2);
        vm.cpus.plug(0).unwrap();
        vm.cpus.plug(1).unwrap();
        let other = {
            let vm = vm.clone();
            thread::spawn(move || vm.cpus.ask_all(Goal::Pause))
        };
        vm.cpus.ask_all(Goal::Run);
        other.join().unwrap();
        let threads = [vm.spawn(0), vm.spawn(1)];
        let states = [0, 1].map(|id| vm.cpus.wait_plugged(id, LIMIT).unwrap());
        match states {
            [VcpuState::Paused, VcpuState::Paused] => PAUSED.count(),
            [VcpuState::Running, VcpuState::Running] => RUN.count(),
            _ => panic!("one goal here, another there: {states:?}"),
        }
        vm.stop(threads);
    });
    PAUSED.assert_seen("the pause that came last");
    RUN.assert_seen("the resume that came last");
}

/// One is added while the goal changes: it has the goal that all others have.
#[test]
fn c5_a_vcpu_that_is_added_meanwhile_has_the_goal_too() {
    search(
        "c5_a_vcpu_that_is_added_meanwhile_has_the_goal_too",
        3,
        || {
            let vm = Vm::new(1);
            let other = {
                let vm = vm.clone();
                thread::spawn(move || {
                    vm.cpus.ask_all(Goal::Pause);
                    assert_eq!(vm.cpus.wait_all(Goal::Pause, LIMIT), Ok(()));
                    let state = vm.cpus.state(0);
                    assert_ne!(state, VcpuState::Running, "it is paused, or came after");
                })
            };
            let thread = vm.create(0);
            other.join().unwrap();
            vm.wait_for(0, VcpuState::Paused);
            vm.stop([thread]);
        },
    );
}
