// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Several vCPUs in one thread, stepped by hand.
//!
//! The rig is the caller of every operation: when the engine calls a vCPU, the rig may first let
//! other things happen (its *script*), and then runs the call on that vCPU or refuses it. So a test
//! places any step of one party into any gap between two steps of another.

#![allow(dead_code, reason = "each test binary uses its part of the rig")]

pub(crate) mod ground;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use vcpu_call::{NotRun, Park, VcpuId, Waker};
use vpmu::context::{
    Attr, Caller, Cpu, Event, Leaves, Open, Perf, PerfCallRef, PerfConfig, PerfError, PerfObserver,
    PerfReply, Reading, Record, State, Step, Target, Task, Trap,
};
use vpmu::source::script::ScriptSource;
use vpmu::{EventConfig, EventSelect, Nanos};

/// Core cycles, user and kernel.
pub(crate) fn cycles() -> EventConfig {
    EventSelect(0x3_003C).decode()
}

/// Instructions in user mode only.
pub(crate) fn user_instructions() -> EventConfig {
    EventSelect(0x1_00C0).decode()
}

/// An attribute set that traps every `period` counts.
pub(crate) fn trapping(period: u64, data: u64) -> Attr {
    Attr {
        sigtrap: Some(data),
        remove_on_exec: true,
        ..Attr::sampling(user_instructions(), period)
    }
}

pub(crate) type Clock = Box<dyn Fn() -> Nanos + Send + Sync>;
pub(crate) type RigCpu = Cpu<ScriptSource, Clock, Arc<Log>>;
pub(crate) type RigPerf = Perf<Clock, Arc<Log>>;
/// What happens before or after a call is run: gets the rig and the vCPU that is called.
pub(crate) type Script = Box<dyn FnOnce(&mut Rig, VcpuId)>;

/// More retries than any test has any use for: one that makes them would hang.
const TOO_MANY_RETRIES: usize = 10_000;

/// What happens when a step is told. It may call the engine only at a step that is told without a
/// lock of the engine, which a test knows and an embedder does not.
type Hook = (Step, Box<dyn FnOnce() + Send>);

/// Every step that the engine told.
#[derive(Default)]
pub(crate) struct Log {
    records: Mutex<Vec<Record>>,
    hook: Mutex<Option<Hook>>,
    retries: AtomicUsize,
}

impl PerfObserver for Log {
    fn record(&self, record: &Record) {
        self.records.lock().unwrap().push(*record);
        if let Step::Retry(_) = record.step {
            let retries = self.retries.fetch_add(1, Ordering::Relaxed);
            assert!(retries < TOO_MANY_RETRIES, "it would try for ever");
        }
        let hook = self
            .hook
            .lock()
            .unwrap()
            .take_if(|(step, _)| *step == record.step);
        if let Some((_, happens)) = hook {
            happens();
        }
    }
}

impl Log {
    /// Lets `happens` happen the next time that `step` is told.
    pub(crate) fn at(&self, step: Step, happens: impl FnOnce() + Send + 'static) {
        *self.hook.lock().unwrap() = Some((step, Box::new(happens)));
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    /// All but the first `seen` records.
    pub(crate) fn since(&self, seen: usize) -> Vec<Record> {
        self.records.lock().unwrap()[seen..].to_vec()
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.records()
            .into_iter()
            .map(|record| record.step)
            .collect()
    }

    pub(crate) fn clear(&self) {
        self.records.lock().unwrap().clear();
        self.retries.store(0, Ordering::Relaxed);
    }

    /// How many steps are like this.
    pub(crate) fn count(&self, matches: impl Fn(&Step) -> bool) -> usize {
        self.steps().iter().filter(|step| matches(step)).count()
    }

    /// Rounds that installations took since the log was cleared.
    pub(crate) fn rounds(&self) -> usize {
        self.count(|step| matches!(step, Step::Round(_)))
    }

    /// Calls that were sent since the log was cleared.
    pub(crate) fn calls(&self) -> usize {
        self.count(|step| matches!(step, Step::CallSent(_)))
    }
}

pub(crate) struct Rig {
    pub(crate) perf: RigPerf,
    pub(crate) cpus: Vec<Option<RigCpu>>,
    pub(crate) log: Arc<Log>,
    time: Arc<AtomicU64>,
    /// Runs before each call, one script a call.
    script: VecDeque<Script>,
    /// Runs between each call and its answer, one script a call.
    epilogue: VecDeque<Script>,
    /// The vCPU whose thread asks; none for the host's.
    pub(crate) here: Option<VcpuId>,
    /// Calls to these are refused, as of a vCPU whose thread is not there.
    pub(crate) deaf: Vec<VcpuId>,
}

impl Rig {
    /// `vcpus` online vCPUs with `slots` counters each, without a least time between overflows.
    pub(crate) fn new(vcpus: u32, slots: usize) -> Self {
        Self::with(PerfConfig {
            slots,
            interval: Nanos(0),
            ..PerfConfig::new(vcpus)
        })
    }

