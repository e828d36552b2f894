// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is done over and over on a vCPU's thread allocates nothing once it is warm.

mod allocator;
mod engine;
mod registers;

use std::hint::black_box;
use std::thread;

use vcpu_call::{Calls, VcpuId};

use crate::allocator::allocations;

/// How often each thing is done.
const TIMES: u32 = 1_000;

/// Allocations of the calling thread while it does `act`.
fn allocations_of(act: impl FnOnce()) -> u64 {
    let before = allocations();
    act();
    allocations() - before
}

/// The other tests are worth nothing if this one fails.
#[test]
fn allocations_are_counted_on_the_thread_that_makes_them() {
    assert_eq!(allocations_of(|| drop(black_box(Box::new(1)))), 1);
    let mut list = Vec::with_capacity(1);
    let grown = allocations_of(|| {
        list.push(1_u64);
        list.push(2);
        black_box(&list);
    });
    assert_eq!(grown, 1, "the first element had its place");
    let elsewhere = thread::spawn(|| allocations_of(|| drop(black_box(vec![0_u8; 100]))));
    assert_eq!(elsewhere.join().unwrap(), 1);
    assert_eq!(allocations_of(|| ()), 0);
}

#[test]
fn calls_allocate_nothing_on_either_side() {
    const CALLEE: VcpuId = VcpuId(0);
    const WARM_UP: u32 = 16;
    let calls = Calls::new(2, |_| ());
    let mut callee = calls.vcpu(CALLEE).unwrap();
    callee.go_online();
    let mut caller = calls.vcpu(VcpuId(1)).unwrap();
    let serving = thread::spawn(move || {
        let mut served = 0;
        while served < WARM_UP + TIMES {
            callee.park(|()| {
                served += 1;
                allocations()
            });
        }
    });
    // Each call returns how often the callee's thread had allocated until then.
    let mut call = || caller.call(CALLEE, (), |()| unreachable!()).unwrap();
    let mut calls = |times| (0..times).map(|_| call()).last().unwrap();
    let before = calls(WARM_UP);
    let mut after = 0;
    assert_eq!(allocations_of(|| after = calls(TIMES)), 0, "the caller");
    assert_eq!(after - before, 0, "the callee");
    serving.join().unwrap();
}
