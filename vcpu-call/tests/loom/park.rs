// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! No wake is lost, whenever it comes.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use vcpu_call::{Calls, Vcpu, VcpuId};

use crate::search::search;

fn online(calls: &Calls<(), ()>) -> Vcpu<(), ()> {
    let mut vcpu = calls.vcpu(VcpuId(0)).unwrap();
    vcpu.go_online();
    vcpu
}

#[test]
fn park_returns_for_a_wake_before_or_after() {
    search("park_returns_for_a_wake_before_or_after", 3, || {
        let calls: Calls<(), ()> = Calls::new(0, |_| ());
        let mut me = calls.outside();
        let waker = me.waker();
        let done = Arc::new(AtomicBool::new(false));
        let other = {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                done.store(true, Ordering::Relaxed);
                waker.wake();
            })
        };
        while !done.load(Ordering::Relaxed) {
            me.park();
        }
        other.join().unwrap();
    });
}

#[test]
fn park_returns_after_a_call() {
    search("park_returns_after_a_call", 3, || {
        let calls = Calls::new(1, |_| ());
        let mut vcpu = online(&calls);
        let caller = thread::spawn(move || calls.outside().call(VcpuId(0), ()));
        let mut served = 0;
        while served == 0 {
            vcpu.park(|()| served += 1);
        }
        assert_eq!(caller.join().unwrap(), Ok(()));
    });
}

#[test]
fn park_loses_neither_a_wake_nor_a_call_that_come_together() {
    search(
        "park_loses_neither_a_wake_nor_a_call_that_come_together",
        3,
        || {
            let calls = Calls::new(1, |_| ());
            let mut vcpu = online(&calls);
            let waker = vcpu.waker();
            let done = Arc::new(AtomicBool::new(false));
            let wake = {
                let done = Arc::clone(&done);
                thread::spawn(move || {
                    done.store(true, Ordering::Relaxed);
                    waker.wake();
                })
            };
            let call = thread::spawn(move || calls.outside().call(VcpuId(0), ()));
            let mut served = 0;
            while served == 0 || !done.load(Ordering::Relaxed) {
                vcpu.park(|()| served += 1);
            }
            wake.join().unwrap();
            assert_eq!(call.join().unwrap(), Ok(()));
        },
    );
}

#[test]
fn a_call_eats_no_wake() {
    search("a_call_eats_no_wake", 3, || {
        let calls = Calls::new(2, |_| ());
        let mut target = online(&calls);
        let mut me = calls.vcpu(VcpuId(1)).unwrap();
        let waker = me.waker();
        let other = thread::spawn(move || {
            waker.wake();
            target.go_offline(|()| ());
        });
        // Answered or refused: the wake falls before, into or after it.
        let _ = me.call(VcpuId(0), (), |()| ());
        me.park(|()| ());
        other.join().unwrap();
    });
}
