// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Families of tasks on one vCPU, and events on them.

use rt::sched::port::{self, EventNumber, EventState, Id, Open, OpenFlags, Target};
use rt::sched::{self, State, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, check_eq, fail, time};

/// How long a family may take to come to rest.
const PATIENCE_MS: u64 = 60_000;

/// An event on stores to the tick page.
#[derive(Clone, Copy)]
pub(crate) struct Counter(pub(crate) Id);

impl Counter {
    /// Opened on a task, wherever it runs.
    pub(crate) fn on(task: Tid, flags: OpenFlags) -> Result<Self, Text> {
        Self::open(task, |open| open.flags = flags)
    }

    /// The same, and all that `change` says.
    pub(crate) fn open(task: Tid, change: impl FnOnce(&mut Open)) -> Result<Self, Text> {
        let task = Id::new(sched::port_id(task)).expect("the port knows the task");
        let mut open = Open::new(EventNumber::PortTick, Target::Task(task));
        change(&mut open);
        let opened = port::must("open", |port| port.open(&open))?;
        Ok(Self(opened.event))
    }

    /// Its count so far, and its state.
    pub(crate) fn read(self) -> Result<(u64, EventState), Text> {
        let Some(reading) = port::must("read", |port| port.read(self.0))? else {
            fail!("end of file: the event is not pinned, and in error");
        };
        // Else the count is an estimate.
        check_eq!(reading.running, reading.enabled, "time on a counter");
        Ok((reading.count, reading.state))
    }

    /// Checks its count, in decimal.
    pub(crate) fn expect(self, count: u64, what: &str) -> Outcome {
        let (counted, _) = self.read()?;
        check!(
            counted == count,
            "{what}: {counted} stores counted, not {count}"
        );
        Ok(())
    }

    pub(crate) fn close(self) -> Outcome {
        port::must("close", |port| port.close(self.0))
    }
}

/// Waits until there are so many tasks, all of them blocked.
pub(crate) fn at_rest(tasks: usize) -> Outcome {
    let blocked = || {
        let waiting = |tid: &Tid| sched::state(*tid) == State::Blocked;
        sched::tasks().filter(waiting).count()
    };
    let rest = time::wait_ms(PATIENCE_MS, || {
        sched::tasks().count() == tasks && blocked() == tasks
    });
    check!(
        rest,
        "{} of {} tasks are blocked after a minute, {tasks} should be",
        blocked(),
        sched::tasks().count()
    );
    Ok(())
}

/// Lets all tasks go on, on one vCPU.
pub(crate) fn wake_all(cpu: usize) {
    // The first one to run waits for the others: so they take turns from the beginning.
    for tid in sched::tasks() {
        _ = sched::wake(tid, cpu);
    }
}

/// All tasks but one.
pub(crate) fn others(root: Tid) -> impl Iterator<Item = Tid> {
    sched::tasks().filter(move |tid| *tid != root)
}

/// Ends all tasks.
pub(crate) fn end_all() -> Outcome {
    for tid in sched::tasks() {
        sched::kill(tid);
    }
    sched::join_all()
}
