// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events that count stores to the tick page, and nothing else.

use rt::sched::port::{self, EventNumber, Id, Open, OpenFlags, Reading, Target};
use rt::sched::{self, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check_eq, fail};

/// Counts in both modes.
pub(crate) const BOTH: OpenFlags = OpenFlags::NONE;
/// Counts in user mode only.
pub(crate) const USER: OpenFlags = OpenFlags::EXCLUDE_KERNEL;
/// Counts in the kernel only.
pub(crate) const KERNEL: OpenFlags = OpenFlags::EXCLUDE_USER;

/// An open event.
#[derive(Clone, Copy)]
pub(crate) struct Counter {
    event: Id,
    /// What it was opened on; any task, for a vCPU's.
    pub(crate) task: Tid,
    /// Its time goes on while the task is elsewhere.
    filtered: bool,
}

/// The port's number of a task.
pub(crate) fn id(task: Tid) -> Id {
    Id::new(sched::port_id(task)).expect("the port knows the task")
}

/// An event on a task, anywhere.
pub(crate) fn open_on(task: Tid) -> Open {
    Open::new(EventNumber::PortTick, Target::Task(id(task)))
}

impl Counter {
    pub(crate) fn of_task(task: Tid, flags: OpenFlags) -> Result<Self, Text> {
        Self::open(task, Target::Task(id(task)), flags)
    }

    /// Counts only while the task is on that vCPU.
    pub(crate) fn of_task_on(task: Tid, vcpu: u32, flags: OpenFlags) -> Result<Self, Text> {
        Self::open(task, Target::TaskOn(id(task), vcpu), flags)
    }

    pub(crate) fn of_vcpu(vcpu: u32, flags: OpenFlags) -> Result<Self, Text> {
        Self::open(Tid(0), Target::Vcpu(vcpu), flags)
    }

    fn open(task: Tid, target: Target, flags: OpenFlags) -> Result<Self, Text> {
        let open = Open {
            flags,
            ..Open::new(EventNumber::PortTick, target)
        };
        let opened = port::must("open", |port| port.open(&open))?;
        Ok(Self {
            event: opened.event,
            task,
            filtered: matches!(target, Target::TaskOn(..)),
        })
    }

    pub(crate) fn read(self) -> Result<Reading, Text> {
        match port::must("read", |port| port.read(self.event))? {
            Some(reading) => Ok(reading),
            None => fail!("end of file: not pinned, and in error"),
        }
    }

    /// What it counted; closes it.
    pub(crate) fn take(self) -> Result<u64, Text> {
        let reading = self.read()?;
        // Else it had to share a counter, unless it is filtered: nothing is to be exact then.
        if !self.filtered {
            check_eq!(reading.running, reading.enabled, "time on a counter");
        }
        port::must("close", |port| port.close(self.event))?;
        Ok(reading.count)
    }

    /// Checks what it counted; closes it.
    pub(crate) fn expect(self, count: u64, what: &str) -> Outcome {
        let counted = self.take()?;
        if counted != count {
            fail!("{what}: {counted} stores counted, not {count}");
        }
        Ok(())
    }
}