    pub(crate) fn with(config: PerfConfig) -> Self {
        let time = Arc::new(AtomicU64::new(0));
        let log = Arc::new(Log::default());
        let clock = Arc::clone(&time);
        let clock: Clock = Box::new(move || Nanos(clock.load(Ordering::Relaxed)));
        let perf = Perf::with_observer(config, clock, Arc::clone(&log));
        let mut rig = Self {
            cpus: (0..config.vcpus)
                .map(|vcpu| Some(perf.cpu(VcpuId(vcpu), ScriptSource::new()).unwrap()))
                .collect(),
            perf,
            log,
            time,
            script: VecDeque::new(),
            epilogue: VecDeque::new(),
            here: None,
            deaf: Vec::new(),
        };
        for vcpu in 0..config.vcpus {
            rig.online(vcpu).unwrap();
        }
        rig.log.clear();
        rig
    }

    pub(crate) fn cpu(&mut self, vcpu: u32) -> &mut RigCpu {
        self.cpus[vcpu as usize].as_mut().unwrap()
    }

    /// Lets `script` happen before the next call that has none yet is run.
    pub(crate) fn before_call(&mut self, script: impl FnOnce(&mut Self, VcpuId) + 'static) {
        self.script.push_back(Box::new(script));
    }

    /// Lets `script` happen after the next call that has none yet was run, before the caller gets
    /// the answer.
    pub(crate) fn after_call(&mut self, script: impl FnOnce(&mut Self, VcpuId) + 'static) {
        self.epilogue.push_back(Box::new(script));
    }

    /// Scripts that have not happened.
    pub(crate) fn script_left(&self) -> usize {
        self.script.len() + self.epilogue.len()
    }

    pub(crate) fn pass(&self, nanos: u64) {
        self.time.fetch_add(nanos, Ordering::Relaxed);
    }

    /// A new task, queued on `vcpu`.
    pub(crate) fn task(&self, vcpu: u32) -> Task {
        self.perf.create_task(VcpuId(vcpu)).unwrap()
    }

    /// `task` becomes current on `vcpu`; who was before stays queued.
    pub(crate) fn run_task(&mut self, vcpu: u32, task: &Task) {
        self.switch(vcpu, Some(task)).unwrap();
    }

    /// Nobody is current on `vcpu`; who was before stays queued.
    pub(crate) fn idle(&mut self, vcpu: u32) {
        self.switch(vcpu, None).unwrap();
    }

    /// Nobody is current on `vcpu`; who was before blocks.
    pub(crate) fn block(&mut self, vcpu: u32) {
        let prev = self.cpu(vcpu).current().cloned();
        self.cpu(vcpu)
            .switch(prev.as_ref(), Leaves::Blocked, None)
            .unwrap();
    }

    pub(crate) fn switch(&mut self, vcpu: u32, next: Option<&Task>) -> Result<(), PerfError> {
        let prev = self.cpu(vcpu).current().cloned();
        self.cpu(vcpu)
            .switch(prev.as_ref(), Leaves::Queued, next.cloned())
            .map(|_| ())
    }

    /// `counts` events happen on `vcpu` while the guest runs, and the counters are looked at.
    pub(crate) fn happen(&mut self, vcpu: u32, counts: u64) {
        self.cpu(vcpu).source_mut().count(counts);
        self.cpu(vcpu).count(None);
    }

