// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! vCPUs of a perf core that have no guest: their threads count what they are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use vcpu_call::{Park, VcpuId, Waker};
use vpmu::context::{Clock, HostThread, Leaves, Perf, PerfCalls, PerfConfig, Task, VcpuThread};
use vpmu::source::script::ScriptSource;
use vpmu::{Event, Nanos};

/// Time that passes when the test says so.
#[derive(Clone, Default)]
pub(crate) struct Ticks {
    now: Arc<AtomicU64>,
    /// What passes whenever anybody looks.
    step: Arc<AtomicU64>,
}

impl Ticks {
    pub(crate) fn pass(&self, ns: u64) {
        self.now.fetch_add(ns, Ordering::Relaxed);
    }

    /// From now on no two looks see the same time.
    #[allow(dead_code, reason = "the tests of ctl use it")]
    pub(crate) fn run(&self) {
        self.step.store(1, Ordering::Relaxed);
    }
}

impl Clock for Ticks {
    fn now(&self) -> Nanos {
        let step = self.step.load(Ordering::Relaxed);
        Nanos(self.now.fetch_add(step, Ordering::Relaxed))
    }
}

enum Order {
    Online,
    Offline,
    Switch(Option<Task>),
    Trap(Sender<Option<u64>>),
    Count(u64),
    End,
}

struct Vcpu {
    orders: Sender<(Order, Sender<()>)>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// A perf core with its vCPUs' threads.
pub(crate) struct Core {
    pub(crate) perf: Perf<Ticks>,
    pub(crate) calls: PerfCalls,
    pub(crate) ticks: Ticks,
    vcpus: Vec<Vcpu>,
}

impl Core {
    /// So many vCPUs with four counters each, all offline. They count cycles and instructions.
    pub(crate) fn new(vcpus: u32) -> Self {
        let ticks = Ticks::default();
        let config = PerfConfig {
            slots: 4,
            interval: Nanos(0),
            supports: |config| matches!(config.event, Event::CoreCycles | Event::Instructions),
            ..PerfConfig::new(vcpus)
        };
        let perf = Perf::new(config, ticks.clone());
        let calls = PerfCalls::new(vcpus, |_: VcpuId| ());
        let vcpus = (0..vcpus)
            .map(|vcpu| start(&perf, &calls, VcpuId(vcpu)))
            .collect();
        Self {
            perf,
            calls,
            ticks,
            vcpus,
        }
    }

    pub(crate) fn caller(&self) -> impl Fn() -> HostThread + Send + Sync + 'static {
        let calls = self.calls.clone();
        move || HostThread::new(&calls)
    }

    pub(crate) fn online(&self, vcpu: u32) {
        self.order(vcpu, Order::Online);
    }

    pub(crate) fn offline(&self, vcpu: u32) {
        self.order(vcpu, Order::Offline);
    }

    /// The guest announces that the vCPU's current task is queued, and this one the current one.
    pub(crate) fn switch(&self, vcpu: u32, next: Option<&Task>) {
        self.order(vcpu, Order::Switch(next.cloned()));
    }

    /// The vCPU's current task returns to user mode, and takes the trap that it has there; its data.
    pub(crate) fn trap(&self, vcpu: u32) -> Option<u64> {
        let (taken, data) = channel();
        self.order(vcpu, Order::Trap(taken));
        data.recv().expect("its thread does what it is told")
    }

    /// The task is over.
    pub(crate) fn exit(&self, task: &Task) {
        let mut me = HostThread::new(&self.calls);
        self.perf.exit(task, &mut me).expect("it is not yet");
    }

    /// A child of the task's, queued where that is.
    pub(crate) fn fork(&self, task: &Task) -> Task {
        let mut me = HostThread::new(&self.calls);
        self.perf.fork(task, &mut me).expect("it is not over")
    }

    /// The vCPU's guest runs: everything that is on a counter there counts.
    pub(crate) fn count(&self, vcpu: u32, counts: u64) {
        self.order(vcpu, Order::Count(counts));
    }

    /// Returns when it is done.
    fn order(&self, vcpu: u32, order: Order) {
        let (done, wait) = channel();
        let vcpu = &self.vcpus[vcpu as usize];
        vcpu.orders.send((order, done)).expect("its thread waits");
        vcpu.waker.wake();
        wait.recv().expect("its thread does what it is told");
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        for vcpu in 0..self.vcpus.len() {
            self.order(u32::try_from(vcpu).expect("few"), Order::End);
            if let Some(thread) = self.vcpus[vcpu].thread.take() {
                thread.join().expect("it did not panic");
            }
        }
    }
}

type Thread = VcpuThread<ScriptSource, Ticks>;

fn start(perf: &Perf<Ticks>, calls: &PerfCalls, id: VcpuId) -> Vcpu {
    let cpu = perf.cpu(id, ScriptSource::new()).expect("nobody has it");
    let thread = VcpuThread::new(cpu, calls.vcpu(id).expect("nobody has it"));
    let waker = thread.waker();
    let (orders, received) = channel();
    let thread = thread::spawn(move || run(thread, &received));
    Vcpu {
        orders,
        waker,
        thread: Some(thread),
    }
}

fn run(mut thread: Thread, orders: &Receiver<(Order, Sender<()>)>) {
    let mut current = None;
    loop {
        while let Ok((order, done)) = orders.try_recv() {
            let ends = matches!(order, Order::End);
            match order {
                Order::Online => thread.online().expect("its mailbox is its own"),
                Order::Offline | Order::End => thread.offline().expect("its mailbox is its own"),
                Order::Switch(next) => {
                    let (cpu, before) = (thread.cpu_mut(), current.take());
                    let left = cpu.switch(before.as_ref(), Leaves::Queued, next.clone());
                    left.expect("what the host believes");
                    current = next;
                }
                Order::Trap(taken) => {
                    let trap = thread.cpu_mut().return_to_user();
                    if trap.is_some() {
                        let done = thread.cpu_mut().trap_done();
                        done.expect("one was handed over");
                    }
                    // The test may have panicked meanwhile.
                    let _ = taken.send(trap.map(|trap| trap.data));
                }
                Order::Count(counts) => count(&mut thread, counts),
            }
            // The test may have panicked meanwhile.
            let _ = done.send(());
            if ends {
                return;
            }
        }
        thread.park();
    }
}

/// One entry to the guest and the exit from it after each overflow.
fn count(thread: &mut Thread, counts: u64) {
    let mut left = counts;
    while left > 0 {
        let cpu = thread.cpu_mut();
        cpu.irq_work();
        let run = cpu
            .arm()
            .in_cycles
            .map_or(left, |until| until.clamp(1, left));
        cpu.source_mut().count(run);
        cpu.count(None);
        left -= run;
    }
    thread.cpu_mut().irq_work();
}
