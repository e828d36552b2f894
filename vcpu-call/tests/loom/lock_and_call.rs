// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Pause and eject: somebody holds the VM's lock and calls a vCPU that waits for that lock.

use loom::sync::Arc;
use loom::thread;
use vcpu_call::{Calls, NotRun, Park, ServingLock, Vcpu, VcpuId, Waker};

use crate::search::{Seen, search};

struct Cpu {
    calls: Vcpu<(), ()>,
    served: usize,
}

impl Park for Cpu {
    fn waker(&self) -> Waker {
        self.calls.waker()
    }

    fn park(&mut self) {
        let served = &mut self.served;
        self.calls.park(|()| *served += 1);
    }
}

impl Cpu {
    fn online(calls: &Calls<(), ()>, id: u32) -> Self {
        let mut calls = calls.vcpu(VcpuId(id)).unwrap();
        calls.go_online();
        Self { calls, served: 0 }
    }

    fn call(&mut self, target: u32) -> Result<(), NotRun> {
        let served = &mut self.served;
        self.calls.call(VcpuId(target), (), |()| *served += 1)
    }

    fn go_offline(mut self) -> usize {
        let served = &mut self.served;
        self.calls.go_offline(|()| *served += 1);
        self.served
    }
}

#[test]
fn the_holder_calls_a_vcpu_that_waits_for_the_lock() {
    static ANSWERED: Seen = Seen::new();
    static GONE: Seen = Seen::new();
    search("the_holder_calls_a_vcpu_that_waits_for_the_lock", 3, || {
        let calls = Calls::new(1, |_| ());
        let vm = Arc::new(ServingLock::new(0));
        let mut cpu = Cpu::online(&calls, 0);
        let vcpu = {
            let vm = Arc::clone(&vm);
            thread::spawn(move || {
                *vm.lock(&mut cpu) += 1;
                cpu.go_offline()
            })
        };

        let mut me = calls.outside();
        let mut guard = vm.lock(&mut me);
        let answer = me.call(VcpuId(0), ());
        *guard += 1;
        drop(guard);

        let served = vcpu.join().unwrap();
        match answer {
            Ok(()) => {
                assert_eq!(served, 1);
                ANSWERED.count();
            }
            Err(why) => {
                assert_eq!((why, served), (NotRun::Offline, 0));
                GONE.count();
            }
        }
        assert_eq!(*vm.lock(&mut me), 2);
    });
    ANSWERED.assert_seen("a call answered");
    GONE.assert_seen("the vCPU gone before the call");
}

#[test]
fn two_vcpus_want_the_lock_to_call_each_other() {
    search("two_vcpus_want_the_lock_to_call_each_other", 3, || {
        let calls = Calls::new(2, |_| ());
        let vm = Arc::new(ServingLock::new(0));
        let life = |mut cpu: Cpu, vm: &ServingLock<usize>, target| {
            let mut guard = vm.lock(&mut cpu);
            *guard += usize::from(cpu.call(target).is_ok());
            drop(guard);
            cpu.go_offline()
        };
        let other = {
            let (cpu, vm) = (Cpu::online(&calls, 1), Arc::clone(&vm));
            thread::spawn(move || life(cpu, &vm, 0))
        };
        let served = life(Cpu::online(&calls, 0), &vm, 1) + other.join().unwrap();
        assert_eq!(*vm.lock(&mut calls.outside()), served);
    });
}
