// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The engine, and who is who in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vcpu_call::VcpuId;
use vpmu::context::order;
use vpmu::context::{
    Attr, Event, EventId, Leaves, Notice, Open, Owner, PerfError, Sample, Target, Task, Trap,
};

use crate::rig::Rig;
use crate::script::{Act, EVENTS, Site, TASKS, VCPUS};

/// An [`Act`] on tasks and events that there are. Numbers are places in the world's tables.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Switch(u32, Option<usize>, Leaves, Option<usize>),
    Migrate(usize, u32),
    Wake(usize, u32),
    Online(u32),
    Offline(u32),
    Create(u32),
    Fork(usize),
    Exec(usize),
    Exit(usize),
    Open(Attr, Place, Option<usize>),
    Close(usize),
    Enable(usize),
    Disable(usize),
    Refresh(usize, u64),
    Reset(usize),
    Period(usize, u64),
    EnableGroup(usize),
    DisableGroup(usize),
    ResetGroup(usize),
    Happen(u32, u64, Sample),
    IrqWork(u32),
    Rotate(u32),
    Enter(u32),
    TrapDone(u32),
    Pass(u64),
}

/// What an event is on: a task, a vCPU, or a task on a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Task(usize, Option<u32>),
    Vcpu(u32),
}

/// What came of a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Trap(Option<Trap>),
    Refused(PerfError),
}

/// What an owner was told, summed up.
#[derive(Default)]
pub(crate) struct Told {
    overflows: AtomicU64,
    hups: AtomicU64,
}

impl Owner for Told {
    fn notify(&self, _event: EventId, notice: Notice) {
        match notice {
            Notice::Overflow(overflows) => self.overflows.fetch_add(overflows, Ordering::Relaxed),
            Notice::Hup => self.hups.fetch_add(1, Ordering::Relaxed),
            _ => panic!("what is {notice:?}?"),
        };
    }
}

impl Told {
    /// Overflows and HUPs.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let load = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        (load(&self.overflows), load(&self.hups))
    }
}

/// An event that was opened.
pub(crate) struct Opened {
    pub(crate) event: Event,
    pub(crate) place: Place,
    pub(crate) told: Arc<Told>,
    pub(crate) closed: bool,
}

pub(crate) struct World {
    pub(crate) rig: Rig,
    /// All that ever were, the first two from the beginning.
    pub(crate) tasks: Vec<Task>,
    /// All that ever were.
    pub(crate) events: Vec<Opened>,
    /// Where the last trap was handed over that was not acknowledged.
    handed: Option<u32>,
}

impl World {
    /// Two tasks, each on its vCPU, and a vCPU that is idle.
    pub(crate) fn new(mut rig: Rig) -> Self {
        let tasks = vec![rig.task(0), rig.task(1)];
        rig.run_task(0, &tasks[0]);
        rig.run_task(1, &tasks[1]);
        Self {
            rig,
            tasks,
            events: Vec::new(),
            handed: None,
        }
    }

    /// One of the tasks that live, or the last one that does not.
    fn task(&self, which: usize) -> Option<usize> {
        pick(&self.tasks, which, Task::has_exited)
    }

    /// One of the tasks that live and for which it makes sense, rather the last ones: children run
    /// next to their parents.
    fn task_that(&self, which: usize, fits: impl Fn(&Task) -> bool) -> Option<usize> {
        let fitting = |&task: &usize| !self.tasks[task].has_exited() && fits(&self.tasks[task]);
        let fitting: Vec<_> = (0..self.tasks.len()).rev().filter(fitting).collect();
        Some(fitting[which.checked_rem(fitting.len())?])
    }

    /// One of the events that are open, or the last one that was closed.
    fn event(&self, which: usize) -> Option<usize> {
        pick(&self.events, which, |opened| opened.closed)
    }

    /// One that can be refreshed, or else any.
    fn sampling(&self, which: usize) -> Option<usize> {
        let fits = |opened: &Opened| {
            let attr = opened.event.attr();
            !opened.closed && attr.samples() && !attr.inherit
        };
        let fitting = pick(&self.events, which, |opened| !fits(opened));
        let fitting = fitting.filter(|&event| fits(&self.events[event]));
        fitting.or_else(|| self.event(which))
    }

    fn alive(&self) -> usize {
        let exited = self.tasks.iter().filter(|task| task.has_exited());
        self.tasks.len() - exited.count()
    }

    fn current(&mut self, vcpu: u32) -> Option<usize> {
        let id = self.rig.cpu(vcpu).current()?.id();
        self.tasks.iter().position(|task| task.id() == id)
    }

