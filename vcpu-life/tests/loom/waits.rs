// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Waits for what only another thread can make true.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use vcpu_call::{Calls, Park};
use vcpu_life::{Cpus, Goal, Kick, Next, Refused, VcpuState};

use crate::machine::{LIMIT, Vm};
use crate::search::{Seen, search};

#[test]
fn look_again_is_never_missed() {
    search("look_again_is_never_missed", 3, || {
        let vm = Vm::new(1);
        let told = Arc::new(AtomicBool::new(false));
        let other = {
            let (vm, told) = (vm.clone(), Arc::clone(&told));
            thread::spawn(move || {
                told.store(true, Ordering::Relaxed);
                vm.cpus.look_again(0);
            })
        };
        let (_, was) = vm
            .cpus
            .wait_state(0, LIMIT, |_| told.load(Ordering::Relaxed));
        assert!(was);
        other.join().unwrap();
    });
}

struct Deaf;

impl Kick for Deaf {
    fn kick(&self) -> bool {
        true
    }
}

/// One vCPU, whose thread is this one.
fn bound() -> (Arc<Cpus>, impl Park) {
    let cpus = Arc::new(Cpus::new(1, Arc::new(())));
    let calls: Calls<(), ()> = Calls::new(0, |_| ());
    let me = calls.outside();
    cpus.ask_all(Goal::Run);
    cpus.plug(0).unwrap();
    cpus.bind(0, Box::new(Deaf), me.waker());
    (cpus, me)
}

fn brought_up() -> (Arc<Cpus>, impl Park) {
    let (cpus, mut me) = bound();
    cpus.advance(0, &mut me);
    cpus.plugged(0);
    cpus.advance(0, &mut me);
    (cpus, me)
}

#[test]
fn wake_all_ends_a_wait_outside_the_guest() {
    search("wake_all_ends_a_wait_outside_the_guest", 3, || {
        let (cpus, mut me) = brought_up();
        let busy = Arc::new(AtomicBool::new(true));
        let other = {
            let (cpus, busy) = (Arc::clone(&cpus), Arc::clone(&busy));
            thread::spawn(move || {
                busy.store(false, Ordering::Relaxed);
                cpus.wake_all();
            })
        };
        cpus.wait_for(0, || busy.load(Ordering::Relaxed), &mut me);
        assert!(!busy.load(Ordering::Relaxed));
        other.join().unwrap();
    });
}

#[test]
fn c2_a_wait_outside_the_guest_ends_with_a_request() {
    search("c2_a_wait_outside_the_guest_ends_with_a_request", 3, || {
        let (cpus, mut me) = brought_up();
        let other = {
            let cpus = Arc::clone(&cpus);
            thread::spawn(move || cpus.ask_all(Goal::Pause))
        };
        cpus.wait_for(0, || true, &mut me);
        other.join().unwrap();
    });
}

/// As an ejecting guest makes it do.
#[test]
fn c2_a_vcpu_that_removes_itself_misses_no_stop() {
    static WENT: Seen = Seen::new();
    search("c2_a_vcpu_that_removes_itself_misses_no_stop", 4, || {
        let (cpus, mut me) = brought_up();
        let other = {
            let cpus = Arc::clone(&cpus);
            thread::spawn(move || cpus.ask_all(Goal::Stop))
        };
        match cpus.unplug(0) {
            Ok(()) | Err(Refused::Ended) => {}
            Err(why) => panic!("{why:?}"),
        }
        loop {
            cpus.expect_kicks(0);
            match cpus.advance(0, &mut me) {
                Next::Unplug => {
                    cpus.unplugged(0);
                    WENT.count();
                }
                Next::Leave => break,
                next => panic!("{next:?} is nothing to do"),
            }
        }
        cpus.finish(0);
        other.join().unwrap();
        assert_eq!(cpus.state(0), VcpuState::Finished);
    });
    WENT.assert_seen("a vCPU that went before the stop");
}
