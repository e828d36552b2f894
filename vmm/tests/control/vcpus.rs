// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! vCPUs of a perf core that have no guest: their threads count what they are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use vcpu_call::{Park, VcpuId, Waker};
use vpmu::context::{Clock, HostThread, Perf, PerfCalls, PerfConfig, VcpuThread};
use vpmu::source::script::ScriptSource;
use vpmu::{Event, Nanos};

/// Time that passes when the test says so.
#[derive(Clone, Default)]
pub(crate) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    pub(crate) fn pass(&self, ns: u64) {
        self.0.fetch_add(ns, Ordering::Relaxed);
    }
}

impl Clock for Ticks {
    fn now(&self) -> Nanos {
        Nanos(self.0.load(Ordering::Relaxed))
    }
}

enum Order {
    Online,
    Offline,
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
    loop {
        while let Ok((order, done)) = orders.try_recv() {
            let ends = matches!(order, Order::End);
            match order {
                Order::Online => thread.online().expect("its mailbox is its own"),
                Order::Offline | Order::End => thread.offline().expect("its mailbox is its own"),
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
