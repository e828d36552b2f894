// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Wakes stick, and parking serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use vcpu_call::NotRun;

use crate::rig::{Numbers, ONE, ZERO, call, ends, online, told};

#[test]
fn a_wake_that_came_earlier_counts() {
    ends(|| {
        let calls = Numbers::new(1, |_| ());
        let mut me = calls.outside();
        me.waker().wake();
        me.park();
        let mut vcpu = calls.vcpu(ZERO).unwrap();
        vcpu.waker().wake();
        vcpu.park(|n| n);
    });
}

#[test]
fn a_wake_while_it_serves_is_for_the_next_time() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(1, ipi);
        let mut vcpu = online(&calls, ZERO);
        let waker = vcpu.waker();
        let caller = call(&calls, ZERO, 1);
        kicks.recv().unwrap();
        vcpu.park(|n| {
            waker.wake();
            n
        });
        vcpu.park(|_| panic!("nobody calls"));
        assert_eq!(caller.join().unwrap(), Ok(1));
    });
}

#[test]
fn a_call_eats_no_wake() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(2, ipi);
        let (mut zero, mut one) = (online(&calls, ZERO), online(&calls, ONE));
        zero.waker().wake();
        let target = thread::spawn(move || {
            kicks.recv().unwrap();
            one.serve(|n| n)
        });
        assert_eq!(zero.call(ONE, 1, |n| n), Ok(1));
        zero.park(|n| n);
        target.join().unwrap();
    });
}

#[test]
fn a_wake_from_elsewhere_ends_it() {
    ends(|| {
        let calls = Numbers::new(1, |_| ());
        let mut vcpu = calls.vcpu(ZERO).unwrap();
        let waker = vcpu.waker();
        let woken = Arc::new(AtomicBool::new(false));
        let other = {
            let woken = Arc::clone(&woken);
            thread::spawn(move || {
                woken.store(true, Ordering::Relaxed);
                waker.wake();
            })
        };
        while !woken.load(Ordering::Relaxed) {
            vcpu.park(|n| n);
        }
        other.join().unwrap();
    });
}

#[test]
fn parking_serves() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(1, ipi);
        let mut vcpu = online(&calls, ZERO);
        let callers = [1, 2].map(|n| {
            let caller = call(&calls, ZERO, n);
            kicks.recv().unwrap();
            caller
        });
        vcpu.park(|n| n + 1);
        assert!(!vcpu.pending());
        assert_eq!(callers.map(|caller| caller.join().unwrap()), [Ok(2), Ok(3)]);
    });
}

#[test]
fn a_waker_outlives_what_it_wakes() {
    ends(|| {
        let calls = Numbers::new(1, |_| ());
        let waker = calls.vcpu(ZERO).unwrap().waker();
        waker.clone().wake();
        assert_eq!(calls.outside().call(ZERO, 1), Err(NotRun::Offline));
        drop(calls);
        waker.wake();
    });
}
