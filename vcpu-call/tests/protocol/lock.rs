// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The serving lock: one holder, waiters that serve, no wake lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use vcpu_call::{Outside, Park, ServingGate, ServingLock, Vcpu, Waker};

use crate::rig::{Numbers, ZERO, call, ends, online, told};

/// Parks as `park` says.
struct Parker<P, F>(P, F);

impl<F: FnMut(&mut Vcpu<u32, u32>)> Park for Parker<Vcpu<u32, u32>, F> {
    fn waker(&self) -> Waker {
        self.0.waker()
    }

    fn park(&mut self) {
        self.1(&mut self.0);
    }
}

impl<F: FnMut(&mut Outside<u32, u32>)> Park for Parker<Outside<u32, u32>, F> {
    fn waker(&self) -> Waker {
        self.0.waker()
    }

    fn park(&mut self) {
        self.1(&mut self.0);
    }
}

#[test]
fn many_threads_lose_no_addition() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 2_000;
    ends(|| {
        let calls = Numbers::new(0, |_| ());
        let sum = ServingLock::new(0);
        thread::scope(|threads| {
            for _ in 0..THREADS {
                threads.spawn(|| {
                    let mut me = calls.outside();
                    for _ in 0..ROUNDS {
                        *sum.lock(&mut me) += 1;
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), THREADS * ROUNDS);
    });
}

/// Cloud Hypervisor's hang: an eject holds the VM's lock and waits for a vCPU, which waits for that
/// lock.
#[test]
fn the_holder_calls_a_vcpu_that_waits_for_the_lock() {
    ends(|| {
        let calls = Numbers::new(1, |_| ());
        let vm = ServingLock::new(0);
        let mut me = calls.outside();
        let mut guard = vm.lock(&mut me);
        let vcpu = online(&calls, ZERO);
        let (waits, waiting) = mpsc::channel();
        thread::scope(|threads| {
            threads.spawn(|| {
                let mut vcpu = Parker(vcpu, |vcpu: &mut Vcpu<u32, u32>| {
                    waits.send(()).unwrap();
                    vcpu.park(|n| n + 1);
                });
                *vm.lock(&mut vcpu) *= 2;
            });
            waiting.recv().unwrap();
            assert_eq!(me.call(ZERO, 6), Ok(7));
            *guard = 21;
            drop(guard);
        });
        assert_eq!(vm.into_inner(), 42);
    });
}

#[test]
fn spurious_returns_of_park_are_no_entry() {
    ends(|| {
        let calls = Numbers::new(0, |_| ());
        let gate = ServingGate::new();
        let inside = gate.enter(&mut calls.outside());
        let (parked, parks) = mpsc::channel();
        thread::scope(|threads| {
            let waiter = threads.spawn(|| {
                let mut tries = 0;
                let mut me = Parker(calls.outside(), |me: &mut Outside<u32, u32>| {
                    tries += 1;
                    match tries {
                        1 | 2 => parked.send(tries).unwrap(),
                        _ => me.park(),
                    }
                });
                drop(gate.enter(&mut me));
                tries
            });
            assert_eq!((parks.recv(), parks.recv()), (Ok(1), Ok(2)));
            drop(inside);
            assert!(waiter.join().unwrap() >= 2);
        });
    });
}

/// A waiter, first in the queue, leaves by a panic in what it serves; another waits behind it. The
/// gate is left before or after that.
fn a_waiter_panics(gate_is_left_first: bool) {
    ends(move || {
        let (ipi, kicks) = told();
        let calls = Numbers::new(1, ipi);
        let gate = ServingGate::new();
        let mut inside = Some(gate.enter(&mut calls.outside()));
        let vcpu = online(&calls, ZERO);
        let (parked, parks) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        thread::scope(|threads| {
            let falling = threads.spawn({
                let (parked, gate) = (parked.clone(), &gate);
                move || {
                    let mut vcpu = Parker(vcpu, |vcpu: &mut Vcpu<u32, u32>| {
                        parked.send(()).unwrap();
                        gone.recv().unwrap();
                        vcpu.park(|_| std::panic::resume_unwind(Box::new("on purpose")));
                    });
                    catch_unwind(AssertUnwindSafe(|| drop(gate.enter(&mut vcpu)))).is_err()
                }
            });
            parks.recv().unwrap();
            let patient = threads.spawn(|| {
                let mut me = Parker(calls.outside(), |me: &mut Outside<u32, u32>| {
                    parked.send(()).unwrap();
                    me.park();
                });
                drop(gate.enter(&mut me));
            });
            parks.recv().unwrap();

            let caller = call(&calls, ZERO, 1);
            kicks.recv().unwrap();
            if gate_is_left_first {
                inside = None;
            }
            go.send(()).unwrap();
            assert!(falling.join().unwrap());
            assert!(caller.join().unwrap().is_err());
            drop(inside);
            patient.join().unwrap();
        });
    });
}

#[test]
fn a_waiter_that_panics_leaves_its_place() {
    a_waiter_panics(false);
}

#[test]
fn a_waiter_that_panics_passes_its_wake_on() {
    a_waiter_panics(true);
}

#[test]
fn a_holder_that_panics_leaves_the_lock_usable() {
    ends(|| {
        let calls = Numbers::new(0, |_| ());
        let mut me = calls.outside();
        let lock = ServingLock::new(1);
        let fallen = catch_unwind(AssertUnwindSafe(|| {
            let mut guard = lock.lock(&mut me);
            *guard = 2;
            std::panic::resume_unwind(Box::new("on purpose"));
        }));
        assert!(fallen.is_err());
        assert_eq!(*lock.lock(&mut me), 2);
    });
}

#[test]
fn whoever_has_it_alone_needs_no_lock() {
    let mut lock = ServingLock::new(vec![1]);
    lock.get_mut().push(2);
    assert_eq!(lock.into_inner(), [1, 2]);
}
