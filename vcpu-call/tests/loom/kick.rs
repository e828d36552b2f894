// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! D3: between a kick that is cleared and the entry to the guest, no call slips through.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use vcpu_call::{Calls, VcpuId};

use crate::search::{Seen, search};

#[test]
fn d3_a_kick_cleared_by_a_plain_store_loses_no_call() {
    static SEEN_PENDING: Seen = Seen::new();
    static SEEN_KICKED: Seen = Seen::new();
    search(
        "d3_a_kick_cleared_by_a_plain_store_loses_no_call",
        3,
        || {
            let kick = Arc::new(AtomicBool::new(true));
            let ipi = {
                let kick = Arc::clone(&kick);
                move |_| kick.store(true, Ordering::Relaxed)
            };
            let calls = Calls::new(1, ipi);
            let mut vcpu = calls.vcpu(VcpuId(0)).unwrap();
            vcpu.go_online();
            let caller = thread::spawn(move || calls.outside().call(VcpuId(0), ()));

            // An entry to the guest, that a kick would end.
            kick.store(false, Ordering::Relaxed);
            let pending = vcpu.pending();

            // Here only to bring the model to its end: whether the guest was entered is settled.
            vcpu.park(|()| ());
            assert_eq!(caller.join().unwrap(), Ok(()));
            let kicked = kick.load(Ordering::Relaxed);
            assert!(pending || kicked, "the guest runs on, the caller waits");
            if pending {
                SEEN_PENDING.count();
            }
            if kicked {
                SEEN_KICKED.count();
            }
        },
    );
    SEEN_PENDING.assert_seen("the call seen before the entry");
    SEEN_KICKED.assert_seen("the guest left by the kick");
}

/// A thread that says where it is gets a kick or sees the call, though not always the kick.
#[test]
fn d3_no_call_slips_by_a_thread_that_says_where_it_is() {
    static SEEN_PENDING: Seen = Seen::new();
    static SEEN_KICKED: Seen = Seen::new();
    static SEEN_NO_KICK: Seen = Seen::new();
    search(
        "d3_no_call_slips_by_a_thread_that_says_where_it_is",
        3,
        || {
            let kick = Arc::new(AtomicBool::new(true));
            let ipi = {
                let kick = Arc::clone(&kick);
                move |_| kick.store(true, Ordering::Relaxed)
            };
            let calls = Calls::new(1, ipi);
            let mut vcpu = calls.vcpu(VcpuId(0)).unwrap();
            vcpu.go_online();
            vcpu.exit_guest();
            let caller = thread::spawn(move || calls.outside().call(VcpuId(0), ()));

            kick.store(false, Ordering::Relaxed);
            let enters = vcpu.enter_guest();

            vcpu.park(|()| ());
            assert_eq!(caller.join().unwrap(), Ok(()));
            let kicked = kick.load(Ordering::Relaxed);
            assert!(!enters || kicked, "the guest runs on, the caller waits");
            if enters {
                SEEN_KICKED.count();
            } else {
                SEEN_PENDING.count();
            }
            if !kicked {
                SEEN_NO_KICK.count();
            }
        },
    );
    SEEN_PENDING.assert_seen("the call seen before the entry");
    SEEN_KICKED.assert_seen("the guest left by the kick");
    SEEN_NO_KICK.assert_seen("the kick spared");
}