    /// The vCPU, or one that a task runs on if none does there.
    pub(crate) fn busy(&mut self, vcpu: u32) -> u32 {
        let mut all = core::iter::once(vcpu).chain(0..VCPUS);
        let busy = all.find(|&vcpu| self.rig.cpu(vcpu).current().is_some());
        busy.unwrap_or(vcpu)
    }

    /// What an act is for who there is; nothing, if there is nobody for it.
    pub(crate) fn resolve(&mut self, act: &Act) -> Option<Deed> {
        let room = self.alive() < TASKS;
        Some(match *act {
            Act::Switch(vcpu, leaves, next) => {
                let queued = |task: &Task| matches!(task.place(), order::Place::Queued(_));
                let next = match next {
                    Some(next) => Some(self.task_that(next, queued)?),
                    None => None,
                };
                Deed::Switch(vcpu, self.current(vcpu), leaves, next)
            }
            Act::Claim(vcpu, prev, next) => {
                let [prev, next] = [prev, next].map(|task| self.task(task?));
                Deed::Switch(vcpu, prev, Leaves::Queued, next)
            }
            Act::Migrate(task, vcpu) => Deed::Migrate(self.task(task)?, vcpu),
            Act::Wake(task, vcpu) => {
                let blocked = |task: &Task| matches!(task.place(), order::Place::Blocked(_));
                let sleeper = self.task_that(task, blocked);
                Deed::Wake(sleeper.or_else(|| self.task(task))?, vcpu)
            }
            Act::Online(vcpu) => {
                let offline = (0..VCPUS).find(|&vcpu| !self.rig.cpu(vcpu).is_online());
                Deed::Online(offline.unwrap_or(vcpu))
            }
            Act::Offline(vcpu) => Deed::Offline(vcpu),
            Act::Create(vcpu) => room.then_some(Deed::Create(vcpu))?,
            Act::Fork(task) => Deed::Fork(room.then(|| self.task(task))??),
            Act::Exec(task) => Deed::Exec(self.task(task)?),
            Act::Exit(task) => Deed::Exit(self.task(task)?),
            Act::Open(attr, on, group) => self.resolve_open(attr, on, group)?,
            Act::Close(event) => Deed::Close(self.event(event)?),
            Act::Enable(event) => Deed::Enable(self.event(event)?),
            Act::Disable(event) => Deed::Disable(self.event(event)?),
            Act::Refresh(event, overflows) => Deed::Refresh(self.sampling(event)?, overflows),
            Act::Reset(event) => Deed::Reset(self.event(event)?),
            Act::Period(event, period) => Deed::Period(self.sampling(event)?, period),
            Act::EnableGroup(event) => Deed::EnableGroup(self.event(event)?),
            Act::DisableGroup(event) => Deed::DisableGroup(self.event(event)?),
            Act::ResetGroup(event) => Deed::ResetGroup(self.event(event)?),
            Act::Happen(vcpu, counts, sample) => Deed::Happen(self.busy(vcpu), counts, sample),
            Act::IrqWork(vcpu) => Deed::IrqWork(vcpu),
            Act::Rotate(vcpu) => Deed::Rotate(vcpu),
            Act::Enter(vcpu) => Deed::Enter(self.busy(vcpu)),
            Act::TrapDone(vcpu) => Deed::TrapDone(self.handed.take().unwrap_or(vcpu)),
            Act::Pass(nanos) => Deed::Pass(nanos),
        })
    }

    fn resolve_open(&self, attr: Attr, on: Site, group: Option<usize>) -> Option<Deed> {
        if self.events.iter().filter(|opened| !opened.closed).count() == EVENTS {
            return None;
        }
        let group = match group {
            Some(which) => Some(self.event(which)?),
            None => None,
        };
        let (attr, place) = match on {
            Site::Task(task) => (attr, Place::Task(self.task(task)?, None)),
            Site::TaskOn(task, vcpu) => (attr, Place::Task(self.task(task)?, Some(vcpu))),
            Site::Vcpu(vcpu) => (attr, Place::Vcpu(vcpu)),
            Site::Group => {
                let leader = &self.events[group?];
                let inherit = leader.event.attr().inherit;
                (Attr { inherit, ..attr }, leader.place)
            }
        };
        Some(Deed::Open(attr, place, group))
    }

    /// Does it.
    pub(crate) fn apply(&mut self, deed: Deed) -> Outcome {
        match deed {
            Deed::Enter(vcpu) => {
                let trap = self.rig.enter(vcpu);
                self.handed = trap.map(|_| vcpu).or(self.handed);
                Outcome::Trap(trap)
            }
            deed => match self.try_apply(deed) {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Refused(error),
            },
        }
    }

