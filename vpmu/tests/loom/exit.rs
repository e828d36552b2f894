// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A task exits while somebody opens an event of it (R7).

use vpmu::context::{Attr, Event, Open, PerfError, State, Target};

use crate::search::{First, Seen, search_both};
use crate::vm::{Vm, instructions, race, running, switch};

/// The task exits on its vCPU while the host opens an event. What the host got.
fn exit_vs_open(first: First, has_context: bool) -> Result<Event, PerfError> {
    let (vm, [mut cpu]) = Vm::new(1);
    let task = vm.task(0);
    let attr = Attr::counting(instructions());
    let earlier = has_context.then(|| vm.open(attr, &task));
    assert!(switch(&mut cpu, Some(&task)));
    let host = {
        let (vm, task) = (vm.clone(), task.clone());
        move || {
            let open = Open::new(attr, Target::Task(&task));
            let opened = vm.perf.open(&open, &mut vm.host());
            vm.done();
            opened
        }
    };
    let vcpu = {
        let (vm, task) = (vm.clone(), task.clone());
        move || {
            vm.live(cpu, |cpu| {
                vm.perf.exit(&task, cpu).unwrap();
                assert!(switch(cpu, None));
            })
        }
    };
    let (opened, cpu) = race(first, host, vcpu);
    assert_eq!(running(&cpu), 0);
    for event in opened.iter().chain(&earlier) {
        assert_eq!(vm.state(event), State::Exit);
        // They are there to be read, and to be closed.
        vm.perf.close(event, &mut vm.host()).unwrap();
    }
    opened
}

fn search(name: &str, has_context: bool, opened: &'static Seen, refused: &'static Seen) {
    search_both(name, 3, move |first| {
        match exit_vs_open(first, has_context) {
            Ok(_) => opened.count(),
            Err(error) => {
                assert_eq!(error, PerfError::NoSuchTask);
                refused.count();
            }
        }
    });
    opened.assert_seen("an event opened in time");
    refused.assert_seen("an event opened too late");
}

#[test]
fn exit_vs_first_open() {
    static OPENED: Seen = Seen::new();
    static REFUSED: Seen = Seen::new();
    search("exit_vs_first_open", false, &OPENED, &REFUSED);
}

#[test]
fn exit_vs_another_open() {
    static OPENED: Seen = Seen::new();
    static REFUSED: Seen = Seen::new();
    search("exit_vs_another_open", true, &OPENED, &REFUSED);
}
