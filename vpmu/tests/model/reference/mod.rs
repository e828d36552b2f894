// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf core told once more, the simple way: there is a counter for everybody, so whether an
//! event counts follows from who wants what and who is where, and is nowhere stored. Counts are
//! taken into account when they happen. Nothing is ever called, locked or scheduled.

mod counts;
mod deeds;
mod refusals;

use std::collections::VecDeque;

use vpmu::context::{Attr, Leaves, TrapCounts};

use crate::script::VCPUS;
use crate::world::Deed;

/// What an event wants, or has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Off,
    On,
    /// Ended, to be read.
    Ended,
    Closed,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    Blocked(u32),
    Queued(u32),
    Current(u32),
}

/// An event in one set: the one that was opened, or one that a task inherited.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    file: usize,
    pub(crate) set: usize,
    /// It is in its set's lists.
    listed: bool,
    leader: Option<usize>,
    pub(crate) wish: Wish,
    /// At its limit: stands still until somebody makes it OFF.
    pub(crate) stopping: bool,
    pub(crate) count: u64,
    pub(crate) enabled: u64,
    pub(crate) running: u64,
    period: u64,
    /// Counts since the last overflow.
    progress: u64,
    pub(crate) limit: u64,
    pub(crate) overflows: u64,
    pub(crate) hups: u64,
    /// A trap is on its way, with this address.
    pub(crate) trap: Option<u64>,
}

/// An event as it was opened, with what was inherited from it.
#[derive(Clone, Debug)]
pub(crate) struct File {
    attr: Attr,
    only_on: Option<u32>,
    pub(crate) own: usize,
    inherited: Vec<usize>,
    /// Count, time enabled and time running of those whose tasks are gone.
    dead: [u64; 3],
    pub(crate) traps: TrapCounts,
    /// Overflows and HUPs that the owner was told.
    pub(crate) told: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Task(usize),
    Vcpu(u32),
    Nobody,
}

/// The events of a task or a vCPU.
#[derive(Clone, Debug)]
struct Set {
    holder: Holder,
    /// Sets of one version have the same events; two tasks trade theirs at a switch.
    version: u64,
    /// Traps on their way, with the step in which they were queued.
    queue: VecDeque<(u64, usize)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) at: Whereabouts,
    set: Option<usize>,
    pub(crate) exited: bool,
    trapped: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Vcpu {
    pub(crate) online: bool,
    pub(crate) current: Option<usize>,
    set: usize,
}

/// What must come of a deed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    /// A trap that [`Reference::delivers`], if there is one.
    MayTrap,
    /// One of these errnos.
    Refused(Vec<i32>),
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) members: Vec<Member>,
    pub(crate) files: Vec<File>,
    sets: Vec<Set>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) vcpus: Vec<Vcpu>,
    versions: u64,
    step: u64,
    /// How many times two tasks traded their sets.
    pub(crate) trades: usize,
}

impl Reference {
    pub(crate) fn new() -> Self {
        let task = |vcpu| Task {
            at: Whereabouts::Queued(vcpu),
            set: None,
            exited: false,
            trapped: false,
        };
        let mut new = Self {
            members: Vec::new(),
            files: Vec::new(),
            sets: Vec::new(),
            tasks: vec![task(0), task(1)],
            vcpus: Vec::new(),
            versions: 0,
            step: 0,
            trades: 0,
        };
        for vcpu in 0..VCPUS {
            let set = new.new_set(Holder::Vcpu(vcpu));
            new.vcpus.push(Vcpu {
                online: true,
                current: None,
                set,
            });
        }
        new.switch(0, Leaves::Queued, Some(0));
        new.switch(1, Leaves::Queued, Some(1));
        new
    }

    fn new_version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    fn new_set(&mut self, holder: Holder) -> usize {
        let version = self.new_version();
        self.sets.push(Set {
            holder,
            version,
            queue: VecDeque::new(),
        });
        self.sets.len() - 1
    }

    /// The set is not what it was.
    fn touch(&mut self, set: usize) {
        self.sets[set].version = self.new_version();
    }

    /// Where the events of a set may count now.
    fn scheduled_on(&self, set: usize) -> Option<u32> {
        match self.sets[set].holder {
            Holder::Nobody => None,
            Holder::Vcpu(vcpu) => self.vcpus[vcpu as usize].online.then_some(vcpu),
            Holder::Task(task) => match self.tasks[task].at {
                Whereabouts::Current(vcpu) => Some(vcpu),
                Whereabouts::Queued(_) | Whereabouts::Blocked(_) => None,
            },
        }
    }

    /// The event and the leader that it depends on want to count.
    fn is_awake(&self, member: usize) -> bool {
        let wants = |member: usize| self.members[member].wish == Wish::On;
        wants(member) && self.members[member].leader.is_none_or(wants)
    }

    /// Where the event counts now.
    pub(crate) fn counts_on(&self, member: usize) -> Option<u32> {
        let Member {
            file, set, listed, ..
        } = self.members[member];
        let vcpu = self.scheduled_on(set)?;
        let here = self.files[file].only_on.is_none_or(|only| only == vcpu);
        (listed && here && self.is_awake(member)).then_some(vcpu)
    }

    fn family(&self, file: usize) -> Vec<usize> {
        let File { own, inherited, .. } = &self.files[file];
        core::iter::once(own).chain(inherited).copied().collect()
    }

    /// Count, time enabled and time running of an event and all that were inherited from it.
    pub(crate) fn total(&self, file: usize) -> [u64; 3] {
        let mut total = self.files[file].dead;
        for member in self.family(file) {
            self.add(&mut total, member);
        }
        total
    }

    fn add(&self, total: &mut [u64; 3], member: usize) {
        let member = &self.members[member];
        let own = [member.count, member.enabled, member.running];
        for (sum, own) in total.iter_mut().zip(own) {
            *sum += own;
        }
    }

    fn is_closed(&self, file: usize) -> bool {
        self.members[self.files[file].own].wish == Wish::Closed
    }

    /// What left its counter at its limit is off by now.
    fn settle(&mut self) {
        loop {
            let left = (0..self.members.len())
                .find(|&one| self.members[one].stopping && self.counts_on(one).is_none());
            let Some(left) = left else { return };
            self.turn_off(left);
        }
    }

    /// A stop that was only a matter of time has come.
    pub(crate) fn turn_off(&mut self, member: usize) {
        let member = &mut self.members[member];
        member.stopping = false;
        if member.wish == Wish::On {
            member.wish = Wish::Off;
        }
    }

    /// What was found on the way to the guest in the deed that follows.
    pub(crate) fn next_step(&mut self) {
        self.step += 1;
    }

    pub(crate) fn apply(&mut self, deed: &Deed) -> Verdict {
        let refusals = self.refusals(deed);
        if refusals.is_empty() {
            self.succeed(deed);
        }
        self.settle();
        match deed {
            _ if !refusals.is_empty() => Verdict::Refused(refusals),
            Deed::Enter(_) => Verdict::MayTrap,
            _ => Verdict::Done,
        }
    }
}
