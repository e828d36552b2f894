// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Two tasks trade contexts while somebody wants something of one of them (W2).

use vcpu_call::VcpuId;
use vpmu::context::order::Place;
use vpmu::context::{Attr, Event, PerfError, State, Task};

use crate::search::{First, Seen, search_both};
use crate::vm::{Cpu, Vm, instructions, race, running, switch};

/// What became of the trade.
struct Traded {
    swapped: bool,
    /// Somebody came for a context that was another task's by then.
    found_out: bool,
}

/// The host does `op` while vCPU 0 goes from a parent to its child, which have the same event, and
/// vCPU 1 takes the parent.
fn vs_swap<R: Send + 'static>(
    first: First,
    op: fn(&Vm, &Event, &Task) -> R,
    check: fn(&Vm, &Event, &Task, R, &[Box<Cpu>]),
) -> Traded {
    let (vm, [mut zero, one]) = Vm::new(1);
    let parent = vm.task(0);
    let attr = Attr {
        inherit: true,
        remove_on_exec: true,
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
    let traded = Traded {
        swapped: vm.perf.observer().swapped(),
        found_out: vm.perf.observer().traded(),
    };
    check(&vm, &event, &parent, result, &[zero, one]);
    traded
}

/// R9: whichever task has the context by now, the whole family is off.
#[test]
fn disable_vs_swap() {
    static SWAPPED: Seen = Seen::new();
    search_both("disable_vs_swap", 3, |first| {
        let disable = |vm: &Vm, event: &Event, _: &Task| {
            vm.perf.disable(event, &mut vm.host()).unwrap();
        };
        let traded = vs_swap(first, disable, |vm, event, _, (), cpus| {
            assert_eq!(vm.state(event), State::Off);
            assert!(cpus.iter().all(|cpu| running(cpu) == 0));
        });
        SWAPPED.count_if(traded.swapped);
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
        let traded = vs_swap(first, close, |vm, event, _, (), cpus| {
            assert_eq!(vm.perf.status(event), Err(PerfError::Closed));
            assert!(cpus.iter().all(|cpu| running(cpu) == 0));
        });
        SWAPPED.count_if(traded.swapped);
    });
    SWAPPED.assert_seen("contexts traded");
}

/// An event opened meanwhile belongs to the task that it was opened for.
#[test]
fn open_vs_swap() {
    static SWAPPED: Seen = Seen::new();
    static TOO_LATE: Seen = Seen::new();
    search_both("open_vs_swap", 3, |first| {
        let open =
            |vm: &Vm, _: &Event, parent: &Task| vm.open(Attr::counting(instructions()), parent);
        let traded = vs_swap(first, open, |vm, _, parent, event, cpus| {
            let (here, counts) = match parent.place() {
                Place::Current(vcpu) => (State::Active(vcpu), 2),
                Place::Queued(_) | Place::Blocked(_) => (State::Inactive, 0),
            };
            assert_eq!(vm.state(&event), here);
            assert_ne!(here, State::Active(VcpuId(0)));
            // The child has the inherited one, its parent both.
            assert_eq!((running(&cpus[0]), running(&cpus[1])), (1, counts));
        });
        SWAPPED.count_if(traded.swapped);
        TOO_LATE.count_if(traded.found_out);
    });
    SWAPPED.assert_seen("contexts traded");
    TOO_LATE.assert_seen("an open that finds its context traded away");
}

/// The task that executes another program loses its events, and no other one does.
#[test]
fn exec_vs_swap() {
    static SWAPPED: Seen = Seen::new();
    static SWITCHED: Seen = Seen::new();
    search_both("exec_vs_swap", 3, |first| {
        let exec = |vm: &Vm, _: &Event, parent: &Task| {
            vm.perf.exec(parent, &mut vm.host()).unwrap();
        };
        let traded = vs_swap(first, exec, |_, _, _, (), cpus| {
            assert_eq!((running(&cpus[0]), running(&cpus[1])), (1, 0));
        });
        SWAPPED.count_if(traded.swapped);
        SWITCHED.count_if(!traded.swapped);
    });
    SWAPPED.assert_seen("contexts traded");
    SWITCHED.assert_seen("contexts that stay where they are");
}
