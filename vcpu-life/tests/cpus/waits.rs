// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! C7 and C8: waits for a vCPU, and the waits of a vCPU.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use vcpu_call::{NotRun, Park, VcpuId, Waker};
use vcpu_life::{Cpus, Goal, Next, Plug, VcpuState};

use crate::machine::{Guest, Kicker, LONG, Vm, by_hand, ends, served};

#[test]
fn c7_a_wait_that_takes_too_long_names_the_vcpu_and_its_state() {
    ends(|| {
        let cpus = Cpus::new(3, Arc::new(()));
        for id in 0..2 {
            assert_eq!(cpus.plug(id), Ok(Plug::Create));
        }
        cpus.ask_all(Goal::Stop);
        cpus.finish(0);
        let stuck = cpus.wait_all(Goal::Stop, Duration::ZERO).unwrap_err();
        assert_eq!((stuck.vcpu, stuck.state), (1, VcpuState::Starting));
        assert_eq!(
            stuck.to_string(),
            "vCPU 1 was asked to stop and is still starting after 0 ms"
        );
        let limit = Duration::from_millis(2);
        let stuck = cpus.wait_plugged(1, limit).unwrap_err();
        assert_eq!(
            stuck.to_string(),
            "vCPU 1 was asked to start and is still starting after 2 ms"
        );
        cpus.finish(1);
        assert_eq!(cpus.wait_all(Goal::Stop, Duration::ZERO), Ok(()));
        assert_eq!(
            cpus.wait_plugged(1, Duration::ZERO),
            Ok(VcpuState::Finished)
        );
    });
}

#[test]
fn c7_goals_go_by_their_names() {
    let cpus = Cpus::new(1, Arc::new(()));
    cpus.plug(0).unwrap();
    for (goal, name) in [(Goal::Pause, "pause"), (Goal::Run, "run")] {
        cpus.ask_all(goal);
        let stuck = cpus.wait_all(goal, Duration::ZERO).unwrap_err();
        assert!(stuck.to_string().contains(&format!("asked to {name} and")));
    }
}

#[test]
fn a_vcpu_that_cannot_be_is_absent() {
    let cpus = Cpus::new(1, Arc::new(()));
    assert_eq!(cpus.max(), 1);
    let refused = Err(vcpu_life::Refused::NotPresent);
    assert_eq!(cpus.plug(1), refused);
    assert_eq!(cpus.unplug(1), refused.map(drop));
    assert_eq!(cpus.state(1), VcpuState::Absent);
    assert_eq!(cpus.wait_plugged(1, LONG), Ok(VcpuState::Absent));
    let state = cpus.wait_state(1, LONG, |state| state == VcpuState::Running);
    assert_eq!(state, (VcpuState::Absent, false));
    cpus.not_made(1);
    cpus.look_again(1);
}

#[test]
fn one_that_cannot_be_made_is_waited_for_no_longer() {
    ends(|| {
        let cpus = Arc::new(Cpus::new(1, Arc::new(())));
        cpus.plug(0).unwrap();
        let waits = {
            let cpus = Arc::clone(&cpus);
            thread::spawn(move || cpus.wait_plugged(0, LONG))
        };
        cpus.not_made(0);
        assert_eq!(waits.join().unwrap(), Ok(VcpuState::Absent));
        assert_eq!(cpus.plug(0), Ok(Plug::Create));
    });
}

/// What it was waited for, it will never be.
#[test]
fn nobody_waits_for_a_state_of_a_vcpu_that_is_finished() {
    ends(|| {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        let waits = {
            let vm = vm.clone();
            thread::spawn(move || {
                let offline = |state| state == VcpuState::Offline;
                vm.cpus.wait_state(0, Duration::MAX, offline)
            })
        };
        vm.stop([thread]);
        assert_eq!(waits.join().unwrap(), (VcpuState::Finished, false));
    });
}

#[test]
fn c8_a_paused_vcpu_answers_and_one_that_is_away_says_so() {
    ends(|| {
        let vm = Vm::new(1);
        let call = || vm.calls.outside().call(VcpuId(0), 7);
        assert_eq!(call(), Err(NotRun::Offline));
        let thread = vm.create(0);
        vm.wait_for(0, VcpuState::Running);
        assert_eq!(call(), Ok(served(7)));
        for _pause in 0..2 {
            vm.settle(Goal::Pause);
            for _ in 0..3 {
                assert_eq!(call(), Ok(served(7)));
            }
            vm.settle(Goal::Run);
            assert_eq!(call(), Ok(served(7)));
        }
        vm.cpus.unplug(0).unwrap();
        vm.wait_for(0, VcpuState::Offline);
        assert_eq!(call(), Err(NotRun::Offline));
        assert_eq!(vm.cpus.plug(0), Ok(Plug::Wake));
        assert_eq!(vm.cpus.wait_plugged(0, LONG), Ok(VcpuState::Running));
        assert_eq!(call(), Ok(served(7)));
        vm.stop([thread]);
    });
}

#[test]
fn each_change_is_told_once() {
    use VcpuState::{Finished, Offline, Paused, Running, Starting, Stopping};
    ends(|| {
        let vm = Vm::new(2);
        let thread = vm.create(1);
        vm.wait_for(1, Running);
        vm.cpus.ask_all(Goal::Run);
        vm.settle(Goal::Pause);
        vm.cpus.unplug(1).unwrap();
        vm.wait_for(1, Offline);
        vm.cpus.plug(1).unwrap();
        vm.wait_for(1, Paused);
        vm.settle(Goal::Run);
        vm.stop([thread]);
        assert_eq!(vm.diary.of(0), []);
        assert_eq!(
            vm.diary.of(1),
            [
                Starting, Running, Paused, Stopping, Offline, Starting, Paused, Running, Stopping,
                Finished,
            ]
        );
    });
}

/// Tells each time that it parks.
struct Tells<P>(P, mpsc::Sender<()>);

impl<P: Park> Park for Tells<P> {
    fn waker(&self) -> Waker {
        self.0.waker()
    }

    fn park(&mut self) {
        self.1.send(()).unwrap();
        self.0.park();
    }
}

#[test]
fn c8_a_vcpu_that_waits_for_room_parks_until_there_is_room_or_a_request() {
    ends(|| {
        let (cpus, me) = by_hand(Kicker(Arc::new(Guest::default())));
        let (tell, parked) = mpsc::channel();
        let mut me = Tells(me, tell);
        let busy = AtomicBool::new(true);
        thread::scope(|threads| {
            let (cpus, busy) = (&cpus, &busy);
            threads.spawn(move || {
                parked.recv_timeout(LONG).unwrap();
                cpus.wake_all();
                parked.recv_timeout(LONG).unwrap();
                busy.store(false, Ordering::SeqCst);
                cpus.wake_all();
                parked.recv_timeout(LONG).unwrap();
                cpus.ask_all(Goal::Stop);
            });
            cpus.wait_for(0, || busy.load(Ordering::SeqCst), &mut me);
            assert!(!busy.load(Ordering::SeqCst));
            cpus.wait_for(0, || true, &mut me);
        });
        // The request is still to be seen to.
        cpus.wait_for(0, || true, &mut me);
        assert_eq!(cpus.advance(0, &mut me), Next::Leave);
    });
}
