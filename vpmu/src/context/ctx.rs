// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Contexts: the events of one task or one vCPU, and who may touch them when.

use std::collections::VecDeque;
use std::vec::Vec;

use vcpu_call::{ServingGate, VcpuId};

use super::entry::Entry;
use super::event::{Event, EventCore, EventId};
use super::life::{End, State};
use super::slots::GUESTS;
use super::task::{TaskCore, TaskId};
use crate::Nanos;
use crate::sync::{Arc, Mutex, MutexGuard, Ordering, Tally, Weak};

/// Which context: unique in its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContextId(pub(super) u64);

/// The events of one task or one vCPU.
pub(super) struct Context {
    /// Serialises open, close, ioctls, fork, exec, exit and hotplug on this context. Held across
    /// calls to other vCPUs, so whoever waits for it serves its mailbox meanwhile.
    pub(super) gate: ServingGate,
    /// Names for the events that are opened here. Only within the gate.
    pub(super) ids: Ids,
    /// Protects everything else. Never held across a wait.
    inner: Mutex<Ctx>,
}

/// Names for events, dealt to contexts in blocks: so contexts that are busy at the same time share
/// no word.
#[derive(Debug, Default)]
pub(super) struct Ids {
    next: Tally,
    end: Tally,
}

impl Ids {
    /// How many there are in a block.
    pub(super) const BLOCK: u64 = 64;

    /// The next one; `block` deals the first one of a new block. Whoever asks is within the gate,
    /// which orders it.
    pub(super) fn next(&self, block: impl FnOnce() -> EventId) -> EventId {
        let mut next = self.next.load(Ordering::Relaxed);
        if next == self.end.load(Ordering::Relaxed) {
            next = block().0;
            self.end.store(next + Self::BLOCK, Ordering::Relaxed);
        }
        self.next.store(next + 1, Ordering::Relaxed);
        EventId(next)
    }
}

/// Whose events they are.
#[derive(Clone)]
pub(super) enum Holder {
    Vcpu(VcpuId),
    /// Weak, since the task holds the context.
    Task(TaskId, Weak<TaskCore>),
    /// Nobody's any more: the task has exited. Final.
    Tombstone,
}

/// What the context's lock protects.
pub(super) struct Ctx {
    pub(super) id: ContextId,
    pub(super) holder: Holder,
    entries: Vec<Option<Entry>>,
    /// How many entries, the first ones, are counters of the guest's own PMU.
    guests: usize,
    free: Vec<usize>,
    /// Leaders of pinned groups, in the order in which they are placed.
    pinned: VecDeque<usize>,
    /// Leaders of the others; rotation moves the first to the end.
    flexible: VecDeque<usize>,
    /// How many events are in the lists.
    attached: usize,
    /// The vCPU that schedules them now.
    pub(super) active: Option<VcpuId>,
    /// The context's time, which passes while it is active.
    time: Nanos,
    since: Nanos,
    /// Changes with every event that comes or goes.
    pub(super) generation: u64,
    /// The context that this one is an exact copy of, and of which generation.
    pub(super) clone_of: Option<(ContextId, u64)>,
    /// Somebody relies on this being the context of its task.
    pub(super) pins: usize,
    /// Some flexible group found no counter.
    pub(super) rotate: bool,
    /// Events whose traps are on their way, the oldest first. While there is one, the context stays
    /// with its task. Room for every event is reserved when it is opened.
    pub(super) traps: VecDeque<usize>,
    /// The task still goes back to user mode.
    pub(super) accepts_traps: bool,
    /// The vCPU is online; of no meaning for a task.
    pub(super) online: bool,
}

/// Which groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Pinned,
    Flexible,
}

