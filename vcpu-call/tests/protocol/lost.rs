// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! No caller waits for a thread that is no more, and none gets the answer to another call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use vcpu_call::{NotRun, Vcpu};

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
fn leave_a_call(
    calls: &Numbers,
    kicks: &mpsc::Receiver<vcpu_call::VcpuId>,
    zero: &mut Vcpu<u32, u32>,
) {
    let caller = {
        let caller = call(calls, ZERO, 1);
        assert_eq!(kicks.recv(), Ok(ZERO));
        caller
    };
    falls(|| {
        let _ = zero.call(ONE, 10, fall);
    });
    assert_eq!(kicks.recv(), Ok(ONE));
    assert_eq!(caller.join().unwrap(), Err(NotRun::Lost));
}

#[test]
fn a_late_answer_is_not_taken_for_the_next_one() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(2, ipi);
        let (mut zero, mut one) = (online(&calls, ZERO), online(&calls, ONE));

        leave_a_call(&calls, &kicks, &mut zero);
        assert_eq!(
            one.serve(|n| n + 1),
            1,
            "answered before the next call begins"
        );
        let target = thread::spawn(move || {
            kicks.recv().unwrap();
            one.serve(|n| n + 1);
            (one, kicks)
        });
        assert_eq!(zero.call(ONE, 20, |n| n), Ok(21));
        let (mut one, kicks) = target.join().unwrap();

        leave_a_call(&calls, &kicks, &mut zero);
        let target = thread::spawn(move || {
            kicks.recv().unwrap();
            let mut order = Vec::new();
            one.serve(|n| {
                order.push(n);
                n + 1
            });
            order
        });
        assert_eq!(zero.call(ONE, 30, |n| n), Ok(31), "answered after it began");
        assert_eq!(target.join().unwrap(), [10, 30]);
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
