// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU's end is dropped with calls in its mailbox.

use loom::thread;
use vcpu_call::{Calls, NotRun, VcpuId};

use crate::search::{Seen, search};

#[test]
fn a_queued_call_is_lost_with_the_thread() {
    static LOST: Seen = Seen::new();
    static REFUSED: Seen = Seen::new();
    search("a_queued_call_is_lost_with_the_thread", 3, || {
        let calls: Calls<(), ()> = Calls::new(1, |_| ());
        let mut vcpu = calls.vcpu(VcpuId(0)).unwrap();
        vcpu.go_online();
        let dying = thread::spawn(move || drop(vcpu));
        match calls.outside().call(VcpuId(0), ()) {
            Ok(()) => panic!("nobody served"),
            Err(NotRun::Lost) => LOST.count(),
            Err(NotRun::Offline) => REFUSED.count(),
        }
        dying.join().unwrap();
        assert!(calls.vcpu(VcpuId(0)).is_ok(), "free to be claimed");
    });
    LOST.assert_seen("a call lost");
    REFUSED.assert_seen("a call refused");
}

#[test]
fn the_next_owner_sees_nothing_of_the_last_ones_calls() {
    search(
        "the_next_owner_sees_nothing_of_the_last_ones_calls",
        3,
        || {
            let calls: Calls<u32, u32> = Calls::new(1, |_| ());
            let mut first = calls.vcpu(VcpuId(0)).unwrap();
            first.go_online();
            let caller = {
                let calls = calls.clone();
                thread::spawn(move || calls.outside().call(VcpuId(0), 1))
            };
            drop(first);
            let mut second = calls.vcpu(VcpuId(0)).unwrap();
            second.go_online();
            let mut served = 0;
            second.go_offline(|n| {
                served += 1;
                n + 1
            });
            match caller.join().unwrap() {
                Ok(answer) => assert_eq!((answer, served), (2, 1)),
                Err(_) => assert_eq!(served, 0),
            }
        },
    );
}
