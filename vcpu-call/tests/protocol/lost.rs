// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! No caller waits for a thread that is no more, and none gets the answer to another call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use vcpu_call::{NotRun, Vcpu, VcpuId};

use crate::rig::{Numbers, ONE, ZERO, call, ends, online, told};

/// A function that panics, quietly.
fn fall(_: u32) -> u32 {
    std::panic::resume_unwind(Box::new("on purpose"))
}

fn falls(serving: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(serving)).is_err());
}

#[test]
fn a_dropped_vcpu_loses_what_is_queued() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(1, ipi);
        let vcpu = online(&calls, ZERO);
        let callers = [1, 2].map(|n| {
            let caller = call(&calls, ZERO, n);
            kicks.recv().unwrap();
            caller
        });
        drop(vcpu);
        for caller in callers {
            assert_eq!(caller.join().unwrap(), Err(NotRun::Lost));
        }
        assert!(
            !online(&calls, ZERO).pending(),
            "nothing is left to the next one"
        );
    });
}

#[test]
fn a_panic_in_a_served_function_loses_that_call() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(1, ipi);
        let mut vcpu = online(&calls, ZERO);
        let callers = [1, 2].map(|n| {
            let caller = call(&calls, ZERO, n);
            kicks.recv().unwrap();
            caller
        });
        falls(|| {
            vcpu.serve(fall);
        });
        let [first, second] = callers;
        assert_eq!(
            first.join().unwrap(),
            Err(NotRun::Lost),
            "before the vCPU is dropped"
        );
        assert!(vcpu.pending(), "the other one waits");
        assert_eq!(vcpu.serve(|n| n), 1);
        assert_eq!(second.join().unwrap(), Ok(2));
    });
}

#[test]
fn a_panicking_thread_loses_its_calls() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(1, ipi);
        let mut vcpu = online(&calls, ZERO);
        let callers = [1, 2].map(|n| {
            let caller = call(&calls, ZERO, n);
            kicks.recv().unwrap();
            caller
        });
        assert!(thread::spawn(move || vcpu.serve(fall)).join().is_err());
        for caller in callers {
            assert_eq!(caller.join().unwrap(), Err(NotRun::Lost));
        }
        assert!(!calls.is_online(ZERO));
    });
}

/// vCPU 0 leaves a call to vCPU 1 by a panic in what it serves meanwhile. Then the answer comes.
fn leave_a_call(calls: &Numbers, kicks: &mpsc::Receiver<VcpuId>, zero: &mut Vcpu<u32, u32>) {
    let caller = call(calls, ZERO, 1);
    assert_eq!(kicks.recv(), Ok(ZERO));
    falls(|| {
        let _ = zero.call(ONE, 10, fall);
    });
    assert_eq!(kicks.recv(), Ok(ONE));
    assert_eq!(caller.join().unwrap(), Err(NotRun::Lost));
}

#[test]
fn an_answer_before_the_next_call_is_not_taken_for_its_own() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(2, ipi);
        let (mut zero, mut one) = (online(&calls, ZERO), online(&calls, ONE));
        leave_a_call(&calls, &kicks, &mut zero);
        assert_eq!(one.serve(|n| n + 1), 1);
        let target = thread::spawn(move || {
            kicks.recv().unwrap();
            one.serve(|n| n + 1)
        });
        assert_eq!(zero.call(ONE, 20, |n| n), Ok(21));
        assert_eq!(target.join().unwrap(), 1);
    });
}

/// vCPU 1 answers the call that was left while the next one is under way, and vCPU 2 answers that
/// one only after vCPU 0 went on waiting.
#[test]
fn an_answer_during_the_next_call_is_not_taken_for_its_own() {
    const TWO: VcpuId = VcpuId(2);
    ends(|| {
        let target: Arc<OnceLock<Mutex<Vcpu<u32, u32>>>> = Arc::default();
        let (kick, kicks) = mpsc::channel();
        let ipi = {
            let target = Arc::clone(&target);
            move |id| {
                if id == TWO {
                    let mut one = target.get().unwrap().lock().unwrap();
                    assert_eq!(one.serve(|n| n + 1), 1);
                }
                kick.send(id).unwrap();
            }
        };
        let calls = Numbers::new(3, ipi);
        let (mut zero, mut two) = (online(&calls, ZERO), online(&calls, TWO));
        assert!(target.set(Mutex::new(online(&calls, ONE))).is_ok());
        leave_a_call(&calls, &kicks, &mut zero);
        let other = thread::spawn(move || {
            assert_eq!(kicks.recv(), Ok(TWO));
            assert_eq!(call(&calls, ZERO, 5).join().unwrap(), Ok(6));
            two.serve(|n| n + 2)
        });
        assert_eq!(zero.call(TWO, 20, |n| n + 1), Ok(22));
        assert_eq!(other.join().unwrap(), 1);
    });
}

#[test]
fn an_answer_to_nobody_is_harmless() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(2, ipi);
        let (mut zero, mut one) = (online(&calls, ZERO), online(&calls, ONE));
        leave_a_call(&calls, &kicks, &mut zero);
        drop(zero);
        assert_eq!(one.serve(|n| n + 1), 1);
        let mut zero = online(&calls, ZERO);
        let target = thread::spawn(move || {
            kicks.recv().unwrap();
            one.serve(|n| n + 1);
        });
        assert_eq!(zero.call(ONE, 20, |n| n), Ok(21));
        target.join().unwrap();
    });
}
