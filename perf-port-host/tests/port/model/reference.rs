// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the host knows of a guest, in the simplest way that does it: every task has a place, every
//! vCPU at most one task, every overflow a fate.

use std::collections::VecDeque;

use perf_port::{Errno, Leaves, TrapTotals};

/// By number of the vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Blocked(usize),
    Queued(usize),
    Current(usize),
}

#[derive(Clone, Debug)]
pub(super) struct RefTask {
    pub(super) at: At,
    pub(super) exited: bool,
    /// It has a trap that it did not acknowledge.
    pub(super) trapped: bool,
    /// Traps on their way: which event, and at which tick.
    pub(super) traps: VecDeque<(usize, u64)>,
}

#[derive(Clone, Debug)]
pub(super) struct RefEvent {
    pub(super) task: usize,
    pub(super) period: u64,
    pub(super) traps: bool,
    pub(super) left: u64,
    pub(super) count: u64,
    pub(super) overflows: u64,
    pub(super) totals: TrapTotals,
    pub(super) closed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct RefVcpu {
    pub(super) current: Option<usize>,
    /// It is online, and has a page.
    pub(super) there: bool,
    /// What its page says is current; not a task, perhaps.
    pub(super) says: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) tasks: Vec<RefTask>,
    pub(super) events: Vec<RefEvent>,
    pub(super) vcpus: Vec<RefVcpu>,
    /// All pages were looked at since somebody wanted to know.
    looked: bool,
    ticks: u64,
}

impl Reference {
    pub(super) fn new(vcpus: usize) -> Self {
        let vcpu = RefVcpu {
            current: None,
            there: true,
            says: None,
        };
        Self {
            tasks: Vec::new(),
            events: Vec::new(),
            vcpus: vec![vcpu; vcpus],
            looked: false,
            ticks: 0,
        }
    }

    /// Whether anybody wants to know who runs where: an event that lives, a trap on its way, or one
    /// that was handed over to a task that lives.
    pub(super) fn announces(&self) -> bool {
        let lives = |event: &RefEvent| !event.closed && !self.tasks[event.task].exited;
        let waits = |task: &RefTask| !task.exited && (task.trapped || !task.traps.is_empty());
        self.events.iter().any(lives) || self.tasks.iter().any(waits)
    }

    /// To be called after each step.
    pub(super) fn settle(&mut self) {
        self.looked &= self.announces();
    }

    fn known(&self, task: usize) -> Result<usize, Errno> {
        let known = self.tasks.get(task).is_some_and(|task| !task.exited);
        known.then_some(task).ok_or(Errno::NoSuchTask)
    }

    pub(super) fn create(&mut self, vcpu: usize) -> Result<u64, Errno> {
        if vcpu >= self.vcpus.len() {
            return Err(Errno::NoSuchVcpu);
        }
        self.tasks.push(RefTask {
            at: At::Queued(vcpu),
            exited: false,
            trapped: false,
            traps: VecDeque::new(),
        });
        Ok(0)
    }

    pub(super) fn fork(&mut self, parent: usize) -> Result<u64, Errno> {
        let (At::Blocked(vcpu) | At::Queued(vcpu) | At::Current(vcpu)) =
            self.tasks[self.known(parent)?].at;
        self.create(vcpu)
    }

    pub(super) fn exit(&mut self, task: usize) -> Result<u64, Errno> {
        let task = self.known(task)?;
        let gone = &mut self.tasks[task];
        gone.exited = true;
        for (event, _) in std::mem::take(&mut gone.traps) {
            self.events[event].totals.pending = 0;
            self.events[event].totals.dropped += 1;
        }
        Ok(0)
    }

    /// Puts the current task of a vCPU aside.
    fn leave(&mut self, vcpu: usize, at: At) {
        if let Some(prev) = self.vcpus[vcpu].current.take() {
            self.tasks[prev].at = at;
        }
    }

    /// Makes `next` current, in place of who was; refused if it is so elsewhere.
    fn take(&mut self, vcpu: usize, leaves: At, next: Option<usize>) -> Result<(), Errno> {
        if next.is_some_and(|next| matches!(self.tasks[next].at, At::Current(_))) {
            return Err(Errno::Busy);
        }
        self.leave(vcpu, leaves);
        if let Some(next) = next {
            self.tasks[next].at = At::Current(vcpu);
        }
        self.vcpus[vcpu].current = next;
        Ok(())
    }

    fn look(&mut self, vcpu: usize) {
        let says = self.vcpus[vcpu].says;
        let says = says.and_then(|task| self.known(task).ok());
        if says != self.vcpus[vcpu].current && self.take(vcpu, At::Queued(vcpu), says).is_err() {
            self.leave(vcpu, At::Queued(vcpu));
        }
    }

    pub(super) fn switch(
        &mut self,
        vcpu: usize,
        prev: Option<usize>,
        leaves: Leaves,
        next: Option<usize>,
    ) -> Result<u64, Errno> {
        let next = next.map(|next| self.known(next)).transpose()?;
        let current = self.vcpus[vcpu].current;
        if current == next {
            return Ok(0);
        }
        if current == prev {
            let at = match leaves {
                Leaves::Queued => At::Queued(vcpu),
                Leaves::Blocked => At::Blocked(vcpu),
            };
            return self.take(vcpu, at, next).map(|()| 0);
        }
        self.look(vcpu);
        let found = self.vcpus[vcpu].current == next;
        found.then_some(0).ok_or(Errno::Invalid)
    }