impl Context {
    pub(super) fn new(id: ContextId, holder: Holder) -> Self {
        Self {
            gate: ServingGate::new(),
            ids: Ids::default(),
            inner: Mutex::new(Ctx {
                id,
                holder,
                entries: Vec::new(),
                guests: 0,
                free: Vec::new(),
                pinned: VecDeque::new(),
                flexible: VecDeque::new(),
                attached: 0,
                active: None,
                time: Nanos(0),
                since: Nanos(0),
                generation: 0,
                clone_of: None,
                pins: 0,
                rotate: false,
                traps: VecDeque::new(),
                accepts_traps: true,
                online: false,
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Ctx> {
        self.inner.lock()
    }
}

impl Holder {
    pub(super) fn is_task(&self, task: &TaskCore) -> bool {
        matches!(self, Self::Task(id, _) if *id == task.id)
    }

    pub(super) const fn task_id(&self) -> Option<TaskId> {
        match self {
            Self::Task(id, _) => Some(*id),
            Self::Vcpu(_) | Self::Tombstone => None,
        }
    }

    /// The task, unless it is gone.
    pub(super) fn task(&self) -> Option<Arc<TaskCore>> {
        match self {
            Self::Task(_, task) => task.upgrade(),
            Self::Vcpu(_) | Self::Tombstone => None,
        }
    }

    pub(super) const fn is_tombstone(&self) -> bool {
        matches!(self, Self::Tombstone)
    }
}

impl Ctx {
    /// Room for an event that is not in the lists yet.
    pub(super) fn reserve(&mut self, core: Arc<EventCore>, leader: Option<usize>) -> usize {
        let index = self.free.pop().unwrap_or(self.entries.len());
        let entry = Some(Entry::new(core, index, leader));
        if index == self.entries.len() {
            self.entries.push(entry);
        } else {
            self.entries[index] = entry;
        }
        if self.at(index).core.traps.is_some() {
            self.traps.reserve(self.entries.len() - self.traps.len());
        }
        index
    }

    /// Room for the counters of the guest's own PMU, once and for all: in front of all events.
    pub(super) fn make_guests(&mut self, event: impl Fn(usize) -> Arc<EventCore>) {
        if self.guests == 0 {
            debug_assert!(self.entries.is_empty());
            (0..GUESTS).for_each(|counter| _ = self.reserve(event(counter), None));
            self.guests = GUESTS;
            self.pinned.reserve(GUESTS);
        }
    }

    /// Whether it is a counter of the guest's own PMU.
    pub(super) const fn is_guest(&self, index: usize) -> bool {
        index < self.guests
    }

    /// Frees the room of an event that is closed, unless its trap is still on its way: then
    /// whoever delivers that comes back here.
    pub(super) fn release(&mut self, index: usize) {
        let entry = self.at(index);
        entry.settle_announced();
        if entry.life.state() == State::Dead && entry.pending_trap.is_none() {
            debug_assert!(!entry.attached);
            self.entries[index] = None;
            self.free.push(index);
        }
    }

    /// The entry of `event`, unless it was closed.
    pub(super) fn entry(&mut self, event: &Event) -> Option<&mut Entry> {
        self.entries
            .get_mut(event.index)?
            .as_mut()
            .filter(|entry| Arc::ptr_eq(&entry.core, &event.core))
            .filter(|entry| entry.life.state() != State::Dead)
    }

    /// The entry at an index that came out of this context under this lock.
    pub(super) fn at(&mut self, index: usize) -> &mut Entry {
        self.entries[index].as_mut().expect("an index in use")
    }

    /// All entries in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(index, entry)| Some((index, entry.as_ref()?)))
    }

    /// How many events are in the lists.
    pub(super) const fn attached(&self) -> usize {
        self.attached
    }

    /// How many of the events in the lists a child would inherit.
    pub(super) fn inheritable(&self) -> usize {
        let inherits = |entry: &Entry| entry.attached && entry.core.attr.inherit;
        self.iter().filter(|(_, entry)| inherits(entry)).count()
    }

    /// Whether there are groups of this class.
    pub(super) fn has(&self, class: Class) -> bool {
        !self.list(class).is_empty()
    }

    fn list(&self, class: Class) -> &VecDeque<usize> {
        match class {
            Class::Pinned => &self.pinned,
            Class::Flexible => &self.flexible,
        }
    }

    fn list_mut(&mut self, class: Class) -> &mut VecDeque<usize> {
        match class {
            Class::Pinned => &mut self.pinned,
            Class::Flexible => &mut self.flexible,
        }
    }

    /// The leader of the `nth` group of a class.
    pub(super) fn leader(&self, class: Class, nth: usize) -> Option<usize> {
        self.list(class).get(nth).copied()
    }

    /// The `nth` event of a group, the leader first.
    pub(super) fn member(&mut self, leader: usize, nth: usize) -> Option<usize> {
        match nth.checked_sub(1) {
            None => Some(leader),
            Some(nth) => self.at(leader).siblings.get(nth).copied(),
        }
    }

    /// The class of the group that `leader` leads.
    pub(super) fn class(&mut self, leader: usize) -> Class {
        self.at(leader).own_class()
    }

    /// Puts an event into the lists.
    pub(super) fn attach(&mut self, index: usize) {
        let time = self.time;
        let entry = self.at(index);
        debug_assert!(!entry.attached);
        entry.attached = true;
        entry.life.begin(time);
        let leader = entry.leader;
        if leader == index {
            let class = self.class(index);
            self.list_mut(class).push_back(index);
            if !self.is_guest(index) {
                // It must not take the room of a guest's counter, which starts without allocating.
                self.pinned.reserve(self.guests);
            }
        } else {
            self.at(leader).siblings.push(index);
        }
        self.attached += 1;
        self.generation += 1;
        // Its twins have no such event.
        self.clone_of = None;
    }

    /// Takes an event that is on no counter out of the lists for good. What it led goes on, each by
    /// itself.
    pub(super) fn detach(&mut self, index: usize, end: End) {
        self.withdraw(index);
        let entry = self.at(index);
        entry.life.end(end);
        entry.settle_announced();
    }

    /// Takes an event that is on no counter out of the lists.
    pub(super) fn withdraw(&mut self, index: usize) {
        self.settle(index);
        if self.at(index).attached {
            debug_assert_eq!(self.at(index).life.slot(), None);
            self.unlink(index);
            self.attached -= 1;
            self.generation += 1;
            // Its twins still have this event.
            self.clone_of = None;
        }
        let entry = self.at(index);
        entry.attached = false;
        entry.pending_disable = false;
    }

    fn unlink(&mut self, index: usize) {
        let leader = self.at(index).leader;
        if leader != index {
            self.at(leader).siblings.retain(|&sibling| sibling != index);
            self.at(index).leader = index;
            return;
        }
        let class = self.class(index);
        let list = self.list_mut(class);
        match list.back() {
            Some(&last) if last == index => drop(list.pop_back()),
            _ => list.retain(|&leader| leader != index),
        }
        for sibling in 0..self.at(index).siblings.len() {
            let sibling = self.at(index).siblings[sibling];
            self.settle(sibling);
            self.at(sibling).leader = sibling;
            self.flexible.push_back(sibling);
        }
        self.at(index).siblings.clear();
    }

    /// Moves the first flexible group that is on counters to the end: one that cannot count here
    /// would give its place to nobody. The first of all, if none is.
    pub(super) fn turn(&mut self) {
        let counts = |&leader: &usize| {
            let entry = self.entries[leader].as_ref();
            entry.is_some_and(|entry| entry.life.slot().is_some())
        };
        let first = self.flexible.iter().position(counts).unwrap_or(0);
        if let Some(leader) = self.flexible.remove(first) {
            self.flexible.push_back(leader);
        }
    }

    /// The context's time goes on: `vcpu` schedules it.
    pub(super) fn activate(&mut self, vcpu: VcpuId, now: Nanos) {
        debug_assert!(self.active.is_none() && !self.holder.is_tombstone());
        self.active = Some(vcpu);
        self.since = now;
    }

    /// The context's time stands still.
    pub(super) fn deactivate(&mut self, now: Nanos) {
        self.tick(now);
        self.active = None;
        self.rotate = false;
    }

    /// Brings the context's time up to date.
    pub(super) fn tick(&mut self, now: Nanos) {
        if self.active.is_some() {
            let passed = now.0.saturating_sub(self.since.0);
            self.time = self.time.saturating_add(Nanos(passed));
            self.since = Nanos(self.since.0.max(now.0));
        }
    }

    /// Books the time that an event spent in its state.
    pub(super) fn settle(&mut self, index: usize) {
        let time = self.time;
        let entry = self.at(index);
        if !entry.attached || entry.life.is_settled(time) {
            return;
        }
        let leader = entry.leader;
        let state = (leader != index).then(|| self.at(leader).life.state());
        self.at(index).life.settle(time, state);
    }

    /// The same for a whole group, before its leader's state changes.
    pub(super) fn settle_group(&mut self, leader: usize) {
        let mut nth = 0;
        while let Some(member) = self.member(leader, nth) {
            self.settle(member);
            nth += 1;
        }
    }

    /// OFF or ERROR to INACTIVE; whether that was a change.
    pub(super) fn enable(&mut self, index: usize) -> bool {
        self.settle_group(index);
        self.at(index).life.enable()
    }

    /// INACTIVE to OFF.
    pub(super) fn disable(&mut self, index: usize) {
        self.settle_group(index);
        let entry = self.at(index);
        entry.pending_disable = false;
        entry.life.disable();
    }

    /// How many traps are on their way: while there is one, the context stays with its task (I15).
    pub(super) fn unswappable(&self) -> usize {
        self.traps.len()
    }

    /// Whether `other` holds the same events as this, event by event, so that two tasks can trade
    /// contexts instead of being switched.
    pub(super) fn equivalent(&self, other: &Self) -> bool {
        let related = |a: &Self, b: &Self| a.clone_of == Some((b.id, b.generation));
        let twins = self.clone_of.is_some() && self.clone_of == other.clone_of;
        self.pins == 0 && other.pins == 0 && (twins || related(self, other) || related(other, self))
    }

    /// No copy of any other context any more.
    pub(super) fn unclone(&mut self) {
        if self.clone_of.take().is_some() {
            self.generation += 1;
        }
    }
}
