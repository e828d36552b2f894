// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! C3 and C6: how often a vCPU is kicked, and with what in hand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use vcpu_call::Park;
use vcpu_life::{Cpus, Goal, Kick, Next, VcpuState};

use crate::machine::{Guest, Kicker, LONG, Vm, by_hand, ends};

#[test]
fn c3_a_kick_is_sent_once_until_the_next_is_expected() {
    let guest = Arc::new(Guest::default());
    let (cpus, _me) = by_hand(Kicker(guest.clone()));
    for expected in [1, 2, 3] {
        cpus.kick_all();
        cpus.kick_all();
        assert_eq!(guest.kicks.load(Ordering::SeqCst), expected);
        cpus.expect_kicks(0);
    }
}

#[test]
fn c3_a_kick_that_was_refused_is_not_under_way() {
    let guest = Arc::new(Guest::default());
    guest.refuses.store(1, Ordering::SeqCst);
    let (cpus, _me) = by_hand(Kicker(guest.clone()));
    cpus.kick_all();
    cpus.kick_all();
    cpus.kick_all();
    assert_eq!(guest.kicks.load(Ordering::SeqCst), 2);
}

/// Three times in a row, so that it is not some other kick that helps.
#[test]
fn c3_whoever_waits_repeats_a_kick_that_was_refused() {
    ends(|| {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        vm.guests[0].wait_inside();
        vm.guests[0].refuses.store(3, Ordering::SeqCst);
        vm.settle(Goal::Pause);
        assert_eq!(vm.guests[0].refuses.load(Ordering::SeqCst), 0);
        vm.stop([thread]);
    });
}

#[test]
fn nobody_kicks_a_vcpu_that_has_looked() {
    let guest = Arc::new(Guest::default());
    let (cpus, _me) = by_hand(Kicker(guest.clone()));
    let long_enough_to_kick_again = Duration::from_millis(250);
    let (state, was) = cpus.wait_state(0, long_enough_to_kick_again, |_| false);
    assert_eq!((state, was), (VcpuState::Running, false));
    assert_eq!(guest.kicks.load(Ordering::SeqCst), 0);
}

/// Calls back wherever it is called: with a lock held, that would be the end.
struct CallsBack(Arc<OnceLock<Weak<Cpus>>>);

impl CallsBack {
    fn call_back(&self) {
        if let Some(cpus) = self.0.get().and_then(Weak::upgrade) {
            assert_eq!(cpus.states().len(), 1);
            cpus.wake_all();
            cpus.ask_all(Goal::Pause);
        }
    }
}

impl Kick for CallsBack {
    fn kick(&self) -> bool {
        self.call_back();
        true
    }
}

impl Drop for CallsBack {
    fn drop(&mut self) {
        self.call_back();
    }
}

#[test]
fn c6_no_lock_is_held_across_a_kick() {
    ends(|| {
        let slot = Arc::new(OnceLock::new());
        let (cpus, mut me) = by_hand(CallsBack(slot.clone()));
        slot.set(Arc::downgrade(&cpus)).unwrap();
        cpus.ask_all(Goal::Run);
        // The kick asked for a pause.
        assert_eq!(cpus.wait_all(Goal::Run, Duration::ZERO), Ok(()));
        cpus.expect_kicks(0);
        cpus.unplug(0).unwrap();
        cpus.expect_kicks(0);
        assert_eq!(cpus.advance(0, &mut me), Next::Unplug);
        cpus.unplugged(0);
        assert!(cpus.plug(0).is_ok());
    });
}

/// Refuses, and looks at what everybody does.
struct Looks(Arc<OnceLock<Weak<Cpus>>>, Arc<AtomicUsize>);

impl Kick for Looks {
    fn kick(&self) -> bool {
        if let Some(cpus) = self.0.get().and_then(Weak::upgrade) {
            assert_eq!(cpus.states(), [VcpuState::Running]);
            self.1.fetch_add(1, Ordering::SeqCst);
        }
        false
    }
}

#[test]
fn c6_no_lock_is_held_across_a_repeated_kick() {
    ends(|| {
        let (slot, kicks) = (Arc::new(OnceLock::new()), Arc::default());
        let (cpus, _me) = by_hand(Looks(slot.clone(), Arc::clone(&kicks)));
        slot.set(Arc::downgrade(&cpus)).unwrap();
        cpus.ask_all(Goal::Pause);
        let long_enough_to_kick_again = Duration::from_millis(250);
        let stuck = cpus.wait_all(Goal::Pause, long_enough_to_kick_again);
        assert!(stuck.is_err());
        assert!(kicks.load(Ordering::SeqCst) > 1);
    });
}

#[test]
fn c6_no_lock_is_held_while_a_kick_is_dropped() {
    ends(|| {
        let slot = Arc::new(OnceLock::new());
        let (cpus, me) = by_hand(CallsBack(slot.clone()));
        slot.set(Arc::downgrade(&cpus)).unwrap();
        cpus.bind(0, Box::new(CallsBack(slot)), me.waker());
        cpus.finish(0);
    });
}

/// The VM stands still, and its vCPU is told to go: by a thread that is in a wait of its own.
#[test]
fn c6_a_wait_holds_up_no_request() {
    ends(|| {
        let vm = Vm::new(1);
        let thread = vm.create(0);
        vm.wait_for(0, VcpuState::Running);
        let waits = {
            let vm = vm.clone();
            std::thread::spawn(move || vm.cpus.wait_state(0, LONG, |is| is == VcpuState::Offline))
        };
        vm.settle(Goal::Pause);
        vm.cpus.unplug(0).unwrap();
        assert_eq!(waits.join().unwrap(), (VcpuState::Offline, true));
        vm.stop([thread]);
    });
}
