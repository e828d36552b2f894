// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What comes of what is done.

use vpmu::context::{Attr, Leaves, TrapCounts};

use super::{File, Holder, Member, Reference, Task, Whereabouts, Wish};
use crate::world::{Deed, Place};

impl Reference {
    pub(super) fn succeed(&mut self, deed: &Deed) {
        match *deed {
            Deed::Switch(vcpu, _, leaves, next) => self.switch(vcpu, leaves, next),
            Deed::Migrate(task, vcpu) => {
                let at = &mut self.tasks[task].at;
                *at = match *at {
                    Whereabouts::Blocked(_) => Whereabouts::Blocked(vcpu),
                    _ => Whereabouts::Queued(vcpu),
                };
            }
            Deed::Wake(task, vcpu) => self.tasks[task].at = Whereabouts::Queued(vcpu),
            Deed::Online(vcpu) => self.vcpus[vcpu as usize].online = true,
            Deed::Offline(vcpu) => self.offline(vcpu),
            Deed::Create(vcpu) => self.tasks.push(Task {
                at: Whereabouts::Queued(vcpu),
                set: None,
                exited: false,
                trapped: false,
            }),
            Deed::Fork(task) => self.fork(task),
            Deed::Exec(task) => {
                if let Some(set) = self.tasks[task].set {
                    self.end(set, |file| file.attr.remove_on_exec);
                }
            }
            Deed::Exit(task) => self.exit(task),
            Deed::Open(attr, place, group) => self.open(attr, place, group),
            Deed::Close(file) => self.close(file),
            Deed::Enable(file) => self.enable(file),
            Deed::Disable(file) => self.disable(file),
            Deed::Refresh(file, overflows) => {
                let member = &mut self.members[self.files[file].own];
                if member.wish != Wish::Ended {
                    member.limit += overflows;
                }
                self.enable(file);
            }
            Deed::Reset(file) => self.reset(file),
            Deed::Period(file, period) => {
                for member in self.family(file) {
                    if self.members[member].wish != Wish::Ended {
                        self.members[member].period = period;
                        self.members[member].progress = 0;
                    }
                }
            }
            Deed::EnableGroup(file) => self.each_of_group(file, Self::enable),
            Deed::DisableGroup(file) => self.each_of_group(file, Self::disable),
            Deed::ResetGroup(file) => self.each_of_group(file, Self::reset),
            Deed::Happen(vcpu, counts, sample) => self.count(vcpu, counts, sample, None),
            Deed::IrqWork(vcpu) | Deed::Enter(vcpu) => self.irq_work(vcpu),
            Deed::TrapDone(vcpu) => {
                if let Some(task) = self.vcpus[vcpu as usize].current {
                    self.tasks[task].trapped = false;
                }
            }
            Deed::Rotate(_) => {}
            Deed::Pass(nanos) => self.pass(nanos),
        }
    }

    /// The set of a task, if it has events.
    pub(super) fn events_of(&self, task: Option<usize>) -> Option<usize> {
        let set = self.tasks[task?].set?;
        let has = |member: &Member| member.set == set && member.listed;
        self.members.iter().any(has).then_some(set)
    }

    pub(super) fn switch(&mut self, vcpu: u32, leaves: Leaves, next: Option<usize>) {
        let prev = self.vcpus[vcpu as usize].current;
        if let (Some(out), Some(inn)) = (self.events_of(prev), self.events_of(next)) {
            let quiet = self.sets[out].queue.is_empty() && self.sets[inn].queue.is_empty();
            if quiet && self.sets[out].version == self.sets[inn].version {
                let [holder, other] = [self.sets[out].holder, self.sets[inn].holder];
                self.sets[out].holder = other;
                self.sets[inn].holder = holder;
                for (task, set) in [(prev, inn), (next, out)] {
                    if let Some(task) = task {
                        self.tasks[task].set = Some(set);
                    }
                }
                self.trades += 1;
            }
        }
        if let Some(prev) = prev {
            self.tasks[prev].at = match leaves {
                Leaves::Queued => Whereabouts::Queued(vcpu),
                Leaves::Blocked => Whereabouts::Blocked(vcpu),
            };
        }
        if let Some(next) = next {
            self.tasks[next].at = Whereabouts::Current(vcpu);
        }
        self.vcpus[vcpu as usize].current = next;
    }

    pub(super) fn offline(&mut self, vcpu: u32) {
        if !self.vcpus[vcpu as usize].online {
            return;
        }
        self.switch(vcpu, Leaves::Queued, None);
        self.end(self.vcpus[vcpu as usize].set, |_| true);
        self.vcpus[vcpu as usize].online = false;
    }

