// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! D1: a vCPU that waits for an answer serves its own mailbox.

use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;

use vcpu_call::{NotRun, Vcpu, VcpuId};

use crate::rig::{Numbers, ONE, ZERO, call, ends, online};

/// vCPU 1 answers only after vCPU 0, which waits for that, served somebody.
#[test]
fn d1_a_waiting_vcpu_serves() {
    ends(|| {
        let (kick, kicked) = mpsc::channel();
        let calls = Numbers::new(2, move |target| {
            if target == ONE {
                kick.send(()).unwrap();
            }
        });
        let (mut zero, mut one) = (online(&calls, ZERO), online(&calls, ONE));
        let target = thread::spawn(move || {
            kicked.recv().unwrap();
            assert_eq!(call(&calls, ZERO, 5).join().unwrap(), Ok(50));
            one.serve(|n| n + 1)
        });
        let mut served = Vec::new();
        let answer = zero.call(ONE, 7, |n| {
            served.push(n);
            n * 10
        });
        assert_eq!((answer, served), (Ok(8), vec![5]));
        assert_eq!(target.join().unwrap(), 1);
    });
}

/// Or a busy mailbox would keep the caller for ever.
#[test]
fn d1_an_answer_that_is_there_goes_first() {
    ends(|| {
        let target: Arc<OnceLock<Mutex<Vcpu<u32, u32>>>> = Arc::default();
        let (kick, kicked) = mpsc::channel();
        let ipi = {
            let target = Arc::clone(&target);
            move |id| match id {
                ONE => {
                    let mut one = target.get().unwrap().lock().unwrap();
                    assert_eq!(one.serve(|n| n + 1), 1);
                }
                _ => kick.send(()).unwrap(),
            }
        };
        let calls = Numbers::new(2, ipi);
        let mut zero = online(&calls, ZERO);
        assert!(target.set(Mutex::new(online(&calls, ONE))).is_ok());
        let caller = call(&calls, ZERO, 5);
        kicked.recv().unwrap();
        let answer = zero.call(ONE, 7, |_| panic!("the answer is there"));
        assert_eq!(answer, Ok(8));
        assert!(zero.pending(), "what it did not serve is not forgotten");
        assert_eq!(zero.serve(|n| n), 1);
        assert_eq!(caller.join().unwrap(), Ok(5));
    });
}

#[test]
fn d1_vcpus_in_a_ring_call_each_other() {
    const ROUNDS: u32 = 200;
    for size in [2_u32, 3, 8] {
        ends(move || {
            let calls = Numbers::new(size, |_| ());
            let everybody_is_online = Barrier::new(size as usize);
            thread::scope(|threads| {
                for id in 0..size {
                    let (calls, everybody_is_online) = (&calls, &everybody_is_online);
                    threads.spawn(move || {
                        let mut vcpu = online(calls, VcpuId(id));
                        everybody_is_online.wait();
                        let mut served = 0;
                        for round in 0..ROUNDS {
                            let next = VcpuId((id + 1) % size);
                            let answer = vcpu.call(next, round, |n| {
                                served += 1;
                                n + 1
                            });
                            assert_eq!(answer, Ok(round + 1));
                        }
                        while served < ROUNDS {
                            vcpu.park(|n| {
                                served += 1;
                                n + 1
                            });
                        }
                    });
                }
            });
        });
    }
}

#[test]
fn d1_a_call_to_itself_runs_at_once() {
    ends(|| {
        let calls = Numbers::new(1, |_| panic!("nobody is to be kicked"));
        let mut vcpu = online(&calls, ZERO);
        assert_eq!(vcpu.call(ZERO, 7, |n| n + 1), Ok(8));
        assert!(!vcpu.pending());
        vcpu.go_offline(|n| n);
        let run = vcpu.call(ZERO, 7, |_| panic!("an offline vCPU runs nothing"));
        assert_eq!(run, Err(NotRun::Offline));
    });
}
