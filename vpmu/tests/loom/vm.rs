// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A virtual machine whose vCPUs are threads of the model.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::thread;
use vcpu_call::{Calls, Park, VcpuId, Waker};
use vpmu::context::order::Place;
use vpmu::context::{
    Attr, Event, HostThread, Leaves, Open, Perf, PerfCalls, PerfConfig, PerfObserver, Record,
    Retry, State, Step, Target, Task, Trap, VcpuThread,
};
use vpmu::source::script::ScriptSource;
use vpmu::{EventConfig, EventSelect, Nanos};

use crate::search::First;

pub(crate) type Engine = Perf<fn() -> Nanos, Arc<Steps>>;
pub(crate) type Cpu = VcpuThread<ScriptSource, fn() -> Nanos, Arc<Steps>>;

/// How often the engine took some steps. No part of the model.
#[derive(Default)]
pub(crate) struct Steps {
    rounds: AtomicUsize,
    moves: AtomicUsize,
    swaps: AtomicUsize,
    traded: AtomicUsize,
}

impl PerfObserver for Steps {
    fn record(&self, record: &Record) {
        let counter = match record.step {
            Step::Round(_) => &self.rounds,
            Step::SwitchIn | Step::SwitchOut(_) | Step::Migrate(_) => &self.moves,
            Step::Swap(_) => &self.swaps,
            Step::Retry(Retry::Traded) => &self.traded,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Steps {
    pub(crate) fn swapped(&self) -> bool {
        self.swaps.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn traded(&self) -> bool {
        self.traded.load(Ordering::Relaxed) != 0
    }
}

/// Instructions in user mode.
pub(crate) fn instructions() -> EventConfig {
    EventSelect(0x1_00C0).decode()
}

/// An event that traps every `period` counts.
pub(crate) fn trapping(period: u64) -> Attr {
    Attr {
        sigtrap: Some(7),
        remove_on_exec: true,
        ..Attr::sampling(instructions(), period)
    }
}

/// The engine, the mailboxes, and when the threads may end.
#[derive(Clone)]
pub(crate) struct Vm {
    pub(crate) perf: Engine,
    calls: PerfCalls,
    wakers: Arc<[Waker]>,
    /// How many parties still want something of the vCPUs. No part of the model: whoever is the
    /// last says so by a wake, which is.
    busy: Arc<AtomicUsize>,
}

impl Vm {
    /// `N` online vCPUs with two counters each, and a machine that ends when `parties` are done.
    pub(crate) fn new<const N: usize>(parties: usize) -> (Self, [Box<Cpu>; N]) {
        Self::with(parties, false)
    }

    /// The same for a guest that keeps pages.
    pub(crate) fn with_pages<const N: usize>(parties: usize) -> (Self, [Box<Cpu>; N]) {
        Self::with(parties, true)
    }

    fn with<const N: usize>(parties: usize, pages: bool) -> (Self, [Box<Cpu>; N]) {
        let vcpus = u32::try_from(N).unwrap();
        let config = PerfConfig {
            slots: 2,
            interval: Nanos(0),
            pages,
            ..PerfConfig::new(vcpus)
        };
        // No kick: a thread that has nothing else to do sleeps where a call wakes it.
        let calls = Calls::new(vcpus, |_| ());
        let clock: fn() -> Nanos = || Nanos(0);
        let perf = Perf::with_observer(config, clock, Arc::default());
        let cpus: [Box<Cpu>; N] = std::array::from_fn(|id| {
            let id = VcpuId(u32::try_from(id).unwrap());
            let cpu = perf.cpu(id, ScriptSource::new()).unwrap();
            let mut cpu = VcpuThread::new(cpu, calls.vcpu(id).unwrap());
            cpu.online().unwrap();
            // A thread of the model has a small stack.
            Box::new(cpu)
        });
        let vm = Self {
            perf,
            calls,
            wakers: cpus.iter().map(|cpu| cpu.waker()).collect(),
            busy: Arc::new(AtomicUsize::new(parties)),
        };
        (vm, cpus)
    }

    /// A thread of the host.
    pub(crate) fn host(&self) -> HostThread {
        HostThread::new(&self.calls)
    }

    /// A new task, queued on `vcpu`.
    pub(crate) fn task(&self, vcpu: u32) -> Task {
        self.perf.create_task(VcpuId(vcpu)).unwrap()
    }

    /// An event of `task`, opened by the host.
    pub(crate) fn open(&self, attr: Attr, task: &Task) -> Event {
        let open = Open::new(attr, Target::Task(task));
        self.perf.open(&open, &mut self.host()).unwrap()
    }

    pub(crate) fn state(&self, event: &Event) -> State {
        self.perf.status(event).unwrap().state
    }

    /// One party needs the vCPUs no more.
    pub(crate) fn done(&self) {
        if self.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
            for waker in &*self.wakers {
                waker.wake();
            }
        }
    }

    fn is_done(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    /// Runs `life` on the vCPU's thread, which then serves until all parties are done.
    ///
    /// A panic leaves the vCPU as it is: it would go offline, with locks of a model that has ended,
    /// and hang.
    pub(crate) fn live(&self, cpu: Box<Cpu>, life: impl FnOnce(&mut Cpu)) -> Box<Cpu> {
        let mut cpu = ManuallyDrop::new(cpu);
        life(&mut cpu);
        while !self.is_done() {
            cpu.park();
        }
        ManuallyDrop::into_inner(cpu)
    }

    /// At the next entry to the guest, wherever its task is: the event is on a counter there and
    /// nowhere else (I1, I2).
    pub(crate) fn assert_follows(&self, event: &Event, task: &Task, cpus: &[Box<Cpu>]) {
        let state = match task.place() {
            Place::Current(vcpu) => State::Active(vcpu),
            Place::Queued(_) | Place::Blocked(_) => State::Inactive,
        };
        assert_eq!(self.state(event), state, "of {:?}", task.place());
        for cpu in cpus {
            let counts = State::Active(cpu.cpu().id()) == state;
            assert_eq!(running(cpu), usize::from(counts));
        }
    }

    /// An installation looked for its task once, and once more for each move (I5).
    pub(crate) fn assert_rounds(&self) {
        let Steps { rounds, moves, .. } = &**self.perf.observer();
        let (rounds, moves) = (
            rounds.load(Ordering::Relaxed),
            moves.load(Ordering::Relaxed),
        );
        assert!(rounds <= 1 + moves, "{rounds} rounds, {moves} moves");
    }
}

/// Runs both at once and waits for both. The one that is `first` gets ahead where the model has no
/// reason to let the other one.
pub(crate) fn race<A, B>(
    first: First,
    a: impl FnOnce() -> A + Send + 'static,
    b: impl FnOnce() -> B + Send + 'static,
) -> (A, B)
where
    A: Send + 'static,
    B: Send + 'static,
{
    match first {
        First::A => {
            let b = thread::spawn(b);
            let a = a();
            (a, b.join().unwrap())
        }
        First::B => {
            let a = thread::spawn(a);
            let b = b();
            (a.join().unwrap(), b)
        }
    }
}

/// What the guest's kernel does in the end: takes and acknowledges all traps.
pub(crate) fn take_traps(cpu: &mut Cpu) -> Vec<Trap> {
    let mut traps = Vec::new();
    while let Some(trap) = cpu.cpu_mut().return_to_user() {
        traps.push(trap);
        cpu.cpu_mut().trap_done().unwrap();
    }
    traps
}

/// How many events are on counters.
pub(crate) fn running(cpu: &Cpu) -> usize {
    let slots = 0..2;
    slots
        .filter(|&slot| cpu.cpu().source().running(slot).is_some())
        .count()
}

/// `next` becomes the current task instead of whoever was, who stays queued; whether the host's
/// word allowed it.
pub(crate) fn switch(cpu: &mut Cpu, next: Option<&Task>) -> bool {
    let prev = cpu.cpu().current().cloned();
    let switched = cpu
        .cpu_mut()
        .switch(prev.as_ref(), Leaves::Queued, next.cloned());
    switched.is_ok()
}
