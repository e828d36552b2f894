// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! D2: a call is accepted or refused in one step with going offline.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use vcpu_call::{Calls, NotRun, Vcpu, VcpuId};

use crate::search::{Seen, search};

const TARGET: VcpuId = VcpuId(0);

/// What happened to a call, by its function's side.
#[derive(Clone, Default)]
struct Ran(Arc<AtomicUsize>);

impl Ran {
    fn run(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Holds the caller's answer against what happened.
    fn assert_true(&self, answer: Result<(), NotRun>) {
        let times = self.0.load(Ordering::Relaxed);
        match answer {
            Ok(()) => assert_eq!(times, 1, "accepted, so run once"),
            Err(NotRun::Offline) => assert_eq!(times, 0, "refused, so never run"),
            Err(NotRun::Lost) => panic!("nothing was lost"),
        }
    }
}

fn online(calls: &Calls<Ran, ()>) -> Vcpu<Ran, ()> {
    let mut vcpu = calls.vcpu(TARGET).unwrap();
    vcpu.go_online();
    vcpu
}

#[test]
fn d2_accepted_completes_and_refused_never_ran() {
    static ACCEPTED: Seen = Seen::new();
    static REFUSED: Seen = Seen::new();
    search("d2_accepted_completes_and_refused_never_ran", 3, || {
        let calls = Calls::new(1, |_| ());
        let mut vcpu = online(&calls);
        let going = thread::spawn(move || {
            vcpu.go_offline(|ran| ran.run());
            vcpu
        });

        let ran = Ran::default();
        let answer = calls.outside().call(TARGET, ran.clone());
        let vcpu = going.join().unwrap();
        ran.assert_true(answer);
        assert!(!vcpu.pending(), "nothing is left behind");
        match answer {
            Ok(()) => ACCEPTED.count(),
            Err(_) => REFUSED.count(),
        }
    });
    ACCEPTED.assert_seen("a call accepted");
    REFUSED.assert_seen("a call refused");
}

#[test]
fn d2_holds_for_two_callers() {
    static ONE_OF_EACH: Seen = Seen::new();
    search("d2_holds_for_two_callers", 3, || {
        let calls = Calls::new(1, |_| ());
        let mut vcpu = online(&calls);
        let going = thread::spawn(move || vcpu.go_offline(|ran| ran.run()));

        let other = {
            let calls = calls.clone();
            thread::spawn(move || {
                let ran = Ran::default();
                let answer = calls.outside().call(TARGET, ran.clone());
                ran.assert_true(answer);
                answer
            })
        };
        let ran = Ran::default();
        let answer = calls.outside().call(TARGET, ran.clone());
        ran.assert_true(answer);
        if answer != other.join().unwrap() {
            ONE_OF_EACH.count();
        }
        going.join().unwrap();
    });
    ONE_OF_EACH.assert_seen("one call accepted, the other refused");
}

#[test]
fn d2_holds_from_vcpu_to_vcpu() {
    search("d2_holds_from_vcpu_to_vcpu", 3, || {
        let calls = Calls::new(2, |_| ());
        let mut vcpu = online(&calls);
        let going = thread::spawn(move || vcpu.go_offline(|ran| ran.run()));

        let mut caller = calls.vcpu(VcpuId(1)).unwrap();
        caller.go_online();
        let ran = Ran::default();
        let answer = caller.call(TARGET, ran.clone(), |ran| ran.run());
        ran.assert_true(answer);
        going.join().unwrap();
    });
}