    fn try_apply(&mut self, deed: Deed) -> Result<(), PerfError> {
        let Self {
            rig, tasks, events, ..
        } = self;
        let perf = rig.perf.clone();
        match deed {
            Deed::Switch(vcpu, prev, leaves, next) => {
                let prev = prev.map(|task| &tasks[task]);
                let next = next.map(|task| tasks[task].clone());
                rig.cpu(vcpu).switch(prev, leaves, next).map(drop)
            }
            Deed::Migrate(task, vcpu) => perf.migrate(&tasks[task], VcpuId(vcpu)),
            Deed::Wake(task, vcpu) => perf.wake(&tasks[task], VcpuId(vcpu)),
            Deed::Online(vcpu) => rig.online(vcpu),
            Deed::Offline(vcpu) => rig.offline(vcpu),
            Deed::Create(vcpu) => {
                tasks.push(rig.task(vcpu));
                Ok(())
            }
            Deed::Fork(task) => {
                let child = perf.fork(&tasks[task], rig)?;
                tasks.push(child);
                Ok(())
            }
            Deed::Exec(task) => rig.exec(&tasks[task]),
            Deed::Exit(task) => rig.exit(&tasks[task]),
            Deed::Open(attr, place, group) => self.open(attr, place, group),
            Deed::Close(event) => {
                let opened = &mut events[event];
                opened.closed = true;
                rig.close(&opened.event)
            }
            Deed::Enable(event) => rig.enable(&events[event].event),
            Deed::Disable(event) => rig.disable(&events[event].event),
            Deed::Refresh(event, overflows) => rig.refresh(&events[event].event, overflows),
            Deed::Reset(event) => perf.reset(&events[event].event, rig),
            Deed::Period(event, period) => perf.set_period(&events[event].event, period, rig),
            Deed::EnableGroup(event) => perf.enable_group(&events[event].event, rig),
            Deed::DisableGroup(event) => perf.disable_group(&events[event].event, rig),
            Deed::ResetGroup(event) => perf.reset_group(&events[event].event, rig),
            Deed::Happen(vcpu, counts, sample) => {
                rig.cpu(vcpu).source_mut().count(counts);
                rig.cpu(vcpu).count(Some(sample));
                Ok(())
            }
            Deed::IrqWork(vcpu) => {
                rig.cpu(vcpu).count(None);
                rig.cpu(vcpu).irq_work();
                Ok(())
            }
            Deed::Rotate(vcpu) => {
                rig.cpu(vcpu).rotate();
                Ok(())
            }
            Deed::Enter(_) => unreachable!("told apart before"),
            Deed::TrapDone(vcpu) => rig.cpu(vcpu).trap_done(),
            Deed::Pass(nanos) => {
                rig.pass(nanos);
                Ok(())
            }
        }
    }

    fn open(&mut self, attr: Attr, place: Place, group: Option<usize>) -> Result<(), PerfError> {
        let told = Arc::new(Told::default());
        let target = match place {
            Place::Task(task, None) => Target::Task(&self.tasks[task]),
            Place::Task(task, Some(vcpu)) => Target::TaskOn(&self.tasks[task], VcpuId(vcpu)),
            Place::Vcpu(vcpu) => Target::Vcpu(VcpuId(vcpu)),
        };
        let open = Open {
            group: group.map(|leader| &self.events[leader].event),
            owner: Some(Arc::clone(&told) as Arc<dyn Owner>),
            ..Open::new(attr, target)
        };
        let event = self.rig.perf.clone().open(&open, &mut self.rig)?;
        self.events.push(Opened {
            event,
            place,
            told,
            closed: false,
        });
        Ok(())
    }

    /// Every vCPU's thread looks at its counters.
    pub(crate) fn look(&mut self) {
        for vcpu in 0..VCPUS {
            self.rig.cpu(vcpu).count(None);
        }
    }

    /// The engine is as it says it is.
    pub(crate) fn audit(&self) {
        for cpu in self.rig.cpus.iter().flatten() {
            assert_eq!(cpu.audit(), Ok(()));
        }
        for task in &self.tasks {
            assert_eq!(self.rig.perf.audit_task(task), Ok(()));
        }
        for opened in &self.events {
            assert_eq!(self.rig.perf.audit_event(&opened.event), Ok(()));
        }
    }
}

/// One of those that are not over, or the last one that is.
fn pick<T>(all: &[T], which: usize, over: impl Fn(&T) -> bool) -> Option<usize> {
    let going: Vec<_> = (0..all.len()).filter(|&one| !over(&all[one])).collect();
    let last = (0..all.len()).rev().find(|&one| over(&all[one]));
    let all: Vec<_> = going.into_iter().chain(last).collect();
    let which = which.checked_rem(all.len())?;
    Some(all[which])
}