    pub(super) fn migrate(&mut self, task: usize, to: usize) -> Result<u64, Errno> {
        let task = self.known(task)?;
        if to >= self.vcpus.len() {
            return Err(Errno::NoSuchVcpu);
        }
        let at = &mut self.tasks[task].at;
        *at = match *at {
            At::Blocked(_) => At::Blocked(to),
            At::Queued(_) => At::Queued(to),
            At::Current(_) => return Err(Errno::Busy),
        };
        Ok(0)
    }

    pub(super) fn wake(&mut self, task: usize, to: usize) -> Result<u64, Errno> {
        self.migrate(task, to)?;
        self.tasks[task].at = At::Queued(to);
        Ok(0)
    }

    pub(super) fn open(&mut self, task: usize, period: u64, traps: bool) -> Result<u64, Errno> {
        let task = self.known(task)?;
        if !std::mem::replace(&mut self.looked, true) {
            let there: Vec<_> = (0..self.vcpus.len())
                .filter(|vcpu| self.vcpus[*vcpu].there)
                .collect();
            for vcpu in &there {
                self.leave(*vcpu, At::Queued(*vcpu));
            }
            for vcpu in there {
                self.look(vcpu);
            }
        }
        self.events.push(RefEvent {
            task,
            period,
            traps,
            left: period,
            count: 0,
            overflows: 0,
            totals: TrapTotals::default(),
            closed: false,
        });
        Ok(0)
    }

    pub(super) fn close(&mut self, event: usize) -> Result<u64, Errno> {
        let event = self.events.get_mut(event);
        let event = event.filter(|event| !event.closed).ok_or(Errno::BadEvent)?;
        event.closed = true;
        Ok(0)
    }

    /// The current task of `vcpu` makes a tick.
    pub(super) fn tick(&mut self, vcpu: usize) {
        self.ticks += 1;
        let current = self.vcpus[vcpu].current;
        let Some(current) = current.filter(|task| !self.tasks[*task].exited) else {
            return;
        };
        let of_task = |event: &&mut RefEvent| event.task == current && !event.closed;
        for (nth, event) in self.events.iter_mut().enumerate() {
            if !of_task(&event) {
                continue;
            }
            event.count += 1;
            event.left = event.left.saturating_sub(1);
            if event.period == 0 || event.left > 0 {
                continue;
            }
            event.left = event.period;
            event.overflows += 1;
            if !event.traps {
                continue;
            }
            if event.totals.pending > 0 {
                event.totals.merged += 1;
                continue;
            }
            event.totals.queued += 1;
            event.totals.pending = 1;
            self.tasks[current].traps.push_back((nth, self.ticks));
        }
    }

    /// The events of which a trap could be the next one of the current task of `vcpu`: those that
    /// overflowed first.
    pub(super) fn next_trap(&self, vcpu: usize) -> Vec<usize> {
        let current = self.vcpus[vcpu].current.map(|task| &self.tasks[task]);
        let Some(task) = current.filter(|task| !task.trapped) else {
            return Vec::new();
        };
        let first = task.traps.front().map(|(_, tick)| *tick);
        let first = task.traps.iter().filter(|(_, tick)| Some(*tick) == first);
        first.map(|(event, _)| *event).collect()
    }

    /// The trap of `event` is handed to the current task of `vcpu`.
    pub(super) fn hand_over(&mut self, vcpu: usize, event: usize) {
        let current = self.vcpus[vcpu].current.expect("somebody has it");
        let task = &mut self.tasks[current];
        task.traps.retain(|(its, _)| *its != event);
        task.trapped = true;
        self.events[event].totals.pending = 0;
        self.events[event].totals.sent += 1;
    }

    pub(super) fn trap_done(&mut self, vcpu: usize) -> Result<u64, Errno> {
        let current = self.vcpus[vcpu].current.map(|task| &mut self.tasks[task]);
        let task = current.filter(|task| task.trapped).ok_or(Errno::Invalid)?;
        task.trapped = false;
        Ok(u64::from(!task.traps.is_empty()))
    }

    /// What the page's TRAP says: 2 for a trap that was handed over, 1 for one that waits.
    pub(super) fn trap(&self, vcpu: usize) -> u32 {
        match self.vcpus[vcpu].current.map(|task| &self.tasks[task]) {
            Some(task) if task.trapped => 2,
            Some(task) if !task.traps.is_empty() => 1,
            _ => 0,
        }
    }

    /// The vCPU enters the guest. While nobody wants to know, what is current there is not known.
    pub(super) fn enter(&mut self, vcpu: usize) {
        if !self.announces() {
            self.leave(vcpu, At::Queued(vcpu));
        }
    }

    pub(super) fn unplug(&mut self, vcpu: usize) {
        self.leave(vcpu, At::Queued(vcpu));
        self.vcpus[vcpu].there = false;
    }

    pub(super) fn plug(&mut self, vcpu: usize) {
        self.vcpus[vcpu].there = true;
        if self.announces() {
            self.look(vcpu);
        }
    }
}
