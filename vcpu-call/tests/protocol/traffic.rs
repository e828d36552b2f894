// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Everything at once: vCPUs that come and go, call each other and want one lock.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use vcpu_call::{NotRun, Park, ServingLock, Vcpu, VcpuId, Waker};

use crate::rig::{Numbers, ends};

const VCPUS: u32 = 4;
const OUTSIDERS: usize = 2;
const ROUNDS: u32 = 500;

struct Cpu<'a> {
    vcpu: Vcpu<u32, u32>,
    ran: &'a AtomicUsize,
}

impl Cpu<'_> {
    fn run(ran: &AtomicUsize, n: u32) -> u32 {
        ran.fetch_add(1, Ordering::Relaxed);
        n + 1
    }

    fn call(&mut self, target: VcpuId, n: u32) -> Result<u32, NotRun> {
        self.vcpu.call(target, n, |n| Self::run(self.ran, n))
    }
}

impl Park for Cpu<'_> {
    fn waker(&self) -> Waker {
        self.vcpu.waker()
    }

    fn park(&mut self) {
        self.vcpu.park(|n| Self::run(self.ran, n));
    }
}

/// Checks an answer; returns how many times the function ran.
fn ran(answer: Result<u32, NotRun>, n: u32) -> usize {
    match answer {
        Ok(answer) => {
            assert_eq!(answer, n + 1);
            1
        }
        Err(why) => {
            assert_eq!(why, NotRun::Offline);
            0
        }
    }
}

#[test]
fn d2_every_answer_is_true_under_hotplug() {
    ends(|| {
        let calls = Numbers::new(VCPUS, |_| ());
        let vm = ServingLock::new(0);
        let (answered, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
        // The first holder of the lock finds everybody else still waiting for it, online.
        let everybody_is_online = Barrier::new(VCPUS as usize + OUTSIDERS);
        thread::scope(|threads| {
            for id in 0..VCPUS {
                let mut cpu = Cpu {
                    vcpu: calls.vcpu(VcpuId(id)).unwrap(),
                    ran: &served,
                };
                let (vm, answered, everybody_is_online) = (&vm, &answered, &everybody_is_online);
                threads.spawn(move || {
                    for round in 0..ROUNDS {
                        cpu.vcpu.go_online();
                        if round == 0 {
                            everybody_is_online.wait();
                        }
                        let target = VcpuId((id + 1 + round % (VCPUS - 1)) % VCPUS);
                        {
                            let mut guard = vm.lock(&mut cpu);
                            *guard += 1;
                            let answer = cpu.call(target, round);
                            answered.fetch_add(ran(answer, round), Ordering::Relaxed);
                        }
                        let answer = cpu.call(target, round);
                        answered.fetch_add(ran(answer, round), Ordering::Relaxed);
                        cpu.vcpu.go_offline(|n| Cpu::run(cpu.ran, n));
                    }
                });
            }
            for _ in 0..OUTSIDERS {
                threads.spawn(|| {
                    let mut me = calls.outside();
                    everybody_is_online.wait();
                    for round in 0..ROUNDS {
                        let target = VcpuId(round % VCPUS);
                        let mut guard = vm.lock(&mut me);
                        *guard += 1;
                        let answer = me.call(target, round);
                        drop(guard);
                        answered.fetch_add(ran(answer, round), Ordering::Relaxed);
                    }
                });
            }
        });
        let answered = answered.into_inner();
        assert_eq!(answered, served.into_inner(), "run as often as answered");
        assert_ne!(answered, 0, "the first call is accepted");
        let threads = VCPUS as usize + OUTSIDERS;
        assert_eq!(vm.into_inner(), threads * ROUNDS as usize);
    });
}
