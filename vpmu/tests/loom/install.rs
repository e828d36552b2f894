// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The first event of a task, whose context says nothing about where the task is (N1-N5).

use vcpu_call::VcpuId;
use vpmu::context::order::Place;
use vpmu::context::{Attr, Open, State, Target};

use crate::search::{Seen, search_both};
use crate::vm::{Vm, instructions, race, running, switch};

/// R1, R2: vCPU 0 lets go of the task while the host installs, and vCPU 1 takes it.
#[test]
fn first_install_vs_switch_and_migrate() {
    static MOVED: Seen = Seen::new();
    static STAYED: Seen = Seen::new();
    search_both("first_install_vs_switch_and_migrate", 3, |first| {
        let (vm, [mut zero, one]) = Vm::new(1);
        let task = vm.task(0);
        assert!(switch(&mut zero, Some(&task)));
        let host = {
            let (vm, task) = (vm.clone(), task.clone());
            move || {
                let event = vm.open(Attr::counting(instructions()), &task);
                vm.done();
                event
            }
        };
        let vcpus = {
            let (vm, task) = (vm.clone(), task.clone());
            move || {
                let other = vm.clone();
                let (from, to) = (task.clone(), task);
                let zero = move || {
                    vm.live(zero, |cpu| {
                        assert!(switch(cpu, None));
                        // vCPU 1 may have been faster.
                        let _ = vm.perf.migrate(&from, VcpuId(1));
                    })
                };
                let one = move || {
                    other.live(one, |cpu| {
                        let moved = switch(cpu, Some(&to));
                        MOVED.count_if(moved);
                        STAYED.count_if(!moved);
                    })
                };
                race(first, one, zero)
            }
        };
        let (event, (one, zero)) = race(first, host, vcpus);
        assert_ne!(task.place(), Place::Current(VcpuId(0)));
        vm.assert_follows(&event, &task, &[zero, one]);
        vm.assert_rounds();
    });
    MOVED.assert_seen("the task taken by the other vCPU");
    STAYED.assert_seen("the task not there yet for the other vCPU");
}

/// R6: the task runs, or does not, whenever the host looks.
#[test]
fn first_install_vs_out_and_in() {
    search_both("first_install_vs_out_and_in", 3, |first| {
        let (vm, [mut cpu]) = Vm::new(1);
        let task = vm.task(0);
        assert!(switch(&mut cpu, Some(&task)));
        let host = {
            let (vm, task) = (vm.clone(), task.clone());
            move || {
                let event = vm.open(Attr::counting(instructions()), &task);
                vm.done();
                event
            }
        };
        let vcpu = {
            let (vm, task) = (vm.clone(), task.clone());
            move || {
                vm.live(cpu, |cpu| {
                    assert!(switch(cpu, None));
                    assert!(switch(cpu, Some(&task)));
                })
            }
        };
        let (event, cpu) = race(first, host, vcpu);
        vm.assert_follows(&event, &task, &[cpu]);
        vm.assert_rounds();
    });
}

/// R3: the task's vCPU goes away while the host installs, with its thread. Nobody waits for it.
#[test]
fn first_install_vs_offline() {
    search_both("first_install_vs_offline", 3, |first| {
        let (vm, [mut zero, mut one]) = Vm::new(0);
        let task = vm.task(0);
        assert!(switch(&mut zero, Some(&task)));
        let host = {
            let (vm, task) = (vm.clone(), task.clone());
            move || vm.open(Attr::counting(instructions()), &task)
        };
        let vcpu = {
            let vm = vm.clone();
            move || vm.live(zero, |cpu| cpu.offline().unwrap())
        };
        let (event, zero) = race(first, host, vcpu);
        assert_eq!(task.place(), Place::Queued(VcpuId(0)));
        assert_eq!(vm.state(&event), State::Inactive);
        assert_eq!(running(&zero), 0);
        assert!(switch(&mut one, Some(&task)));
        vm.assert_follows(&event, &task, &[zero, one]);
        vm.assert_rounds();
    });
}

/// R22: two vCPUs install on each other's current task. Each serves while it waits (D1).
#[test]
fn two_vcpus_install_on_each_other() {
    search_both("two_vcpus_install_on_each_other", 3, |first| {
        let (vm, mut cpus) = Vm::new::<2>(2);
        let tasks = [vm.task(0), vm.task(1)];
        for (cpu, task) in cpus.iter_mut().zip(&tasks) {
            assert!(switch(cpu, Some(task)));
        }
        let [zero, one] = cpus;
        let life = |cpu, vm: Vm, task| {
            move || {
                let mut event = None;
                let cpu = vm.live(cpu, |cpu| {
                    let open = Open::new(Attr::counting(instructions()), Target::Task(&task));
                    event = Some(vm.perf.open(&open, cpu).unwrap());
                    vm.done();
                });
                (event.unwrap(), cpu)
            }
        };
        let ((of_one, zero), (of_zero, one)) = race(
            first,
            life(zero, vm.clone(), tasks[1].clone()),
            life(one, vm.clone(), tasks[0].clone()),
        );
        assert_eq!(vm.state(&of_zero), State::Active(VcpuId(0)));
        assert_eq!(vm.state(&of_one), State::Active(VcpuId(1)));
        assert_eq!((running(&zero), running(&one)), (1, 1));
    });
}
