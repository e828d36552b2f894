// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A family of events changes while it grows: a child forks, and so holds another gate than whoever
//! changes the family at its top.

use vpmu::context::{Attr, Event, HostThread, Task};

use crate::search::{Turns, explore};
use crate::small::{Perf, Small, counting, run_task};

const SCHEDULES: usize = 2_000;

fn inherited() -> Attr {
    Attr {
        inherit: true,
        ..counting()
    }
}

/// A child of the task forks while `other` happens.
fn fork_against(
    small: &Small,
    other: impl FnOnce(&Perf, &mut HostThread) + Send + 'static,
) -> Task {
    let Small { perf, task, .. } = small;
    let child = perf.fork(task, &mut small.host()).unwrap();
    let against = small.meanwhile(|small, me| other(&small.perf, me));
    let grandchild = perf.fork(&child, &mut small.host()).unwrap();
    against.join().unwrap();
    grandchild
}

/// What `event` counts of 5 that happen while `task` runs.
fn counted_of_5(small: &Small, event: &Event, task: &Task) -> u64 {
    let mut vcpu = small.vcpu();
    run_task(&mut vcpu, task);
    vcpu.cpu_mut().source_mut().count(5);
    let reading = small.perf.read(event, &mut vcpu).unwrap();
    reading.unwrap().count
}

#[test]
fn i19_a_fork_does_not_enable_what_is_being_disabled() {
    explore("fork against disable", Turns::Random, SCHEDULES, |_| {
        let small = Small::new();
        let event = small.open(inherited(), None);
        let same = event.clone();
        let grandchild = fork_against(&small, move |perf, me| perf.disable(&same, me).unwrap());
        assert_eq!(counted_of_5(&small, &event, &grandchild), 0);
    });
}

#[test]
fn i19_a_fork_does_not_miss_what_is_being_enabled() {
    explore("fork against enable", Turns::Random, SCHEDULES, |_| {
        let small = Small::new();
        let off = Attr {
            disabled: true,
            ..inherited()
        };
        let event = small.open(off, None);
        let same = event.clone();
        let grandchild = fork_against(&small, move |perf, me| perf.enable(&same, me).unwrap());
        assert_eq!(counted_of_5(&small, &event, &grandchild), 5);
    });
}

#[test]
fn i11_a_fork_does_not_lose_those_whose_leader_is_being_closed() {
    explore("fork against close", Turns::Random, SCHEDULES, |_| {
        let small = Small::new();
        let leader = small.open(inherited(), None);
        let sibling = small.open(inherited(), Some(&leader));
        let grandchild = fork_against(&small, move |perf, me| perf.close(&leader, me).unwrap());
        assert_eq!(counted_of_5(&small, &sibling, &grandchild), 5);
    });
}
