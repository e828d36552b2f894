// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The serving lock excludes, orders what it protects, and loses no wake.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use vcpu_call::{Calls, Outside, ServingGate, ServingLock};

use crate::search::search;

/// A counter that is exact only if one thread at a time adds to it, and each sees what the one
/// before did.
#[derive(Default)]
struct Fragile(AtomicUsize);

impl Fragile {
    fn add_one(&self) {
        let seen = self.0.load(Ordering::Relaxed);
        self.0.store(seen + 1, Ordering::Relaxed);
    }
}

/// `threads` threads go through a gate `rounds` times each.
fn pass(threads: usize, rounds: usize) {
    let calls: Calls<(), ()> = Calls::new(0, |_| ());
    let shared = Arc::new((ServingGate::new(), Fragile::default()));
    let go = move |shared: &(ServingGate, Fragile), mut me: Outside<(), ()>| {
        for _ in 0..rounds {
            let _inside = shared.0.enter(&mut me);
            shared.1.add_one();
        }
    };
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let (shared, me) = (Arc::clone(&shared), calls.outside());
            thread::spawn(move || go(&shared, me))
        })
        .collect();
    go(&shared, calls.outside());
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(shared.1.0.load(Ordering::Relaxed), threads * rounds);
}

#[test]
fn two_threads_exclude_each_other() {
    search("two_threads_exclude_each_other", 3, || pass(2, 2));
}

#[test]
fn three_threads_exclude_each_other_and_all_get_in() {
    search("three_threads_exclude_each_other_and_all_get_in", 3, || {
        pass(3, 1)
    });
}

#[test]
fn a_stale_wake_is_harmless() {
    search("a_stale_wake_is_harmless", 3, || {
        let calls: Calls<(), ()> = Calls::new(0, |_| ());
        let shared = Arc::new((ServingGate::new(), Fragile::default()));
        let mut me = calls.outside();
        let waker = me.waker();
        let other = {
            let (shared, mut me) = (Arc::clone(&shared), calls.outside());
            thread::spawn(move || {
                let _inside = shared.0.enter(&mut me);
                shared.1.add_one();
            })
        };
        let noise = thread::spawn(move || waker.wake());
        {
            let _inside = shared.0.enter(&mut me);
            shared.1.add_one();
        }
        other.join().unwrap();
        noise.join().unwrap();
        assert_eq!(shared.1.0.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn the_data_is_everybodys_in_turn() {
    search("the_data_is_everybodys_in_turn", 3, || {
        let calls: Calls<(), ()> = Calls::new(0, |_| ());
        let lock = Arc::new(ServingLock::new(Vec::new()));
        let other = {
            let (lock, mut me) = (Arc::clone(&lock), calls.outside());
            thread::spawn(move || lock.lock(&mut me).push(1))
        };
        lock.lock(&mut calls.outside()).push(0);
        other.join().unwrap();
        let mut data = lock.lock(&mut calls.outside()).clone();
        data.sort_unstable();
        assert_eq!(data, [0, 1]);
    });
}
