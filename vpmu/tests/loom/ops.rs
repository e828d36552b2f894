// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What an owner does to an event while its task is switched.

use vpmu::context::{Attr, Event, PerfError, State};

use crate::search::{First, search_both};
use crate::vm::{Cpu, Vm, instructions, race, running, switch};

/// The host does `op` to an event while vCPU 0 lets go of its task and vCPU 1 takes it.
fn vs_migration(
    first: First,
    attr: Attr,
    op: fn(&Vm, &Event),
    check: fn(&Vm, &Event, &vpmu::context::Task, &[Box<Cpu>]),
) {
    let (vm, [mut zero, one]) = Vm::new(1);
    let task = vm.task(0);
    let event = vm.open(attr, &task);
    assert!(switch(&mut zero, Some(&task)));
    let host = {
        let (vm, event) = (vm.clone(), event.clone());
        move || {
            op(&vm, &event);
            vm.done();
        }
    };
    let vcpus = {
        let (vm, task) = (vm.clone(), task.clone());
        move || {
            let other = vm.clone();
            let zero = move || vm.live(zero, |cpu| assert!(switch(cpu, None)));
            let one = move || {
                other.live(one, |cpu| {
                    // The other vCPU may not have let go of it yet.
                    switch(cpu, Some(&task));
                })
            };
            race(first, zero, one)
        }
    };
    let ((), (zero, one)) = race(first, host, vcpus);
    check(&vm, &event, &task, &[zero, one]);
}

#[test]
fn enable_vs_switch_and_migrate() {
    search_both("enable_vs_switch_and_migrate", 3, |first| {
        let attr = Attr {
            disabled: true,
            ..Attr::counting(instructions())
        };
        let enable = |vm: &Vm, event: &_| vm.perf.enable(event, &mut vm.host()).unwrap();
        vs_migration(first, attr, enable, |vm, event, task, cpus| {
            vm.assert_follows(event, task, cpus);
        });
    });
}

#[test]
fn disable_vs_switch_and_migrate() {
    search_both("disable_vs_switch_and_migrate", 3, |first| {
        let disable = |vm: &Vm, event: &_| vm.perf.disable(event, &mut vm.host()).unwrap();
        let attr = Attr::counting(instructions());
        vs_migration(first, attr, disable, |vm, event, _, cpus| {
            assert_eq!(vm.state(event), State::Off);
            assert!(cpus.iter().all(|cpu| running(cpu) == 0));
        });
    });
}

/// I9: nothing counts for an event that was closed, wherever its task went.
#[test]
fn close_vs_switch_and_migrate() {
    search_both("close_vs_switch_and_migrate", 3, |first| {
        let close = |vm: &Vm, event: &_| vm.perf.close(event, &mut vm.host()).unwrap();
        let attr = Attr::counting(instructions());
        vs_migration(first, attr, close, |vm, event, _, cpus| {
            assert_eq!(vm.perf.status(event), Err(PerfError::Closed));
            assert!(cpus.iter().all(|cpu| running(cpu) == 0));
        });
    });
}
