// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! D3: a vCPU that is online is made to serve, wherever its thread is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use vcpu_call::{Vcpu, VcpuId};

use crate::rig::{Numbers, ONE, ZERO, call, ends, online, told};

#[test]
fn d3_an_accepted_call_kicks_its_target_once() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(2, ipi);
        let mut vcpu = online(&calls, ONE);
        assert!(calls.outside().call(ZERO, 1).is_err());
        let caller = call(&calls, ONE, 1);
        assert_eq!(kicks.recv(), Ok(ONE));
        vcpu.serve(|n| n);
        caller.join().unwrap().unwrap();
        drop((calls, vcpu));
        assert_eq!(kicks.iter().collect::<Vec<VcpuId>>(), []);
    });
}

/// Waits for a call that comes without a kick.
fn await_call(vcpu: &Vcpu<u32, u32>) {
    while !vcpu.pending() {
        thread::yield_now();
    }
}

#[test]
fn d3_a_thread_out_of_its_guest_is_not_kicked() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(1, ipi);
        let mut vcpu = online(&calls, ZERO);
        vcpu.exit_guest();
        let caller = call(&calls, ZERO, 1);
        await_call(&vcpu);
        // Turned away from its guest it is as far out of it as before.
        assert!(!vcpu.enter_guest());
        assert_eq!(vcpu.serve(|n| n), 1);
        caller.join().unwrap().unwrap();
        let caller = call(&calls, ZERO, 2);
        await_call(&vcpu);
        assert_eq!(vcpu.serve(|n| n), 1);
        caller.join().unwrap().unwrap();
        assert!(kicks.try_recv().is_err());

        assert!(vcpu.enter_guest());
        let caller = call(&calls, ZERO, 3);
        await_call(&vcpu);
        assert_eq!(vcpu.serve(|n| n), 1);
        caller.join().unwrap().unwrap();
        assert_eq!(kicks.try_iter().collect::<Vec<VcpuId>>(), [ZERO]);
    });
}

#[test]
fn d3_the_next_owner_has_said_nothing_yet() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(1, ipi);
        let mut first = online(&calls, ZERO);
        first.exit_guest();
        drop(first);
        let mut second = online(&calls, ZERO);
        let caller = call(&calls, ZERO, 1);
        await_call(&second);
        second.serve(|n| n);
        caller.join().unwrap().unwrap();
        assert_eq!(kicks.try_recv(), Ok(ZERO));
    });
}

/// The call is there to be served when the kick is sent, and no lock stands in the way.
#[test]
fn d3_the_kick_may_serve_by_itself() {
    ends(|| {
        let target: Arc<OnceLock<Mutex<Vcpu<u32, u32>>>> = Arc::default();
        let ipi = {
            let target = Arc::clone(&target);
            move |_| {
                let mut vcpu = target.get().unwrap().lock().unwrap();
                assert!(vcpu.pending() && vcpu.is_online());
                assert_eq!(vcpu.serve(|n| n + 1), 1);
                assert!(!vcpu.pending());
            }
        };
        let calls = Numbers::new(1, ipi);
        assert!(target.set(Mutex::new(online(&calls, ZERO))).is_ok());
        let mut me = calls.outside();
        assert_eq!(me.call(ZERO, 4), Ok(5));
        assert_eq!(me.call(ZERO, 5), Ok(6));
    });
}

#[test]
fn d3_pending_until_the_last_one_is_served() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(2, ipi);
        let mut vcpu = online(&calls, ZERO);
        let callers = [1, 2].map(|n| {
            let caller = call(&calls, ZERO, n);
            kicks.recv().unwrap();
            caller
        });
        assert!(vcpu.pending());
        assert_eq!(vcpu.serve(|n| n), 2);
        assert!(!vcpu.pending());
        assert_eq!(vcpu.serve(|n| n), 0);
        assert_eq!(callers.map(|caller| caller.join().unwrap()), [Ok(1), Ok(2)]);
    });
}

#[test]
fn d3_a_run_loop_leaves_its_guest_to_serve() {
    const CALLS: u32 = 500;
    ends(|| {
        let kick = Arc::new(AtomicBool::new(false));
        let ipi = {
            let kick = Arc::clone(&kick);
            move |_| kick.store(true, Ordering::Release)
        };
        let calls = Numbers::new(1, ipi);
        let mut vcpu = online(&calls, ZERO);
        let run_loop = thread::spawn(move || {
            let mut served = 0;
            while served < CALLS {
                kick.store(false, Ordering::Relaxed);
                if vcpu.pending() {
                    served += u32::try_from(vcpu.serve(|n| n + 1)).unwrap();
                    continue;
                }
                while !kick.load(Ordering::Acquire) {
                    thread::yield_now();
                }
            }
        });
        let mut me = calls.outside();
        for n in 0..CALLS {
            assert_eq!(me.call(ZERO, n), Ok(n + 1));
        }
        run_loop.join().unwrap();
    });
}
