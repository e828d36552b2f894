// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A machine of one vCPU, for two threads that meet.

use shuttle::thread;
use vcpu_call::{Calls, VcpuId};
use vpmu::context::{
    Attr, Event, HostThread, Leaves, Open, PerfCalls, PerfConfig, Target, Task, VcpuThread,
};
use vpmu::source::script::ScriptSource;
use vpmu::{EventSelect, Nanos};

pub(crate) const VCPU: VcpuId = VcpuId(0);

type Clock = fn() -> Nanos;
pub(crate) type Perf = vpmu::context::Perf<Clock>;
pub(crate) type Thread = VcpuThread<ScriptSource, Clock>;

/// The engine, its mailboxes, and one task.
#[derive(Clone)]
pub(crate) struct Small {
    pub(crate) perf: Perf,
    pub(crate) calls: PerfCalls,
    pub(crate) task: Task,
}

impl Small {
    pub(crate) fn new() -> Self {
        let clock: Clock = || Nanos(0);
        let perf = Perf::new(PerfConfig::new(1), clock);
        let task = perf.create_task(VCPU).unwrap();
        let calls = Calls::new(1, |_vcpu| {});
        Self { perf, calls, task }
    }

    pub(crate) fn host(&self) -> HostThread {
        HostThread::new(&self.calls)
    }

    /// The vCPU, online.
    pub(crate) fn vcpu(&self) -> Thread {
        let cpu = self.perf.cpu(VCPU, ScriptSource::new()).unwrap();
        let mut vcpu = VcpuThread::new(cpu, self.calls.vcpu(VCPU).unwrap());
        vcpu.online().unwrap();
        vcpu
    }

    pub(crate) fn open(&self, attr: Attr, group: Option<&Event>) -> Event {
        let mut open = Open::new(attr, Target::Task(&self.task));
        open.group = group;
        self.perf.open(&open, &mut self.host()).unwrap()
    }

    /// Runs `f` with a thread's own end, at the same time as whatever comes next.
    pub(crate) fn meanwhile<R: Send + 'static>(
        &self,
        f: impl FnOnce(&Self, &mut HostThread) -> R + Send + 'static,
    ) -> thread::JoinHandle<R> {
        let small = self.clone();
        thread::spawn(move || f(&small, &mut small.host()))
    }
}

/// An event that counts cycles.
pub(crate) fn counting() -> Attr {
    Attr::counting(EventSelect(0x3_003C).decode())
}

/// `task` becomes the current one of a vCPU that has none.
pub(crate) fn run_task(vcpu: &mut Thread, task: &Task) {
    let switched = vcpu
        .cpu_mut()
        .switch(None, Leaves::Queued, Some(task.clone()));
    assert!(switched.is_ok());
    assert_eq!(vcpu.cpu().audit(), Ok(()));
}