    pub(super) fn fork(&mut self, parent: usize) {
        let (Whereabouts::Blocked(vcpu) | Whereabouts::Queued(vcpu) | Whereabouts::Current(vcpu)) =
            self.tasks[parent].at;
        let child = self.tasks.len();
        self.tasks.push(Task {
            at: Whereabouts::Queued(vcpu),
            set: None,
            exited: false,
            trapped: false,
        });
        let Some(set) = self.events_of(Some(parent)) else {
            return;
        };
        let listed = |&one: &usize| self.members[one].set == set && self.members[one].listed;
        let listed: Vec<_> = (0..self.members.len()).filter(listed).collect();
        let inherits = |&one: &usize| self.files[self.members[one].file].attr.inherit;
        let (kept, left): (Vec<_>, Vec<_>) = listed.into_iter().partition(inherits);
        if kept.is_empty() {
            return;
        }
        let copy = self.new_set(Holder::Task(child));
        self.tasks[child].set = Some(copy);
        let first = self.members.len();
        for one in &kept {
            let member = &self.members[*one];
            let place = |leader| kept.iter().position(|&one| one == leader);
            let new = Member {
                set: copy,
                leader: member.leader.and_then(place).map(|nth| first + nth),
                count: 0,
                enabled: 0,
                running: 0,
                progress: 0,
                overflows: 0,
                trap: None,
                ..member.clone()
            };
            self.files[new.file].inherited.push(self.members.len());
            self.members.push(new);
        }
        if left.is_empty() {
            self.sets[copy].version = self.sets[set].version;
        }
    }

    pub(super) fn exit(&mut self, task: usize) {
        if let Some(set) = self.tasks[task].set {
            self.drop_traps(set);
            self.end(set, |_| true);
            self.sets[set].holder = Holder::Nobody;
        }
        self.tasks[task].exited = true;
        self.tasks[task].set = None;
    }

    /// Events of a set end, by what became of their task or vCPU.
    pub(super) fn end(&mut self, set: usize, which: impl Fn(&File) -> bool) {
        for one in 0..self.members.len() {
            let Member {
                file,
                set: own,
                listed,
                ..
            } = self.members[one];
            if own != set || !listed || !which(&self.files[file]) {
                continue;
            }
            self.unlist(one);
            if self.files[file].own == one {
                self.members[one].wish = Wish::Ended;
                self.files[file].told.1 += 1;
            } else {
                self.members[one].wish = Wish::Closed;
                self.files[file].inherited.retain(|&other| other != one);
                let mut dead = self.files[file].dead;
                self.add(&mut dead, one);
                self.files[file].dead = dead;
            }
        }
    }

    /// What it led goes on by itself.
    pub(super) fn unlist(&mut self, one: usize) {
        if !self.members[one].listed {
            return;
        }
        self.members[one].listed = false;
        self.members[one].leader = None;
        self.members[one].stopping = false;
        for other in &mut self.members {
            if other.leader == Some(one) {
                other.leader = None;
            }
        }
        self.touch(self.members[one].set);
    }

    pub(super) fn open(&mut self, attr: Attr, place: Place, group: Option<usize>) {
        let (set, only_on) = match place {
            Place::Vcpu(vcpu) => (self.vcpus[vcpu as usize].set, None),
            Place::Task(task, only_on) => {
                let set = match self.tasks[task].set {
                    Some(set) => set,
                    None => self.new_set(Holder::Task(task)),
                };
                self.tasks[task].set = Some(set);
                (set, only_on)
            }
        };
        self.touch(set);
        self.members.push(Member {
            file: self.files.len(),
            set,
            listed: true,
            leader: group.map(|leader| self.files[leader].own),
            wish: if attr.disabled { Wish::Off } else { Wish::On },
            stopping: false,
            count: 0,
            enabled: 0,
            running: 0,
            period: attr.period,
            progress: 0,
            limit: 0,
            overflows: 0,
            hups: 0,
            trap: None,
        });
        self.files.push(File {
            attr,
            only_on,
            own: self.members.len() - 1,
            inherited: Vec::new(),
            dead: [0; 3],
            traps: TrapCounts::default(),
            told: (0, 0),
        });
    }

    pub(super) fn close(&mut self, file: usize) {
        for one in self.family(file) {
            self.unlist(one);
            self.members[one].wish = Wish::Closed;
        }
        self.files[file].inherited.clear();
    }

    pub(super) fn enable(&mut self, file: usize) {
        for member in self.family(file) {
            let member = &mut self.members[member];
            member.stopping = false;
            if member.wish == Wish::Off {
                member.wish = Wish::On;
            }
        }
    }

    pub(super) fn disable(&mut self, file: usize) {
        for member in self.family(file) {
            self.turn_off(member);
        }
    }

    pub(super) fn reset(&mut self, file: usize) {
        for member in self.family(file) {
            self.members[member].count = 0;
        }
        self.files[file].dead[0] = 0;
    }

    pub(super) fn each_of_group(&mut self, file: usize, act: impl Fn(&mut Self, usize)) {
        let own = self.files[file].own;
        let leader = self.members[own].leader.unwrap_or(own);
        for one in 0..self.members.len() {
            if one == leader || self.members[one].leader == Some(leader) {
                act(self, self.members[one].file);
            }
        }
    }
}
