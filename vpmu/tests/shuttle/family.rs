// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A family of events changes while it grows: a child forks, and so holds another gate than whoever
//! changes the family at its top.

use std::sync::Arc;

use shuttle::thread;
use vcpu_call::{Calls, VcpuId};
use vpmu::context::{
    Attr, Caller, Event, HostThread, Leaves, Open, PerfCalls, PerfConfig, Target, Task, VcpuThread,
};
use vpmu::source::script::ScriptSource;
use vpmu::{EventSelect, Nanos};

use crate::search::{Turns, explore};

const SCHEDULES: usize = 2_000;

type Perf = vpmu::context::Perf<fn() -> Nanos>;

/// A family in which a child can fork while something else happens.
struct Family {
    perf: Perf,
    calls: PerfCalls,
    root: Task,
}

impl Family {
    fn new() -> Self {
        let clock: fn() -> Nanos = || Nanos(0);
        let perf = Perf::new(PerfConfig::new(1), clock);
        let root = perf.create_task(VcpuId(0)).unwrap();
        let calls = Calls::new(1, |_vcpu| {});
        Self { perf, calls, root }
    }

    fn open(&self, group: Option<&Event>, disabled: bool) -> Event {
        let attr = Attr {
            inherit: true,
            disabled,
            ..Attr::counting(EventSelect(0x3_003C).decode())
        };
        let mut open = Open::new(attr, Target::Task(&self.root));
        open.group = group;
        self.perf.open(&open, &mut self.host()).unwrap()
    }

    fn host(&self) -> HostThread {
        HostThread::new(&self.calls)
    }

    /// A child of the root forks while `other` happens.
    fn fork_against(
        self: &Arc<Self>,
        other: impl FnOnce(&Perf, &mut HostThread) + Send + 'static,
    ) -> Task {
        let child = self.perf.fork(&self.root, &mut self.host()).unwrap();
        let family = Arc::clone(self);
        let against = thread::spawn(move || other(&family.perf, &mut family.host()));
        let grandchild = self.perf.fork(&child, &mut self.host()).unwrap();
        against.join().unwrap();
        grandchild
    }

    /// What `event` counts of 5 that happen while `task` runs.
    fn counted_of_5(&self, event: &Event, task: Task) -> u64 {
        let cpu = self.perf.cpu(VcpuId(0), ScriptSource::new()).unwrap();
        let mut vcpu = VcpuThread::new(cpu, self.calls.vcpu(VcpuId(0)).unwrap());
        vcpu.online().unwrap();
        let switched = vcpu.cpu_mut().switch(None, Leaves::Queued, Some(task));
        assert!(switched.is_ok());
        assert_eq!(vcpu.cpu().audit(), Ok(()));
        vcpu.cpu_mut().source_mut().count(5);
        self.count(event, &mut vcpu)
    }

    fn count(&self, event: &Event, by: &mut impl Caller) -> u64 {
        self.perf.read(event, by).unwrap().unwrap().count
    }
}

#[test]
fn i19_a_fork_does_not_enable_what_is_being_disabled() {
    explore("fork against disable", Turns::Random, SCHEDULES, |_| {
        let family = Arc::new(Family::new());
        let event = family.open(None, false);
        let same = event.clone();
        let grandchild = family.fork_against(move |perf, me| perf.disable(&same, me).unwrap());
        assert_eq!(family.counted_of_5(&event, grandchild), 0);
    });
}

#[test]
fn i19_a_fork_does_not_miss_what_is_being_enabled() {
    explore("fork against enable", Turns::Random, SCHEDULES, |_| {
        let family = Arc::new(Family::new());
        let event = family.open(None, true);
        let same = event.clone();
        let grandchild = family.fork_against(move |perf, me| perf.enable(&same, me).unwrap());
        assert_eq!(family.counted_of_5(&event, grandchild), 5);
    });
}

#[test]
fn i11_a_fork_does_not_lose_those_whose_leader_is_being_closed() {
    explore("fork against close", Turns::Random, SCHEDULES, |_| {
        let family = Arc::new(Family::new());
        let leader = family.open(None, false);
        let sibling = family.open(Some(&leader), false);
        let grandchild = family.fork_against(move |perf, me| perf.close(&leader, me).unwrap());
        assert_eq!(family.counted_of_5(&sibling, grandchild), 5);
    });
}
