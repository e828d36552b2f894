// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Two tasks trade contexts while somebody wants something of one of them (W2).

use vcpu_call::VcpuId;
use vpmu::context::order::Place;
use vpmu::context::{Attr, Event, PerfError, State, Task};

use crate::search::{First, Seen, search_both};
use crate::vm::{Cpu, Vm, instructions, race, running, switch};

/// The host does `op` while vCPU 0 goes from a parent to its child, which have the same event, and
/// vCPU 1 takes the parent. The inherited event, and whether the two traded.
fn vs_swap<R: Send + 'static>(
    first: First,
    op: fn(&Vm, &Event, &Task) -> R,
    check: fn(&Vm, &Event, &Task, R, &[Cpu]),
) -> bool {
    let (vm, [mut zero, one]) = Vm::new(1);
    let parent = vm.task(0);
    let attr = Attr {
        inherit: true,
        ..Attr::counting(instructions())
    };
    let event = vm.open(attr, &parent);
    let child = vm.perf.fork(&parent, &mut vm.host()).unwrap();
    assert!(switch(&mut zero, Some(&parent)));
    let host = {
        let (vm, event, parent) = (vm.clone(), event.clone(), parent.clone());
        move || {
            let result = op(&vm, &event, &parent);
            vm.done();
            result
        }
    };
    let vcpus = {
        let (vm, parent) = (vm.clone(), parent.clone());
        move || {
            let other = vm.clone();
            let zero = move || vm.live(zero, |cpu| assert!(switch(cpu, Some(&child))));
            let one = move || {
                other.live(one, |cpu| {
                    // The other vCPU may not have let go of it yet.
                    switch(cpu, Some(&parent));
                })
            };
            race(first, zero, one)
        }
    };
    let (result, (zero, one)) = race(first, host, vcpus);
    let swapped = vm.perf.observer().swapped();
    check(&vm, &event, &parent, result, &[zero, one]);
    swapped
}

/// R9: whichever task has the context by now, the whole family is off.
#[test]
fn disable_vs_swap() {
    static SWAPPED: Seen = Seen::new();
    search_both("disable_vs_swap", 3, |first| {
        let disable = |vm: &Vm, event: &Event, _: &Task| {
            vm.perf.disable(event, &mut vm.host()).unwrap();
        };
        let swapped = vs_swap(first, disable, |vm, event, _, (), cpus| {
            assert_eq!(vm.state(event), State::Off);
            assert!(cpus.iter().all(|cpu| running(cpu) == 0));
        });
        SWAPPED.count_if(swapped);
    });
    SWAPPED.assert_seen("contexts traded");
}

/// R9: the same for closing.
#[test]
fn close_vs_swap() {
    static SWAPPED: Seen = Seen::new();
    search_both("close_vs_swap", 3, |first| {
        let close = |vm: &Vm, event: &Event, _: &Task| {
            vm.perf.close(event, &mut vm.host()).unwrap();
        };
        let swapped = vs_swap(first, close, |vm, event, _, (), cpus| {
            assert_eq!(vm.perf.status(event), Err(PerfError::Closed));
            assert!(cpus.iter().all(|cpu| running(cpu) == 0));
        });
        SWAPPED.count_if(swapped);
    });
    SWAPPED.assert_seen("contexts traded");
}

/// An event opened meanwhile belongs to the task that it was opened for.
#[test]
fn open_vs_swap() {
    static SWAPPED: Seen = Seen::new();
    static SWITCHED: Seen = Seen::new();
    search_both("open_vs_swap", 3, |first| {
        let open =
            |vm: &Vm, _: &Event, parent: &Task| vm.open(Attr::counting(instructions()), parent);
        let swapped = vs_swap(first, open, |vm, _, parent, event, cpus| {
            let (here, counts) = match parent.place() {
                Place::Current(vcpu) => (State::Active(vcpu), 2),
                Place::Queued(_) | Place::Blocked(_) => (State::Inactive, 0),
            };
            assert_eq!(vm.state(&event), here);
            assert_ne!(here, State::Active(VcpuId(0)));
            // The child has the inherited one, its parent both.
            assert_eq!((running(&cpus[0]), running(&cpus[1])), (1, counts));
        });
        SWAPPED.count_if(swapped);
        SWITCHED.count_if(!swapped);
    });
    SWAPPED.assert_seen("contexts traded");
    SWITCHED.assert_seen("contexts that stay because of a pin");
}
