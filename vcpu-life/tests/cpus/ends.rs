// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Ends that nobody planned.

use std::sync::Arc;
use std::time::Duration;

use vcpu_call::{Park, Waker};
use vcpu_life::{Cpus, Goal, Kick, Plug, Refused, VcpuState};

use crate::machine::{Guest, Kicker, LONG, Vm, by_hand, ends};

/// Panics instead of waiting.
struct Panics(Waker);

impl Park for Panics {
    fn waker(&self) -> Waker {
        self.0.clone()
    }

    fn park(&mut self) {
        panic!("what it served did");
    }
}

struct Finish<'a>(&'a Cpus);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finish(0);
    }
}

#[test]
fn a_thread_that_panics_is_finished_and_waited_for_no_longer() {
    ends(|| {
        let (cpus, me) = by_hand(Kicker(Arc::new(Guest::default())));
        cpus.ask_all(Goal::Pause);
        let thread = {
            let cpus = Arc::clone(&cpus);
            let waker = me.waker();
            std::thread::spawn(move || {
                let _finish = Finish(&cpus);
                cpus.advance(0, &mut Panics(waker));
            })
        };
        assert!(thread.join().is_err());
        assert_eq!(cpus.wait_all(Goal::Pause, Duration::ZERO), Ok(()));
        assert_eq!(cpus.state(0), VcpuState::Finished);
        assert_eq!(cpus.plug(0), Err(Refused::Ended));
        assert_eq!(cpus.unplug(0), Err(Refused::Ended));
    });
}

struct MustNot;

impl Kick for MustNot {
    fn kick(&self) -> bool {
        panic!("its thread is gone");
    }
}

#[test]
fn one_that_is_finished_is_not_kicked() {
    let (cpus, _me) = by_hand(MustNot);
    cpus.finish(0);
    cpus.kick_all();
    cpus.ask_all(Goal::Stop);
    cpus.wake_all();
}

/// It was absent when the VM was asked to run.
#[test]
fn c5_a_vcpu_that_is_added_later_runs_as_all_do() {
    ends(|| {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        assert_eq!(vm.cpus.wait_plugged(0, LONG), Ok(VcpuState::Running));
        vm.stop([thread]);
    });
}

#[test]
fn c4_a_stop_ends_vcpus_in_every_state() {
    ends(|| {
        let vm = Vm::new(4);
        let threads: Vec<_> = [0, 1, 2].map(|id| vm.create(id)).into();
        vm.cpus.wait_plugged(1, LONG).unwrap();
        vm.cpus.unplug(1).unwrap();
        vm.wait_for(1, VcpuState::Offline);
        vm.settle(Goal::Pause);
        vm.cpus.unplug(2).unwrap();
        vm.stop(threads);
        use VcpuState::{Absent, Finished};
        assert_eq!(vm.cpus.states(), [Finished, Finished, Finished, Absent]);
        assert_eq!(
            format!("{:?}", vm.cpus),
            "[Finished, Finished, Finished, Absent]"
        );
        assert_eq!(vm.cpus.plug(3), Err(Refused::Ended));
    });
}

/// As an ejecting guest makes it do, in the middle of an exit.
#[test]
fn a_vcpu_may_remove_itself() {
    let guest = Arc::new(Guest::default());
    let (cpus, mut me) = by_hand(Kicker(guest));
    cpus.unplug(0).unwrap();
    cpus.expect_kicks(0);
    assert_eq!(cpus.advance(0, &mut me), vcpu_life::Next::Unplug);
    cpus.unplugged(0);
    assert_eq!(cpus.plug(0), Ok(Plug::Wake));
}
