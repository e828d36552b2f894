// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Everything at once under random schedules, with more threads than loom can hold.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release -p vcpu-call --test shuttle`; a failure prints
//! the schedule that led to it.
#![cfg(shuttle)]

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;
use vcpu_call::{Calls, NotRun, Park, ServingLock, Vcpu, VcpuId, Waker};

const VCPUS: u32 = 4;
const OUTSIDERS: u32 = 2;
const ROUNDS: u32 = 2;
const SCHEDULES: usize = 20_000;

/// What all threads share.
#[derive(Default)]
struct Vm {
    lock: ServingLock<u32>,
    ran: AtomicUsize,
    answered: AtomicUsize,
}

impl Vm {
    fn run(&self, n: u32) -> u32 {
        self.ran.fetch_add(1, Ordering::Relaxed);
        n + 1
    }

    fn check(&self, answer: Result<u32, NotRun>, n: u32) {
        match answer {
            Ok(answer) => {
                assert_eq!(answer, n + 1);
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(why) => assert_eq!(why, NotRun::Offline),
        }
    }
}

struct Cpu {
    vcpu: Vcpu<u32, u32>,
    vm: Arc<Vm>,
}

impl Park for Cpu {
    fn waker(&self) -> Waker {
        self.vcpu.waker()
    }

    fn park(&mut self) {
        self.vcpu.park(|n| self.vm.run(n));
    }
}

impl Cpu {
    fn call(&mut self, target: VcpuId, n: u32) {
        let answer = self.vcpu.call(target, n, |n| self.vm.run(n));
        self.vm.check(answer, n);
    }

    /// Comes, calls the others with and without the lock, and goes.
    fn live(mut self) {
        let own = self.vcpu.id().0;
        for round in 0..ROUNDS {
            self.vcpu.go_online();
            let vm = Arc::clone(&self.vm);
            let mut guard = vm.lock.lock(&mut self);
            *guard += 1;
            self.call(VcpuId((own + 1 + round) % VCPUS), round);
            drop(guard);
            self.call(VcpuId((own + 2 + round) % VCPUS), round);
            self.vcpu.go_offline(|n| self.vm.run(n));
        }
    }
}

fn everything_at_once() {
    let calls = Calls::new(VCPUS, |_| ());
    let vm = Arc::new(Vm::default());
    let mut threads = Vec::new();
    for id in 0..VCPUS {
        let vcpu = calls.vcpu(VcpuId(id)).unwrap();
        let vm = Arc::clone(&vm);
        threads.push(thread::spawn(move || Cpu { vcpu, vm }.live()));
    }
    for _ in 0..OUTSIDERS {
        let (mut me, vm) = (calls.outside(), Arc::clone(&vm));
        threads.push(thread::spawn(move || {
            for round in 0..ROUNDS {
                let mut guard = vm.lock.lock(&mut me);
                *guard += 1;
                let answer = me.call(VcpuId(round % VCPUS), round);
                drop(guard);
                vm.check(answer, round);
            }
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(
        vm.ran.load(Ordering::Relaxed),
        vm.answered.load(Ordering::Relaxed),
        "run as often as answered"
    );
    let rounds = (VCPUS + OUTSIDERS) * ROUNDS;
    assert_eq!(*vm.lock.lock(&mut calls.outside()), rounds);
}

#[test]
fn d2_every_answer_is_true_under_hotplug() {
    shuttle::check_random(everything_at_once, SCHEDULES);
}

#[test]
fn d2_every_answer_is_true_with_few_preemptions() {
    shuttle::check_pct(everything_at_once, SCHEDULES, 3);
}