    /// All the vCPU does before it enters the guest in user mode.
    pub(crate) fn enter(&mut self, vcpu: u32) -> Option<Trap> {
        let cpu = self.cpu(vcpu);
        cpu.count(None);
        cpu.irq_work();
        let trap = cpu.return_to_user();
        cpu.arm();
        trap
    }

    /// Takes and acknowledges all traps of the current task of `vcpu`.
    pub(crate) fn drain_traps(&mut self, vcpu: u32) -> Vec<Trap> {
        let mut traps = Vec::new();
        while let Some(trap) = self.cpu(vcpu).return_to_user() {
            traps.push(trap);
            self.cpu(vcpu).trap_done().unwrap();
        }
        traps
    }

    pub(crate) fn online(&mut self, vcpu: u32) -> Result<(), PerfError> {
        let perf = self.perf.clone();
        perf.online(VcpuId(vcpu), self)
    }

    pub(crate) fn offline(&mut self, vcpu: u32) -> Result<(), PerfError> {
        let perf = self.perf.clone();
        perf.offline(VcpuId(vcpu), self)
    }

    pub(crate) fn open(&mut self, attr: Attr, target: Target<'_>) -> Result<Event, PerfError> {
        let perf = self.perf.clone();
        perf.open(&Open::new(attr, target), self)
    }

    pub(crate) fn open_task(&mut self, attr: Attr, task: &Task) -> Event {
        self.open(attr, Target::Task(task)).unwrap()
    }

    pub(crate) fn open_in_group(
        &mut self,
        attr: Attr,
        task: &Task,
        leader: &Event,
    ) -> Result<Event, PerfError> {
        let perf = self.perf.clone();
        let open = Open {
            group: Some(leader),
            ..Open::new(attr, Target::Task(task))
        };
        perf.open(&open, self)
    }

    pub(crate) fn close(&mut self, event: &Event) -> Result<(), PerfError> {
        self.perf.clone().close(event, self)
    }

    pub(crate) fn enable(&mut self, event: &Event) -> Result<(), PerfError> {
        self.perf.clone().enable(event, self)
    }

    pub(crate) fn disable(&mut self, event: &Event) -> Result<(), PerfError> {
        self.perf.clone().disable(event, self)
    }

    pub(crate) fn refresh(&mut self, event: &Event, overflows: u64) -> Result<(), PerfError> {
        self.perf.clone().refresh(event, overflows, self)
    }

    pub(crate) fn read(&mut self, event: &Event) -> Option<Reading> {
        self.perf.clone().read(event, self).unwrap()
    }

    pub(crate) fn state(&self, event: &Event) -> State {
        self.perf.status(event).unwrap().state
    }

    pub(crate) fn count_of(&mut self, event: &Event) -> u64 {
        self.read(event).unwrap().count
    }

    pub(crate) fn fork(&mut self, parent: &Task) -> Task {
        self.perf.clone().fork(parent, self).unwrap()
    }

    pub(crate) fn exec(&mut self, task: &Task) -> Result<(), PerfError> {
        self.perf.clone().exec(task, self)
    }

    pub(crate) fn exit(&mut self, task: &Task) -> Result<(), PerfError> {
        self.perf.clone().exit(task, self)
    }
}

impl Park for Rig {
    fn waker(&self) -> Waker {
        panic!("one thread never waits for another");
    }

    fn park(&mut self) {
        panic!("one thread never waits for another");
    }
}

impl Caller for Rig {
    fn here(&self) -> Option<VcpuId> {
        self.here
    }

    fn call(&mut self, target: VcpuId, call: PerfCallRef<'_>) -> Result<PerfReply, NotRun> {
        // On its own vCPU it runs at once: nothing comes in between.
        let travels = self.here != Some(target);
        if travels && let Some(script) = self.script.pop_front() {
            script(self, target);
        }
        if self.deaf.contains(&target) {
            return Err(NotRun::Offline);
        }
        let reply = match self.cpus.get_mut(target.index()) {
            Some(Some(cpu)) => cpu.run(call),
            _ => return Err(NotRun::Offline),
        };
        if travels && let Some(script) = self.epilogue.pop_front() {
            script(self, target);
        }
        Ok(reply)
    }
}
