// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest's tasks, as its kernel told the perf port of them.

use perf_port_host::{Port, TaskState as Known};
use vpmu::context::{Clock, PerfObserver, Task, TaskId};

use super::{TaskLine, TaskState, Tasks};

impl<C: Clock, O: PerfObserver> Tasks for Port<C, O> {
    fn task(&self, id: u64) -> Option<Task> {
        Port::task(self, TaskId(id))
    }

    fn list(&self) -> Vec<TaskLine> {
        let tasks = self.tasks().into_iter();
        let line = |known: perf_port_host::TaskLine| TaskLine {
            task: known.id.0,
            name: known.name.to_string(),
            vcpu: known.vcpu.0,
            state: match known.state {
                Known::Running => TaskState::Running,
                Known::Queued => TaskState::Queued,
                Known::Blocked => TaskState::Blocked,
                Known::Exited => TaskState::Exited,
            },
            // Whoever opened them.
            events: Port::task(self, known.id).map_or(0, |task| task.events()),
        };
        tasks.map(line).collect()
    }
}
