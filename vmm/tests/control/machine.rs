// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM that is made up: it does at once what it is asked, but for what the test keeps it from.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use vcpu_call::VcpuId;
use vmm::control::{
    CpuState, ErrorKind, EventDesk, Events, Host, Info, Refusal, RunState, TaskLine, TaskState,
    Tasks, Until, VcpuLine,
};
use vpmu::context::order::Place;
use vpmu::context::{HostThread, Task};

use crate::vcpus::{Core, Ticks};

type Desk = Events<Ticks, vpmu::NoObserver, Box<dyn Fn() -> HostThread + Send + Sync>>;

/// Its tasks, as a perf port would know them: numbered from 1 on.
pub(crate) struct Named(Vec<(Task, &'static str)>);

impl Tasks for Named {
    fn task(&self, id: u64) -> Option<Task> {
        let mut tasks = self.0.iter();
        let found = tasks.find(|(task, _)| task.id().0 == id);
        found.map(|(task, _)| task.clone())
    }

    fn list(&self) -> Vec<TaskLine> {
        let line = |(task, name): &(Task, &str)| TaskLine {
            task: task.id().0,
            name: (*name).to_owned(),
            vcpu: task.place().vcpu().0,
            state: match task.place() {
                _ if task.has_exited() => TaskState::Exited,
                Place::Current(_) => TaskState::Running,
                Place::Queued(_) => TaskState::Queued,
                Place::Blocked(_) => TaskState::Blocked,
            },
            events: 0,
        };
        self.0.iter().map(line).collect()
    }
}

/// vCPU 0 and 1 run at first; of four. The guest never gives vCPU 3 back. Task 1, `init`, is queued
/// on vCPU 0; task 2, `worker`, runs on vCPU 1.
pub(crate) struct Machine {
    pub(crate) core: Core,
    pub(crate) tasks: Arc<Named>,
    events: Desk,
    state: Mutex<(RunState, Vec<VcpuLine>)>,
    changed: Condvar,
    gate: Mutex<Option<Gate>>,
    /// Told of each wait that begins.
    waits: Mutex<Option<Sender<()>>>,
}

/// Where a pause stands still.
struct Gate {
    entered: Sender<()>,
    open: Receiver<()>,
}

/// The test's end of a [`Gate`].
pub(crate) struct Held {
    entered: Receiver<()>,
    open: Sender<()>,
}

impl Held {
    /// Waits until a pause stands still.
    pub(crate) fn entered(&self) {
        self.entered.recv().expect("somebody pauses");
    }

    /// Lets it go on.
    pub(crate) fn open(&self) {
        self.open.send(()).expect("it stands still");
    }
}

impl Machine {
    pub(crate) const STUBBORN: u32 = 3;

    pub(crate) fn new() -> Arc<Self> {
        let core = Core::new(4);
        core.online(0);
        core.online(1);
        let task = |vcpu| core.perf.create_task(VcpuId(vcpu)).expect("it is there");
        let (init, worker) = (task(0), task(1));
        core.switch(1, Some(&worker));
        let tasks = Arc::new(Named(vec![(init, "init"), (worker, "worker")]));
        let line = |vcpu| VcpuLine {
            vcpu,
            state: if vcpu < 2 {
                CpuState::Running
            } else {
                CpuState::Absent
            },
            removal_asked: false,
        };
        Arc::new(Self {
            events: Events::new(
                core.perf.clone(),
                Box::new(core.caller()) as Box<dyn Fn() -> HostThread + Send + Sync>,
                "script: as told",
            )
            .with_tasks(Arc::clone(&tasks) as Arc<dyn Tasks>),
            core,
            tasks,
            state: Mutex::new((RunState::Running, (0..4).map(line).collect())),
            changed: Condvar::new(),
            gate: Mutex::new(None),
            waits: Mutex::new(None),
        })
    }

    /// The next pause stands still.
    pub(crate) fn hold(&self) -> Held {
        let (entered, was_entered) = channel();
        let (opened, open) = channel();
        *self.gate.lock().unwrap() = Some(Gate { entered, open });
        Held {
            entered: was_entered,
            open: opened,
        }
    }

    /// Receives something when the next wait begins.
    pub(crate) fn next_wait(&self) -> Receiver<()> {
        let (told, wait) = channel();
        *self.waits.lock().unwrap() = Some(told);
        wait
    }

    /// The run is over.
    pub(crate) fn end(&self) {
        self.state.lock().unwrap().0 = RunState::Ended;
        self.changed.notify_all();
    }

    fn to(&self, state: RunState) -> Result<(), Refusal> {
        let mut now = self.state.lock().unwrap();
        if now.0 == RunState::Ended {
            return Err(Refusal::new(ErrorKind::Ended, "The run is over"));
        }
        now.0 = state;
        self.changed.notify_all();
        Ok(())
    }
}

fn is((run, vcpus): &(RunState, Vec<VcpuLine>), until: Until) -> bool {
    match until {
        Until::Vm(wanted) => *run == wanted,
        Until::Vcpu(vcpu, wanted) => vcpus[vcpu as usize].state == wanted,
    }
}

impl Host for Machine {
    fn info(&self) -> Result<Info, Refusal> {
        let state = self.state.lock().unwrap();
        Ok(Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            accel: "none".to_owned(),
            state: state.0,
            uptime_ms: 1234,
            pmu: Some("intel-v2".to_owned()),
            source: Some("script: as told".to_owned()),
            vcpus: state.1.clone(),
            events: 0,
        })
    }

    fn add_vcpu(&self) -> Result<u32, Refusal> {
        let mut state = self.state.lock().unwrap();
        let there =
            |line: &&mut VcpuLine| matches!(line.state, CpuState::Absent | CpuState::Offline);
        let full = || Refusal::new(ErrorKind::Refused, "All 4 vCPUs are there");
        let line = state.1.iter_mut().find(there).ok_or_else(full)?;
        line.state = CpuState::Running;
        let vcpu = line.vcpu;
        self.core.online(vcpu);
        Ok(vcpu)
    }

    fn remove_vcpu(&self, vcpu: u32, limit: Duration) -> Result<(), Refusal> {
        let mut state = self.state.lock().unwrap();
        let none = || Refusal::new(ErrorKind::NoSuchVcpu, format!("There is no vCPU {vcpu}"));
        let line = state.1.get_mut(vcpu as usize).ok_or_else(none)?;
        match vcpu {
            0 => Err(Refusal::new(ErrorKind::Refused, "vCPU 0 cannot be removed")),
            Self::STUBBORN => {
                line.removal_asked = true;
                let message = format!("The guest did not give vCPU 3 back within {limit:?}");
                Err(Refusal::new(ErrorKind::NotHonoured, message))
            }
            _ => {
                line.state = CpuState::Offline;
                self.core.offline(vcpu);
                self.changed.notify_all();
                Ok(())
            }
        }
    }

    fn pause(&self) -> Result<(), Refusal> {
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            gate.entered.send(()).expect("the test waits for it");
            // A test that is over lets everybody go.
            let _ = gate.open.recv();
        }
        self.to(RunState::Paused)
    }

    fn resume(&self) -> Result<(), Refusal> {
        self.to(RunState::Running)
    }

    fn stop(&self) -> Result<(), Refusal> {
        self.end();
        Ok(())
    }

    fn wait(&self, until: Until, limit: Duration) -> Result<bool, Refusal> {
        if let Until::Vcpu(vcpu, _) = until
            && vcpu > 3
        {
            return Err(Refusal::new(
                ErrorKind::NoSuchVcpu,
                format!("There is no vCPU {vcpu}"),
            ));
        }
        if let Some(told) = self.waits.lock().unwrap().take() {
            told.send(()).expect("the test waits for it");
        }
        let state = self.state.lock().unwrap();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, limit, |state| !is(state, until))
            .unwrap();
        Ok(is(&state, until))
    }

    fn events(&self) -> Option<&dyn EventDesk> {
        Some(&self.events)
    }
}
