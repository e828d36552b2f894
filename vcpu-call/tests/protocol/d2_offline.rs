// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! D2: an accepted call completes; accepting or refusing it is one step with going offline.

use std::sync::mpsc;

use vcpu_call::{Calls, NotRun, VcpuId};

use crate::rig::{Numbers, ONE, ZERO, call, ends, online, told};

#[test]
fn d2_offline_or_absent_refuses() {
    ends(|| {
        let calls = Numbers::new(2, |_| panic!("nobody is to be kicked"));
        let mut vcpu = calls.vcpu(ZERO).unwrap();
        for target in [ZERO, ONE, VcpuId(2), VcpuId(u32::MAX)] {
            assert_eq!(calls.outside().call(target, 1), Err(NotRun::Offline));
            assert_eq!(
                vcpu.call(target, 1, |_| panic!("never run")),
                Err(NotRun::Offline)
            );
        }
        vcpu.go_online();
        vcpu.go_offline(|_| panic!("nothing was queued"));
        assert_eq!(calls.outside().call(ZERO, 1), Err(NotRun::Offline));
    });
}

#[test]
fn d2_what_is_queued_runs_before_the_vcpu_is_gone() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(1, ipi);
        let mut vcpu = online(&calls, ZERO);
        let callers = [3, 4].map(|n| {
            let caller = call(&calls, ZERO, n);
            kicks.recv().unwrap();
            caller
        });
        let mut served = Vec::new();
        vcpu.go_offline(|n| {
            assert!(calls.is_online(ZERO), "it is not gone while it runs them");
            served.push(n);
            n * 2
        });
        assert_eq!(served, [3, 4]);
        assert_eq!(callers.map(|caller| caller.join().unwrap()), [Ok(6), Ok(8)]);
        assert!(!vcpu.is_online() && !vcpu.pending());
    });
}

/// However many calls arrive, going offline takes as long as those that were there.
#[test]
fn d2_what_comes_while_it_goes_is_refused() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(1, ipi);
        let mut vcpu = online(&calls, ZERO);
        let early = call(&calls, ZERO, 3);
        kicks.recv().unwrap();
        let mut late = Vec::new();
        vcpu.go_offline(|n| {
            assert_eq!(n, 3, "the late ones do not run");
            late.push(call(&calls, ZERO, 100));
            kicks.recv().unwrap();
            n * 2
        });
        assert_eq!(early.join().unwrap(), Ok(6));
        for caller in late {
            assert_eq!(caller.join().unwrap(), Err(NotRun::Offline));
        }
        assert!(!vcpu.pending());
    });
}

#[test]
fn d2_it_can_come_back() {
    ends(|| {
        let (ipi, kicks) = told();
        let calls = Numbers::new(1, ipi);
        let mut vcpu = online(&calls, ZERO);
        for round in 0..3 {
            vcpu.go_offline(|_| panic!("nothing was queued"));
            assert_eq!(calls.outside().call(ZERO, round), Err(NotRun::Offline));
            vcpu.go_online();
            let caller = call(&calls, ZERO, round);
            kicks.recv().unwrap();
            assert_eq!(vcpu.serve(|n| n + 1), 1);
            assert_eq!(caller.join().unwrap(), Ok(round + 1));
        }
    });
}

/// Its drop asks for the state of the vCPU: under that mailbox's lock it would wait for itself.
struct Nosy(Calls<Nosy, ()>, mpsc::Sender<bool>);

impl Drop for Nosy {
    fn drop(&mut self) {
        self.1.send(self.0.is_online(ZERO)).unwrap();
    }
}

#[test]
fn d2_a_refused_function_is_dropped_outside_the_lock() {
    ends(|| {
        let (tell, told) = mpsc::channel();
        let calls = Calls::new(1, |_| ());
        let _vcpu = calls.vcpu(ZERO).unwrap();
        let refused = calls.outside().call(ZERO, Nosy(calls.clone(), tell));
        assert_eq!(refused, Err(NotRun::Offline));
        assert_eq!(told.try_recv(), Ok(false));
    });
}
