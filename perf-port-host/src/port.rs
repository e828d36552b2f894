// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What all vCPUs share of the port.

use core::fmt;
use std::sync::Arc;

use perf_port::Name;
use vcpu_call::VcpuId;
use vpmu::NoObserver;
use vpmu::context::order::Place;
use vpmu::context::{Clock, Perf, PerfObserver, Task, TaskId};

use crate::tables::{KnownTask, Tables};
use crate::{PortLimits, PortMemory};

/// The perf port of one virtual machine: its guest's tasks and events. A handle, cheap to clone.
///
/// Each vCPU's registers are a [`PortVcpu`](crate::PortVcpu).
pub struct Port<C, O = NoObserver> {
    pub(crate) perf: Perf<C, O>,
    pub(crate) memory: Arc<dyn PortMemory>,
    pub(crate) tables: Arc<Tables>,
}

/// A task, as it can be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLine {
    /// Which task.
    pub id: TaskId,
    /// What its guest calls it. Display escapes what is not for terminals.
    pub name: Name,
    /// Where it is.
    pub state: TaskState,
    /// The vCPU that it is placed on, by the host's word.
    pub vcpu: VcpuId,
    /// How many events its guest has open on it.
    pub events: usize,
}

/// Where a task is. While nothing is announced that is what was known last, and a task that is not
/// known to run is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// The current task of its vCPU.
    Running,
    /// Able to run.
    Queued,
    /// Waits for something.
    Blocked,
    /// Has exited just now.
    Exited,
}

impl<C, O> Clone for Port<C, O> {
    fn clone(&self) -> Self {
        Self {
            perf: self.perf.clone(),
            memory: Arc::clone(&self.memory),
            tables: Arc::clone(&self.tables),
        }
    }
}

impl<C: Clock, O: PerfObserver> Port<C, O> {
    /// A port without tasks. `perf` should be made with
    /// [`PerfConfig::pages`](vpmu::context::PerfConfig::pages): otherwise guests are asked to announce
    /// every switch, for ever.
    pub fn new(perf: Perf<C, O>, memory: Arc<dyn PortMemory>, limits: PortLimits) -> Self {
        Self {
            perf,
            memory,
            tables: Arc::new(Tables::new(limits)),
        }
    }

    /// The perf core.
    pub const fn perf(&self) -> &Perf<C, O> {
        &self.perf
    }

    /// What the guest gets at most.
    pub fn limits(&self) -> &PortLimits {
        self.tables.limits()
    }

    /// The task of that number, if there is one that has not exited.
    pub fn task(&self, id: TaskId) -> Option<Task> {
        self.tables.task(id)
    }

    /// All tasks that have not exited, in the order of their numbers.
    pub fn tasks(&self) -> Vec<TaskLine> {
        self.tables.tasks().iter().map(TaskLine::new).collect()
    }

    /// How many events the guest has open.
    pub fn events(&self) -> usize {
        self.tables.events()
    }
}

impl TaskLine {
    fn new(known: &KnownTask) -> Self {
        let place = known.task.place();
        let state = match place {
            _ if known.task.has_exited() => TaskState::Exited,
            Place::Current(_) => TaskState::Running,
            Place::Queued(_) => TaskState::Queued,
            Place::Blocked(_) => TaskState::Blocked,
        };
        Self {
            id: known.task.id(),
            name: known.name,
            state,
            vcpu: place.vcpu(),
            events: known.events,
        }
    }
}

impl<C, O> fmt::Debug for Port<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}
