// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the guest's numbers stand for: its tasks and its events (Q6, Q12).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use perf_port::{Errno, Id, Name};
use vpmu::context::{Event, Task, TaskId};

use crate::PortLimits;

/// All tasks and events of a guest, behind one lock that is a leaf.
///
/// Handles are given away as clones and dropped outside of it: the last one of a task lets go of what
/// the perf core has of it.
#[derive(Debug)]
pub(crate) struct Tables {
    limits: PortLimits,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    tasks: BTreeMap<u64, KnownTask>,
    events: BTreeMap<u64, KnownEvent>,
    /// Those that were closed with traps on their way: the perf core has them until those arrive.
    closed: Vec<Event>,
    /// Places that are taken for what is being made.
    coming: Coming,
}

#[derive(Debug, Default)]
struct Coming {
    tasks: usize,
    events: usize,
}

/// A task that has not exited.
#[derive(Clone, Debug)]
pub(crate) struct KnownTask {
    pub(crate) task: Task,
    pub(crate) name: Name,
    /// How many of its guest's open events are on it.
    pub(crate) events: usize,
}

/// An event that was not closed.
#[derive(Clone, Debug)]
pub(crate) struct KnownEvent {
    pub(crate) event: Event,
    /// The task that it was opened on, if it was on one.
    pub(crate) task: Option<TaskId>,
}

/// The place of a task or an event that is being made; given back if that comes to nothing.
pub(crate) struct Place<'a> {
    tables: &'a Tables,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Task,
    Event,
}

impl Coming {
    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Task => &mut self.tasks,
            Kind::Event => &mut self.events,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.tables.lock().coming.of(self.kind) -= 1;
    }
}

impl Place<'_> {
    /// The task was made, and can be named from now on.
    pub(crate) fn task(self, task: Task, name: Name) -> u64 {
        let TaskId(id) = task.id();
        let events = 0;
        let known = KnownTask { task, name, events };
        self.tables.lock().tasks.insert(id, known);
        id
    }

    /// The event was opened, and can be named from now on.
    pub(crate) fn event(self, event: Event, task: Option<TaskId>) -> u64 {
        let id = event.id().0;
        let mut known = self.tables.lock();
        known.count_event(task, |events| events + 1);
        known.events.insert(id, KnownEvent { event, task });
        id
    }
}

impl Known {
    /// The task may have exited.
    fn count_event(&mut self, task: Option<TaskId>, change: impl FnOnce(usize) -> usize) {
        let task = task.and_then(|TaskId(id)| self.tasks.get_mut(&id));
        if let Some(task) = task {
            task.events = change(task.events);
        }
    }

    /// Takes out the closed events whose traps have arrived, to be dropped without the lock.
    fn arrived(&mut self) -> Vec<Event> {
        let all = std::mem::take(&mut self.closed);
        let (there, arrived) = all.into_iter().partition(|event| on_their_way(event) > 0);
        self.closed = there;
        arrived
    }

    /// How many events there are that take a place.
    fn kept(&self) -> usize {
        let closed = self.closed.iter().map(on_their_way);
        closed.fold(self.events.len(), usize::saturating_add)
    }
}

/// How many traps of an event and of those that were inherited from it are on their way.
fn on_their_way(event: &Event) -> usize {
    usize::try_from(event.traps().on_their_way()).unwrap_or(usize::MAX)
}

impl Tables {
    pub(crate) fn new(limits: PortLimits) -> Self {
        Self {
            limits,
            known: Mutex::default(),
        }
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn limits(&self) -> &PortLimits {
        &self.limits
    }

    /// A place for one more task, if there is one (Q4).
    pub(crate) fn place_for_task(&self) -> Result<Place<'_>, Errno> {
        self.place(Kind::Task)
    }

    /// Whether a task that inherits from `parent` leaves no more events on tasks than there may be, the
    /// inherited ones among them (Q4).
    pub(crate) fn room_for_copies_of(&self, parent: &Task) -> Result<(), Errno> {
        let copies = parent.inheritable();
        if copies == 0 {
            return Ok(());
        }
        let known = self.tasks();
        let there = known.iter().map(|known| known.task.events());
        let all = there.fold(copies, usize::saturating_add);
        (all <= self.limits.events)
            .then_some(())
            .ok_or(Errno::NoMemory)
    }

    /// A place for one more event, if there is one (Q4). One that was closed keeps its own until its
    /// traps have arrived.
    pub(crate) fn place_for_event(&self) -> Result<Place<'_>, Errno> {
        self.place(Kind::Event)
    }

    fn place(&self, kind: Kind) -> Result<Place<'_>, Errno> {
        let mut known = self.lock();
        let arrived = known.arrived();
        let (there, most) = match kind {
            Kind::Task => (known.tasks.len(), self.limits.tasks),
            Kind::Event => (known.kept(), self.limits.events),
        };
        let coming = known.coming.of(kind);
        let free = there.saturating_add(*coming) < most;
        *coming += usize::from(free);
        drop(known);
        drop(arrived);
        // Made only then: dropped, it gives a place back.
        free.then(|| Place { tables: self, kind })
            .ok_or(Errno::NoMemory)
    }

    pub(crate) fn task(&self, id: TaskId) -> Option<Task> {
        Some(self.lock().tasks.get(&id.0)?.task.clone())
    }

    /// A task that the guest names, with what it is called.
    pub(crate) fn named(&self, id: Id) -> Result<(Task, Name), Errno> {
        let known = self.lock();
        let known = known.tasks.get(&id.get()).ok_or(Errno::NoSuchTask)?;
        Ok((known.task.clone(), known.name))
    }

    pub(crate) fn rename(&self, id: Id, name: Name) {
        if let Some(known) = self.lock().tasks.get_mut(&id.get()) {
            known.name = name;
        }
    }

    /// The task has exited.
    pub(crate) fn forget_task(&self, id: Id) {
        let gone = self.lock().tasks.remove(&id.get());
        drop(gone);
    }

    /// An event that the guest names.
    pub(crate) fn event(&self, id: Id) -> Result<Event, Errno> {
        let known = self.lock();
        let known = known.events.get(&id.get()).ok_or(Errno::BadEvent)?;
        Ok(known.event.clone())
    }

    /// The event was closed.
    pub(crate) fn forget_event(&self, id: Id) {
        let gone = {
            let mut known = self.lock();
            let gone = known.events.remove(&id.get());
            let task = gone.as_ref().and_then(|gone| gone.task);
            known.count_event(task, |events| events - 1);
            let closed = gone.as_ref().map(|gone| &gone.event);
            known
                .closed
                .extend(closed.filter(|event| on_their_way(event) > 0).cloned());
            gone
        };
        drop(gone);
    }

    /// All tasks, in the order of their numbers.
    pub(crate) fn tasks(&self) -> Vec<KnownTask> {
        self.lock().tasks.values().cloned().collect()
    }

    /// How many events are open.
    pub(crate) fn events(&self) -> usize {
        self.lock().events.len()
    }
}
