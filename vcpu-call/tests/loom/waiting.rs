// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! D1: who waits for an answer serves.

use loom::thread;
use vcpu_call::{Calls, Vcpu, VcpuId};

use crate::search::search;

/// Claims vCPUs `0..n`, online.
fn online(n: u32) -> Vec<Vcpu<u32, u32>> {
    let calls = Calls::new(n, |_| ());
    let vcpus = (0..n).map(|id| {
        let mut vcpu = calls.vcpu(VcpuId(id)).unwrap();
        vcpu.go_online();
        vcpu
    });
    vcpus.collect()
}

/// Calls `target`, and serves until it has been called once itself.
fn call_and_be_called(mut vcpu: Vcpu<u32, u32>, target: VcpuId) {
    let own = vcpu.id().0;
    let mut served = 0;
    let mut serve = |from: u32| {
        served += 1;
        from * 10 + own
    };
    let answer = vcpu.call(target, own, &mut serve);
    assert_eq!(answer, Ok(own * 10 + target.0));
    while served == 0 {
        vcpu.park(|from| {
            served += 1;
            from * 10 + own
        });
    }
    assert_eq!(served, 1);
}

#[test]
fn d1_two_vcpus_call_each_other() {
    search("d1_two_vcpus_call_each_other", 3, || {
        let [zero, one] = <[_; 2]>::try_from(online(2)).unwrap();
        let other = thread::spawn(move || call_and_be_called(one, VcpuId(0)));
        call_and_be_called(zero, VcpuId(1));
        other.join().unwrap();
    });
}

#[test]
fn d1_three_vcpus_call_in_a_ring() {
    search("d1_three_vcpus_call_in_a_ring", 3, || {
        let [zero, one, two] = <[_; 3]>::try_from(online(3)).unwrap();
        let others = [
            thread::spawn(move || call_and_be_called(one, VcpuId(2))),
            thread::spawn(move || call_and_be_called(two, VcpuId(0))),
        ];
        call_and_be_called(zero, VcpuId(1));
        for other in others {
            other.join().unwrap();
        }
    });
}
